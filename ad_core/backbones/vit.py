"""DINOv2's vision transformers ViT-S/14 and ViT-B/14, from weights that the user gives.

Oquab et al. 2023, "DINOv2: Learning Robust Visual Features without Supervision", the networks
without registers. Positions are interpolated as its code does: bicubic, with 0.1 added to the new
sides. An image whose sides are no multiples of 14 is resized to the next smaller ones.
"""

import functools
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ad_core.backbones import normalising
from ad_core.backbones.backbone import Backbone, Level, Network, Params
from ad_core.backbones.given import load_given
from ad_core.backbones.given_files import GivenFile, Shape
from ad_core.networks.patches import patchify, resize_grid
from ad_core.networks.transformer import Block, LayerNorm

PATCH = 14
LEARNT_SIDE = 37  # patches of a side of the images that positions were learnt on, 518 px
OFFSET = 0.1  # DINOv2's, of the interpolation
BLOCKS, LEVELS = 12, (3, 6, 9, 12)  # blocks, and those whose tokens are levels
BESIDE = ("mask_token", "head.")  # of the pretraining, after or beside the features


class Variant(NamedTuple):
    """Channels of a token, and heads of the attention."""

    width: int
    heads: int


VARIANTS = {"dinov2_vits14": Variant(384, 6), "dinov2_vitb14": Variant(768, 12)}
NAMES = tuple(VARIANTS)
_KINDS = {("weight", 2): "kernel", ("weight", 1): "scale"}  # PyTorch's name and axes -> ours


@functools.cache
def network(name: str) -> Network:
    """The network called `name`, one of NAMES; levels block3, block6, block9, block12.

    A level shows the tokens of the patches behind that block; those of the last are normalised, as
    DINOv2's `x_norm_patchtokens`. Behind them it carries the class token, at every position.
    """
    variant = VARIANTS[name]
    return Network(
        name=name,
        module=__name__,
        prepare=_prepare,
        levels=tuple(_level(variant, last) for last in LEVELS),
        licence="that of the given file",
        origin=f"a file that the user gave, with the arrays of DINOv2's {name}",
    )


def load(spec: str) -> Backbone:
    """The network with the weights of the file in "dinov2_vits14:FILE" or "dinov2_vitb14:FILE".

    The file holds the arrays of DINOv2's `state_dict()` by their names.

    Raises:
        UserError: as `load_given`.
    """
    name = spec.partition(":")[0]
    mend = (
        "write one where PyTorch is: torch.save(torch.hub.load('facebookresearch/dinov2', "
        f"'{name}').state_dict(), 'FILE.pth')"
    )
    return load_given(spec, network(name), functools.partial(_convert, name), mend=mend)


