"""VQGAN's convolutional encoder and decoder, after taming-transformers (Esser et al. 2021)."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ad_core.networks.blocks import (
    AttentionBlock,
    Conv,
    Downsample,
    GroupNorm,
    ResidualBlock,
    Upsample,
    through,
)

LATENT = "latent"  # the last level of an encoder


class Encoder(nn.Module):
    """Encoder of an image as a latent, smaller by 2^(levels - 1) a side.

    width: channels of the first level. multipliers: width of each level as a multiple of it.
    blocks: residual blocks a level. attention: levels (0 = full resolution) with attention.
    latent: channels of the latent. remat: see `blocks.recomputed`.
    """

    width: int
    multipliers: Sequence[int]
    blocks: int
    attention: Sequence[int]
    latent: int
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b hz wz d"]:
        """Float32 latent of `latent` channels."""
        x = Conv(self.width, (3, 3), dtype=self.dtype)(x)
        for level, multiplier in enumerate(self.multipliers):
            if level:
                x = Downsample(self.dtype)(x)
            for _ in range(self.blocks):
                block = ResidualBlock(self.width * multiplier, self.dtype)
                x = through(block, x, remat=self.remat)
                if level in self.attention:
                    x = through(AttentionBlock(self.dtype), x, remat=self.remat)
        x = through(Middle(bool(self.attention), self.dtype), x, remat=self.remat)
        x = Conv(self.latent, (3, 3), dtype=self.dtype)(nn.swish(GroupNorm()(x)))
        return x.astype(jnp.float32)


class Piece(NamedTuple):
    """A module of the encoder by its name there, and the level that it belongs to."""

    level: str
    name: str
    module: Any  # `apply` is declared to return more than these modules do


def encoder_pieces(
    width: int,
    multipliers: Sequence[int],
    blocks: int,
    attention: Sequence[int],
    latent: int,
    *,
    dtype: DTypeLike,
) -> Iterator[Piece]:
    """Yields the modules of `Encoder` in their order, by their names there.

    One after the other they are the encoder, with swish after GroupNorm_0. Their levels are
    stage1, at full resolution, stage2, at half of it, and so on, then LATENT.
    """
    residual = attending = 0
    yield Piece("stage1", "Conv_0", Conv(width, (3, 3), dtype=dtype))
    for level, multiplier in enumerate(multipliers):
        stage = f"stage{level + 1}"
        if level:
            yield Piece(stage, f"Downsample_{level - 1}", Downsample(dtype))
        for _ in range(blocks):
            block = ResidualBlock(width * multiplier, dtype)
            yield Piece(stage, f"ResidualBlock_{residual}", block)
            residual += 1
            if level in attention:
                yield Piece(stage, f"AttentionBlock_{attending}", AttentionBlock(dtype))
                attending += 1
    yield Piece(LATENT, "Middle_0", Middle(bool(attention), dtype))
    yield Piece(LATENT, "GroupNorm_0", GroupNorm())
    yield Piece(LATENT, "Conv_1", Conv(latent, (3, 3), dtype=dtype))


class Decoder(nn.Module):
    """Decoder of a latent as the features before the last convolution, at full resolution.

    The last convolution is kept apart (`Head`), because the adaptive weight needs its gradient.
    remat: see `blocks.recomputed`.
    """

    width: int
    multipliers: Sequence[int]
    blocks: int
    attention: Sequence[int]
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, z: Float[Array, "b hz wz d"]) -> Float[Array, "b h w f"]:
        """Swish of the normalised features, f = width * multipliers[0]."""
        levels = len(self.multipliers)
        x = Conv(self.width * self.multipliers[-1], (3, 3), dtype=self.dtype)(z)
        x = through(Middle(bool(self.attention), self.dtype), x, remat=self.remat)
        for level in reversed(range(levels)):
            for _ in range(self.blocks + 1):
                block = ResidualBlock(self.width * self.multipliers[level], self.dtype)
                x = through(block, x, remat=self.remat)
                if level in self.attention:
                    x = through(AttentionBlock(self.dtype), x, remat=self.remat)
            if level:
                x = Upsample(self.dtype)(x)
        return nn.swish(GroupNorm()(x))


class Head(nn.Module):
    """The decoder's last convolution: features -> image in float32, unbounded as in VQGAN."""

    channels: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w f"]) -> Float[Array, "b h w c"]:
        """The image; values may leave [-1, 1] a little."""
        return Conv(self.channels, (3, 3), dtype=self.dtype)(x).astype(jnp.float32)


class Middle(nn.Module):
    """Residual, attention (where asked for), residual, at the lowest resolution."""

    attend: bool
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Features of unchanged shape."""
        x = ResidualBlock(x.shape[-1], self.dtype)(x)
        x = AttentionBlock(self.dtype)(x) if self.attend else x
        return ResidualBlock(x.shape[-1], self.dtype)(x)
