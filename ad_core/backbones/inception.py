"""Inception-v3 up to its 2048 features, from weights that the user gives: the backbone of `fid`.

Szegedy et al. 2016, "Rethinking the Inception Architecture", as torchvision builds it. Frozen, so
that each batch norm is folded into its convolution when the weights are loaded.
"""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ad_core.backbones.backbone import Backbone, Level, Network, Params
from ad_core.backbones.folding import fold
from ad_core.backbones.given import load_given
from ad_core.backbones.given_files import GivenFile, how_to_write

NAMES = ("inception",)
SIDE = 299  # pixels of the images that it was trained on
Chain = tuple[str | tuple[str, ...], ...]

# Convolutions one after the other; a tuple within a chain forks it and joins the channels.
_A = (
    ("branch1x1",),
    ("branch5x5_1", "branch5x5_2"),
    ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
)
_B = (("branch3x3",), ("branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"))
_C = (
    ("branch1x1",),
    ("branch7x7_1", "branch7x7_2", "branch7x7_3"),
    tuple(f"branch7x7dbl_{n}" for n in range(1, 6)),
)
_D = (("branch3x3_1", "branch3x3_2"), tuple(f"branch7x7x3_{n}" for n in range(1, 5)))
_E = (
    ("branch1x1",),
    ("branch3x3_1", ("branch3x3_2a", "branch3x3_2b")),
    ("branch3x3dbl_1", "branch3x3dbl_2", ("branch3x3dbl_3a", "branch3x3dbl_3b")),
)
_STEM = tuple(f"Conv2d_{n}" for n in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3"))
_MIXED: dict[str, tuple[Chain, ...]] = {
    **{f"Mixed_5{x}": _A for x in "bcd"},
    "Mixed_6a": _B,
    **{f"Mixed_6{x}": _C for x in "bcde"},
    "Mixed_7a": _D,
    **{f"Mixed_7{x}": _E for x in "bc"},
}
_HALVE = (_B, _D)  # the last convolution of each chain has stride 2, beside a pooling of stride 2


_PARTS = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
_BESIDE = ("fc.", "AuxLogits.")  # after the features, or beside them


@functools.cache
def network(name: str = "inception") -> Network:
    """Inception-v3 with its levels, named as torchvision names its blocks, after a stem.

    Its convolutions eat the image's edge and its image stands in zeros (`prepare`), so that
    positions lie over the image only roughly.
    """
    mixed = (_mixed(name, chains) for name, chains in _MIXED.items())
    return Network(
        name=name,
        module=__name__,
        prepare=prepare,
        levels=(Level("stem", 8, _stem), *mixed),
        licence="that of the given file",
        origin="a file that the user gave, with the arrays of torchvision's inception_v3",
        over_image=False,
    )


def load(spec: str) -> Backbone:
    """Inception-v3 with the weights of the file in "inception:FILE".

    The file holds the arrays of torchvision's `inception_v3().state_dict()` by their names, or
    those of its convolutions after folding, NAME.weight and NAME.bias.

    Raises:
        UserError: as `load_given`.
    """
    return load_given(spec, network(NAMES[0]), _convert, mend=how_to_write("inception_v3"))


def _convert(file: GivenFile) -> Params:
    folded = "Conv2d_1a_3x3.bias" in file.arrays
    parts = ("weight", "bias") if folded else _PARTS
    wanted = dict.fromkeys(f"{name}.{part}" for name in _names() for part in parts)
    arrays = file.read(wanted, beside=_BESIDE)
    read = {name: [arrays[f"{name}.{part}"] for part in parts] for name in _names()}
    pairs = read if folded else {name: fold(*values) for name, values in read.items()}
    return {name: _pair(*pair) for name, pair in pairs.items()}


def prepare(image: Float[Array, "b h w c"]) -> Float[Array, "b _ _ 3"]:
    """An image as CycleGAN-AD's code feeds it.

    Images in [-1, 1], one channel repeated to three, continued by zeros to about 299 pixels a
    side (never resized) and then taken to 2 x - 1, though they were in [-1, 1] before. A side of
    10 pixels more or less changes the result; a shift does not hurt a comparison, as both images
    get it.
    """
    pad = [(max(0, (SIDE - side) // 2),) * 2 for side in image.shape[1:3]]
    x = jnp.broadcast_to(image, (*image.shape[:3], 3)).astype(jnp.float32)
    return 2.0 * jnp.pad(x, ((0, 0), *pad, (0, 0))) - 1.0


def _stem(params: Params, x: Array) -> Array:
    first, second, third, fourth, fifth = _STEM
    x = _convolve(x, params[first], stride=2, padding="VALID")
    x = _convolve(x, params[second], padding="VALID")
    x = _highest(_convolve(x, params[third]))
    x = _convolve(x, params[fourth])
    return _highest(_convolve(x, params[fifth], padding="VALID"))


def _mixed(name: str, chains: tuple[Chain, ...]) -> Level:
    def apply(params: Params, x: Array) -> Array:
        return _mix(params, name, chains, x)

    stride = {"5": 8, "6": 16, "7": 32}[name.removeprefix("Mixed_")[0]]
    return Level(name, stride, apply)


def _mix(weights: Params, name: str, chains: tuple[Chain, ...], x: Array) -> Array:
    """One block: chains of convolutions and a pooling beside each other, channels joined."""
    halve = chains in _HALVE
    branches = []
    for chain in chains:
        y = x
        for place, link in enumerate(chain):
            fork = (link,) if isinstance(link, str) else link
            last = halve and place == len(chain) - 1
            how = {"stride": 2, "padding": "VALID"} if last else {}
            parts = [_convolve(y, weights[f"{name}.{part}"], **how) for part in fork]
            y = jnp.concatenate(parts, axis=-1)
        branches.append(y)
    pooled = _highest(x) if halve else _convolve(_mean(x), weights[f"{name}.branch_pool"])
    return jnp.concatenate([*branches, pooled], axis=-1)


def _convolve(x: Array, pair: Params, *, stride: int = 1, padding: str = "SAME") -> Array:
    weight, bias = pair["weight"].astype(x.dtype), pair["bias"].astype(x.dtype)
    y = jax.lax.conv_general_dilated(
        x, weight, (stride, stride), padding, dimension_numbers=("NHWC", "OIHW", "NHWC")
    )
    return jax.nn.relu(y + bias.reshape(1, 1, 1, -1))


def _highest(x: Array) -> Array:
    lowest = np.asarray(-np.inf, x.dtype)  # jnp: no gradient
    return jax.lax.reduce_window(x, lowest, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")


def _mean(x: Array) -> Array:
    """Mean of 3 x 3 pixels; zeros count beyond the edge."""
    zero = np.zeros((), x.dtype)
    total = jax.lax.reduce_window(x, zero, jax.lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")
    return total / 9.0


def _names() -> list[str]:
    """Every convolution, by torchvision's names."""
    inner = [
        f"{name}.{part}"
        for name, chains in _MIXED.items()
        for part in re.findall(r"branch\w+", str(chains)) + ["branch_pool"] * (chains not in _HALVE)
    ]
    return [*_STEM, *inner]


def _pair(weight: np.ndarray, bias: np.ndarray) -> dict[str, np.ndarray]:
    return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}
