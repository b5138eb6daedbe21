"""ResNet-18 and Wide-ResNet-50-2 without their classifier, from weights that the user gives.

He et al. 2016, "Deep Residual Learning"; Zagoruyko and Komodakis 2016, "Wide Residual Networks";
as torchvision builds them, and timm with the same names: the stride of a bottleneck lies in its
convolution of 3 x 3. Frozen, so that each batch norm is folded into its convolution.
"""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import numpy as np
from jaxtyping import Array, Float

from ad_core.backbones.backbone import Backbone, Network, Params
from ad_core.backbones.convolution import Convolution, module_level
from ad_core.backbones.folding import fold
from ad_core.backbones.given import load_given
from ad_core.backbones.given_files import GivenFile, Shape, how_to_write
from ad_core.backbones.normalising import prepare

STEM = 64  # channels of the stem, and width of the first layer's blocks
EPSILON = 1e-5  # of the batch norms
BESIDE = ("fc.",)  # the classifier, after the features
_NORM = ("weight", "bias", "running_mean", "running_var")


class Variant(NamedTuple):
    """Blocks of each layer; of bottlenecks the width of their 3 x 3, as a multiple of a layer's.

    inner: 0 for blocks of two convolutions of 3 x 3.
    """

    blocks: tuple[int, int, int, int]
    inner: int


VARIANTS = {
    "resnet18": Variant((2, 2, 2, 2), 0),
    "wide_resnet50_2": Variant((3, 4, 6, 3), 2),
}
NAMES = tuple(VARIANTS)


class BlockShape(NamedTuple):
    """A block: sides and widths of its convolutions, and the stride of the first of side 3."""

    sides: tuple[int, ...]
    widths: tuple[int, ...]
    stride: int


class Block(nn.Module):
    """Convolutions one after the other, added to the input, which a 1 x 1 adapts where needed."""

    shape: BlockShape

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ _"]:
        sides, widths, stride = self.shape
        y, strided = x, sides.index(3)
        for place, (side, width) in enumerate(zip(sides, widths, strict=True)):
            steps = stride if place == strided else 1
            y = nn.relu(y) if place else y
            y = Convolution(width, side, steps, symmetric=True, name=f"conv{place + 1}")(y)
        if stride > 1 or x.shape[-1] != widths[-1]:
            x = Convolution(widths[-1], 1, stride, name="downsample")(x)
        return nn.relu(x + y)


class Stem(nn.Module):
    """A convolution of 7 x 7 with stride 2."""

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ _"]:
        return nn.relu(Convolution(STEM, 7, 2, symmetric=True, name="conv1")(x))


class Layer(nn.Module):
    """Blocks in a row, of which the first has the stride; the first layer pools before them."""

    blocks: tuple[BlockShape, ...]
    pools: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ _"]:
        x = _highest(x) if self.pools else x
        for place, block in enumerate(self.blocks):
            x = Block(block, name=f"b{place}")(x)
        return x


def _highest(x: Array) -> Array:
    """Maximum of 3 x 3 positions, every other one."""
    lowest = np.asarray(-np.inf, x.dtype)  # jnp: no gradient
    pad = ((0, 0), (1, 1), (1, 1), (0, 0))
    return jax.lax.reduce_window(x, lowest, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pad)


def _blocks(variant: Variant, number: int) -> tuple[BlockShape, ...]:
    """The blocks of layer `number`, 1 to 4."""
    width, stride = STEM * 2 ** (number - 1), 2 if number > 1 else 1
    sides, widths = (3, 3), (width, width)
    if variant.inner:
        sides, widths = (1, 3, 1), (variant.inner * width, variant.inner * width, 4 * width)
    return tuple(
        BlockShape(sides, widths, 1 if place else stride)
        for place in range(variant.blocks[number - 1])
    )


@functools.cache
def network(name: str) -> Network:
    """The network called `name`, one of NAMES; levels stem, layer1 to layer4."""
    variant = VARIANTS[name]
    levels = [module_level("stem", 2, Stem())]
    for number in range(1, 5):
        layer = Layer(_blocks(variant, number), pools=number == 1)
        levels.append(module_level(f"layer{number}", 2 ** (number + 1), layer))
    return Network(
        name=name,
        module=__name__,
        prepare=prepare,
        levels=tuple(levels),
        licence="that of the given file",
        origin=f"a file that the user gave, with the arrays of torchvision's {name}",
    )


def load(spec: str) -> Backbone:
    """The network with the weights of the file in "resnet18:FILE" or "wide_resnet50_2:FILE".

    The file holds the arrays of torchvision's `state_dict()` by their names; timm's are the same.

    Raises:
        UserError: as `load_given`.
    """
    name = spec.partition(":")[0]
    from_file = functools.partial(_convert, name)
    return load_given(spec, network(name), from_file, mend=how_to_write(name))


class Place(NamedTuple):
    """A convolution: our name of it, the file's, the file's of its batch norm, its shape there."""

    ours: str
    convolution: str
    norm: str
    shape: Shape


def _convert(name: str, file: GivenFile) -> Params:
    wanted: dict[str, Shape | None] = {}
    for place in places(name):
        wanted[f"{place.convolution}.weight"] = place.shape
        wanted |= {f"{place.norm}.{part}": place.shape[:1] for part in _NORM}
    return convert(name, file.read(wanted, beside=BESIDE))


def convert(name: str, arrays: dict[str, np.ndarray]) -> Params:
    """The weights of the network `name`, from arrays by torchvision's names."""
    flat = {}
    for place in places(name):
        norm = (arrays[f"{place.norm}.{part}"] for part in _NORM)
        kernel, bias = fold(arrays[f"{place.convolution}.weight"], *norm, epsilon=EPSILON)
        flat[f"{place.ours}/kernel"] = kernel.transpose(2, 3, 1, 0).astype(np.float32)
        flat[f"{place.ours}/bias"] = bias.astype(np.float32)
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def places(name: str) -> Iterator[Place]:
    """Yields every convolution of the network `name`, in its order."""
    yield Place("stem/conv1", "conv1", "bn1", (STEM, 3, 7, 7))
    inside = STEM
    for number in range(1, 5):
        for place, block in enumerate(_blocks(VARIANTS[name], number)):
            ours, theirs = f"layer{number}/b{place}", f"layer{number}.{place}"
            narrow = inside
            for n, (side, width) in enumerate(zip(block.sides, block.widths, strict=True), 1):
                shape = (width, narrow, side, side)
                yield Place(f"{ours}/conv{n}", f"{theirs}.conv{n}", f"{theirs}.bn{n}", shape)
                narrow = width
            if block.stride > 1 or inside != narrow:
                down = f"{theirs}.downsample"
                yield Place(f"{ours}/downsample", f"{down}.0", f"{down}.1", (narrow, inside, 1, 1))
            inside = narrow
