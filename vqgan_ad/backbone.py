"""The encoder of a VQGAN that was trained on normal images, as a backbone: "vqgan:DETECTOR".

DETECTOR is the folder of a detector with a VQGAN in it. Its network has a name that tells its
shape, so that it is made again without the detector; the weights travel with whoever uses them.
"""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from ad_core.backbones import Backbone, Level, Network, with_weights
from ad_core.errors import UserError
from ad_core.runtime.sealed import MANIFEST, find_folder
from ad_core.scoring.files import load_parts, read_configs
from vqgan_ad import vqgan
from vqgan_ad.networks import LATENT, Piece, encoder_pieces

NAMES = ("vqgan",)
_NAME = re.compile(r"vqgan_w(\d+)_m([\dx]+)_b(\d+)_a([\dx]*)_l(\d+)_c(\d+)")


class EncoderShape(NamedTuple):
    """Shape of an encoder, as `vqgan_ad.networks.Encoder` says, and the channels of its images."""

    width: int
    multipliers: tuple[int, ...]
    blocks: int
    attention: tuple[int, ...]
    latent: int
    channels: int

    @property
    def name(self) -> str:
        """Name of the network."""
        multipliers, attention = ("x".join(map(str, x)) for x in (self.multipliers, self.attention))
        return (
            f"vqgan_w{self.width}_m{multipliers}_b{self.blocks}_a{attention}_l{self.latent}"
            f"_c{self.channels}"
        )


@functools.cache
def network(name: str) -> Network:
    """The encoder whose shape `name` tells; levels stage1, stage2, ... and latent.

    Raises:
        UserError: no name of an encoder.
    """
    shape = _shape(name)
    count = len(shape.multipliers)
    strides = {f"stage{n + 1}": 2**n for n in range(count)} | {LATENT: 2 ** (count - 1)}
    return Network(
        name=name,
        module=__name__,
        prepare=functools.partial(_prepare, channels=shape.channels),
        levels=tuple(_level(shape, level, stride) for level, stride in strides.items()),
        licence="that of the images it was trained on",
        origin="the encoder of a VQGAN that the user trained",
    )


def named(spec: str) -> str:
    """Name of the network of "vqgan:DETECTOR"; any other `spec` is one itself.

    Raises:
        UserError: no detector there, or none with a VQGAN.
    """
    return shape_of(taught(spec)).name if ":" in spec else spec


def load(spec: str) -> Backbone:
    """The encoder of the VQGAN in the detector of "vqgan:DETECTOR".

    Raises:
        UserError: no detector there, one that was changed, or none with a VQGAN.
    """
    place = spec.partition(":")[2]
    shape = shape_of(taught(spec))  # it tells what is wrong with `place`
    parts = load_parts(Path(place)).methods
    state = next(part.state for part in parts if part.config.method == vqgan.__name__)
    encoder = state.params["generator"]["encoder"]["params"]
    arrays: dict[str, Any] = {}
    for piece in _pieces(shape, jnp.float32):
        arrays.setdefault(piece.level, {})[piece.name] = encoder[piece.name]
    source = f"the encoder of the VQGAN in {place}, trained on the user's normal images"
    return with_weights(network(shape.name), arrays, source=source)


def taught(spec: str) -> ConfigDict:
    """Configuration of the VQGAN in the detector of "vqgan:DETECTOR"; errors as `named`."""
    _, _, place = spec.partition(":")
    if not place:
        raise UserError(
            f"Backbone {spec} is an encoder that you have trained: name the folder of its "
            "detector, vqgan:DETECTOR."
        )
    if not (find_folder(Path(place)) / MANIFEST).is_file():
        raise UserError(
            f"Backbone {spec}: no detector there. A detector that was made with it needs it no "
            "more, but training and calibrating do; name the folder where it is now."
        )
    for config in read_configs(place):
        if config.method == vqgan.__name__:
            return config
    raise UserError(f"Backbone {spec}: the detector has no {vqgan.__name__}; name one that has.")


def shape_of(config: ConfigDict) -> EncoderShape:
    """Shape of the encoder of a VQGAN's configuration.

    Raises:
        UserError: its encoder is no CNN.
    """
    own = config.reconstructor
    if own.network == "vit":
        raise UserError(
            "A backbone vqgan:DETECTOR needs a convolutional encoder, and this VQGAN was trained "
            "with `reconstructor.network` (=vit); name one of cnn or hybrid."
        )
    return EncoderShape(
        width=own.width,
        multipliers=tuple(own.multipliers),
        blocks=own.blocks,
        attention=tuple(own.attention),
        latent=own.latent,
        channels=config.data.channels,
    )


def _shape(name: str) -> EncoderShape:
    found = _NAME.fullmatch(name)
    if not found:
        raise UserError(f"Unknown encoder {name!r}; name one by vqgan:DETECTOR.")
    width, multipliers, blocks, attention, latent, channels = found.groups()
    several = (tuple(map(int, filter(None, x.split("x")))) for x in (multipliers, attention))
    multipliers, attention = several
    return EncoderShape(int(width), multipliers, int(blocks), attention, int(latent), int(channels))


def _pieces(shape: EncoderShape, dtype: DTypeLike) -> Iterator[Piece]:
    return encoder_pieces(*shape[:-1], dtype=dtype)


def _level(shape: EncoderShape, name: str, stride: int) -> Level:
    def apply(params: Any, x: Array) -> Array:
        for piece in _pieces(shape, x.dtype):
            if piece.level == name:
                x = piece.module.apply({"params": params[name][piece.name]}, x)
                x = jax.nn.swish(x) if piece.name == "GroupNorm_0" else x
        return x

    return Level(name, stride, apply)


def _prepare(image: Float[Array, "b h w c"], *, channels: int) -> Float[Array, "b h w _"]:
    """The image with the channels that the VQGAN saw: grey is repeated, colour averaged."""
    if channels == 1:
        return jnp.mean(image, axis=-1, keepdims=True)
    return jnp.broadcast_to(image, (*image.shape[:3], channels))