def _prepare(image: Float[Array, "b h w c"]) -> Float[Array, "b _ _ 3"]:
    """The image by ImageNet's mean and deviation, at sides that divide into patches."""
    b, h, w, c = image.shape
    sides = [max(PATCH, side // PATCH * PATCH) for side in (h, w)]
    if [h, w] != sides:
        image = jax.image.resize(image, (b, *sides, c), "linear")
    return normalising.prepare(image)


def _level(variant: Variant, last: int) -> Level:
    """The level behind block `last`, counted from 1, of the blocks since the level before."""
    name, count = f"block{last}", LEVELS[0]

    def apply(params: Params, x: Array) -> Array:
        own = params[name]
        first = last == count
        tokens, (h, w) = _embed(own, x) if first else _unpack(x, variant.width)
        for place in range(count):
            block: Any = Block(variant.heads, layer_scale=1.0, dtype=x.dtype)
            tokens = block.apply({"params": own[f"b{place}"]}, tokens)
        if last == BLOCKS:
            norm: Any = LayerNorm()
            tokens = norm.apply({"params": own["norm"]}, tokens)
        return _pack(tokens, h, w)

    return Level(name, PATCH, apply, shown=variant.width)


def _embed(own: Params, image: Array) -> tuple[Array, tuple[int, int]]:
    """Tokens of an image, the class token first, each told where it lies; the patches' grid."""
    patches = patchify(image, PATCH)
    b, h, w, _ = patches.shape
    kernel, bias = own["embed"]["kernel"].astype(image.dtype), own["embed"]["bias"]
    grid = jnp.einsum("bhwi,io->bhwo", patches, kernel, preferred_element_type=jnp.float32)
    position = resize_grid(own["position"], h, w, offset=OFFSET)
    grid = grid + bias.reshape(1, 1, 1, -1) + position[None]
    class_token = jnp.broadcast_to(own["class_token"].reshape(1, 1, -1), (b, 1, grid.shape[-1]))
    tokens = jnp.concatenate([class_token, grid.reshape(b, h * w, -1)], axis=1)
    return tokens.astype(image.dtype), (h, w)


def _pack(tokens: Float[Array, "b n d"], h: int, w: int) -> Float[Array, "b h w dd"]:
    """Patches as a map, and behind them as channels the class token, the same everywhere."""
    b, _, d = tokens.shape
    class_token = jnp.broadcast_to(tokens[:, :1, None], (b, h, w, d))
    return jnp.concatenate([tokens[:, 1:].reshape(b, h, w, d), class_token], axis=-1)


def _unpack(packed: Float[Array, "b h w dd"], width: int) -> tuple[Array, tuple[int, int]]:
    """The inverse of `_pack`."""
    b, h, w, _ = packed.shape
    patches = packed[..., :width].reshape(b, h * w, width)
    return jnp.concatenate([packed[:, 0, :1, width:], patches], axis=1), (h, w)


def _convert(name: str, file: GivenFile) -> Params:
    wanted: dict[str, Shape | None] = dict(shapes(name))
    return convert(name, file.read(wanted, beside=BESIDE))


def shapes(name: str) -> dict[str, Shape]:
    """Names and shapes of the arrays of DINOv2's network `name`."""
    d = VARIANTS[name].width
    found = {
        "cls_token": (1, 1, d),
        "pos_embed": (1, 1 + LEARNT_SIDE**2, d),
        "patch_embed.proj.weight": (d, 3, PATCH, PATCH),
        "patch_embed.proj.bias": (d,),
    }
    dense = {"attn.qkv": (3 * d, d), "attn.proj": (d, d), "mlp.fc1": (4 * d, d)}
    dense |= {"mlp.fc2": (d, 4 * d)}
    for block in (f"blocks.{number}" for number in range(BLOCKS)):
        for part, shape in dense.items():
            found |= {f"{block}.{part}.weight": shape, f"{block}.{part}.bias": shape[:1]}
        for part in ("norm1", "norm2"):
            found |= {f"{block}.{part}.weight": (d,), f"{block}.{part}.bias": (d,)}
        found |= {f"{block}.{part}.gamma": (d,) for part in ("ls1", "ls2")}
    return found | {"norm.weight": (d,), "norm.bias": (d,)}


def convert(name: str, arrays: dict[str, np.ndarray]) -> Params:
    """The weights of the network `name`, from arrays by DINOv2's names."""
    first, last = f"block{LEVELS[0]}", f"block{LEVELS[-1]}"
    width = VARIANTS[name].width
    position = arrays["pos_embed"][0]
    kernel = arrays["patch_embed.proj.weight"].transpose(2, 3, 1, 0)
    flat = {
        f"{first}/embed/kernel": kernel.reshape(-1, width),
        f"{first}/embed/bias": arrays["patch_embed.proj.bias"],
        f"{first}/position": position[1:].reshape(LEARNT_SIDE, LEARNT_SIDE, width),
        f"{first}/class_token": arrays["cls_token"][0, 0] + position[0],
        f"{last}/norm/scale": arrays["norm.weight"],
        f"{last}/norm/bias": arrays["norm.bias"],
    }
    for theirs, values in arrays.items():
        if theirs.startswith("blocks."):
            _, number, *parts, kind = theirs.split(".")
            level = LEVELS[int(number) // LEVELS[0]]
            ours = "/".join([f"block{level}", f"b{int(number) % LEVELS[0]}", *parts])
            flat |= {f"{ours}/{_KINDS.get((kind, values.ndim), kind)}": values.T}
    contiguous = {name: np.ascontiguousarray(x, np.float32) for name, x in flat.items()}
    return flax.traverse_util.unflatten_dict(contiguous, sep="/")
