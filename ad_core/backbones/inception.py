"""Inception-v3 up to its 2048 features, from weights that the user gives: the backbone of `fid`.

Szegedy et al. 2016, "Rethinking the Inception Architecture", as torchvision builds it. Frozen, so
that each batch norm is folded into its convolution when the weights are loaded.
"""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from ad_core.errors import UserError

SIDE = 299  # pixels of the images that it was trained on
BATCH_NORM_EPSILON = 1e-3
Weights = dict[str, tuple[Float[Array, "o i kh kw"], Float[Array, " o"]]]
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


def load_inception(path: str) -> Partial:
    """`features` with the weights of an .npz file, as `Context.backbone` takes it.

    The file holds the arrays of torchvision's `inception_v3().state_dict()` by their names, or
    what `save_inception` wrote. There is no fallback to random weights.

    Raises:
        UserError: no such file, or an array is missing; the message says how to write one.
    """
    if not Path(path).is_file():
        raise UserError(f"`statistics.backbone` (={path}): no such file; {_MEND}")
    with np.load(path, allow_pickle=False) as arrays:
        folded = "Conv2d_1a_3x3.bias" in arrays
        parts = ("weight", "bias") if folded else _PARTS
        missing = [f"{n}.{p}" for n in _names() for p in parts if f"{n}.{p}" not in arrays]
        if missing:
            raise UserError(f"`statistics.backbone` (={path}) lacks {missing[0]}; {_MEND}")
        read = {name: [arrays[f"{name}.{part}"] for part in parts] for name in _names()}
    pairs = read if folded else {name: _fold(*values) for name, values in read.items()}
    return Partial(features, {name: _device_pair(*pair) for name, pair in pairs.items()})


_PARTS = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
_MEND = (
    "write one where torchvision is: numpy.savez(FILE, **{k: v.numpy() for k, v in "
    "torchvision.models.inception_v3(weights='IMAGENET1K_V1').state_dict().items()})."
)


def save_inception(backbone: Partial, path: str | Path) -> None:
    """Writes what `load_inception` reads back exactly: the folded weights, 87 MB."""
    (weights,) = backbone.args
    arrays = {f"{name}.weight": pair[0] for name, pair in weights.items()}
    arrays |= {f"{name}.bias": pair[1] for name, pair in weights.items()}
    np.savez(path, allow_pickle=False, **{name: np.asarray(x) for name, x in arrays.items()})


def features(weights: Weights, image: Float[Array, "b h w c"]) -> Float[Array, "b 2048"]:
    """The mean over positions of the last block's activations.

    As CycleGAN-AD's code feeds it: images in [-1, 1], one channel repeated to three, continued by
    zeros to about 299 pixels a side (never resized) and then taken to 2 x - 1, though they were
    in [-1, 1] before. A side of 10 pixels more or less changes the result; a shift does not hurt
    a comparison, as both images get it.
    """
    pad = [(max(0, (SIDE - side) // 2),) * 2 for side in image.shape[1:3]]
    x = jnp.broadcast_to(image, (*image.shape[:3], 3)).astype(jnp.float32)
    x = 2.0 * jnp.pad(x, ((0, 0), *pad, (0, 0))) - 1.0
    first, second, third, fourth, fifth = _STEM
    x = _convolve(x, weights[first], stride=2, padding="VALID")
    x = _convolve(x, weights[second], padding="VALID")
    x = _highest(_convolve(x, weights[third]))
    x = _convolve(x, weights[fourth])
    x = _highest(_convolve(x, weights[fifth], padding="VALID"))
    for name, chains in _MIXED.items():
        x = _mix(weights, name, chains, x)
    return jnp.mean(x, axis=(1, 2))


def _mix(weights: Weights, name: str, chains: tuple[Chain, ...], x: Array) -> Array:
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


def _convolve(
    x: Array, pair: tuple[Array, Array], *, stride: int = 1, padding: str = "SAME"
) -> Array:
    weight, bias = pair
    y = jax.lax.conv_general_dilated(
        x, weight, (stride, stride), padding, dimension_numbers=("NHWC", "OIHW", "NHWC")
    )
    return jax.nn.relu(y + bias.reshape(1, 1, 1, -1))


def _highest(x: Array) -> Array:
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")


def _mean(x: Array) -> Array:
    """Of 3 x 3 pixels; beyond the edge zeros count."""
    total = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME")
    return total / 9.0


def _names() -> list[str]:
    """Every convolution, by torchvision's names."""
    inner = [
        f"{name}.{part}"
        for name, chains in _MIXED.items()
        for part in re.findall(r"branch\w+", str(chains)) + ["branch_pool"] * (chains not in _HALVE)
    ]
    return [*_STEM, *inner]


def _device_pair(weight: np.ndarray, bias: np.ndarray) -> tuple[Array, Array]:
    return jnp.asarray(weight, jnp.float32), jnp.asarray(bias, jnp.float32)


def _fold(
    weight: np.ndarray, scale: np.ndarray, offset: np.ndarray, mean: np.ndarray, var: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    factor = scale / np.sqrt(var.astype(np.float64) + BATCH_NORM_EPSILON)
    return weight * factor[:, None, None, None], offset - mean * factor
