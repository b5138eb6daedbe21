"""VGG-16 up to its last convolution, from weights that the user gives.

Simonyan and Zisserman 2015, "Very Deep Convolutional Networks", as torchvision builds it.
"""

import functools

import jax
import numpy as np
from jaxtyping import Array

from ad_core.backbones.backbone import Backbone, Level, Network, Params
from ad_core.backbones.given import load_given
from ad_core.backbones.given_files import GivenFile, how_to_write
from ad_core.backbones.normalising import prepare

NAMES = ("vgg16",)
# torchvision's numbering of the convolutions, by block; a 2x2 max-pooling between blocks.
BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
BESIDE = ("classifier.", "pre_logits.", "head.")  # torchvision's and timm's, after the features


@functools.cache
def network(name: str = "vgg16") -> Network:
    """VGG-16 with its levels block1 to block5: the activations at the end of each block."""
    return Network(
        name=name,
        module=__name__,
        prepare=prepare,
        levels=tuple(_level(place, numbers) for place, numbers in enumerate(BLOCKS)),
        licence="that of the given file",
        origin="a file that the user gave, with the arrays of torchvision's vgg16",
    )


def load(spec: str) -> Backbone:
    """VGG-16 with the weights of the file in "vgg16:FILE".

    The file holds features.<n>.weight [out, in, 3, 3] and features.<n>.bias [out] as float arrays,
    n as in torchvision's vgg16 (0 to 28).

    Raises:
        UserError: as `load_given`.
    """
    return load_given(spec, network(NAMES[0]), _convert, mend=how_to_write("vgg16"))


def _convert(file: GivenFile) -> Params:
    places = (f"features.{n}.{part}" for b in BLOCKS for n in b for part in ("weight", "bias"))
    return file.read(dict.fromkeys(places), beside=BESIDE)


def _level(place: int, numbers: tuple[int, ...]) -> Level:
    def apply(params: Params, x: Array) -> Array:
        x = _halve(x) if place else x
        for n in numbers:
            x = _convolve(x, params[f"features.{n}.weight"], params[f"features.{n}.bias"])
        return x

    return Level(f"block{place + 1}", 2**place, apply)


def _convolve(x: Array, weight: Array, bias: Array) -> Array:
    weight, bias = weight.astype(x.dtype), bias.astype(x.dtype)
    y = jax.lax.conv_general_dilated(
        x, weight, (1, 1), "SAME", dimension_numbers=("NHWC", "OIHW", "NHWC")
    )
    return jax.nn.relu(y + bias.reshape(1, 1, 1, -1))


def _halve(x: Array) -> Array:
    lowest = np.asarray(-np.inf, x.dtype)  # jnp: no gradient
    return jax.lax.reduce_window(x, lowest, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
