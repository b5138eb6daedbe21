"""The U-Net that denoises: residual blocks that know the time, attention at low levels.

Source: Ho et al. 2020; the blocks' order is that of Dhariwal and Nichol 2021, scale and shift by
the time among it. Smaller than either.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from ad_core.networks.blocks import AttentionBlock, Conv, Downsample, GroupNorm, Upsample, through
from ad_core.networks.starting import ENDING

GROUPS = 8  # of every norm
LONGEST = 1e4  # period of the slowest wave of the time's features


def time_waves(time: Int[Array, " b"], features: int) -> Float[Array, "b d"]:
    """Cosines, then sines of the time, at frequencies from 1 down to 1 / LONGEST.

    Args:
        features: how many, an even number of at least 4.

    Source: Vaswani et al. 2017, section 3.5, in the order of Ho et al.'s code.
    """
    half = features // 2
    frequency = np.exp(-math.log(LONGEST) * np.arange(half) / half).astype(np.float32)
    angle = time.astype(jnp.float32)[:, None] * jnp.asarray(frequency)[None]
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


class TimeEmbedding(nn.Module):
    """Two dense layers over the waves of the time."""

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, time: Int[Array, " b"]) -> Float[Array, "b d"]:
        """Swish of the embedding, as every block takes it."""
        x = time_waves(time, self.features).astype(self.dtype)
        x = nn.swish(nn.Dense(self.features, dtype=self.dtype)(x))
        return nn.swish(nn.Dense(self.features, dtype=self.dtype)(x))


class TimedBlock(nn.Module):
    """Residual block whose second norm is scaled and shifted by the time; ends in zeros.

    A 1x1 convolution widens or narrows x on a change of width.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], time: Float[Array, "b d"]
    ) -> Float[Array, "b h w f"]:
        """Features at unchanged resolution, `features` channels of them."""
        y = Conv(self.features, (3, 3), dtype=self.dtype)(nn.swish(GroupNorm(GROUPS)(x)))
        turned = nn.Dense(2 * self.features, dtype=self.dtype)(time)
        scale, shift = jnp.split(turned[:, None, None, :], 2, axis=-1)
        y = GroupNorm(GROUPS)(y) * (1.0 + scale) + shift
        y = _ending(self.features, self.dtype)(nn.swish(y))
        if x.shape[-1] != self.features:
            x = Conv(self.features, (1, 1), dtype=self.dtype)(x)
        return x.astype(y.dtype) + y


class UNet(nn.Module):
    """Down to the lowest level and up again, with the features of each level handed across.

    width: channels of the first level. multipliers: width of each level as a multiple of it.
    blocks: residual blocks a level on the way down, one more on the way up. attention: levels
    (0 = full resolution) with attention. remat: see `blocks.recomputed`.
    """

    width: int
    multipliers: Sequence[int]
    blocks: int
    attention: Sequence[int]
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], time: Int[Array, " b"]
    ) -> Float[Array, "b h w c"]:
        """Float32 output of the shape of x; zero before any training."""
        channels, levels = x.shape[-1], len(self.multipliers)
        embedding = TimeEmbedding(4 * self.width, self.dtype)(time)
        x = Conv(self.width, (3, 3), dtype=self.dtype)(x)
        across = [x]
        for level in range(levels):
            for _ in range(self.blocks):
                x = self._block(x, embedding, level)
                across.append(x)
            if level + 1 < levels:
                x = Downsample(self.dtype)(x)
                across.append(x)
        x = self._timed(x, embedding, x.shape[-1])
        x = self._attend(x) if self.attention else x
        x = self._timed(x, embedding, x.shape[-1])
        for level in reversed(range(levels)):
            for _ in range(self.blocks + 1):
                x = self._block(jnp.concatenate([x, across.pop()], axis=-1), embedding, level)
            x = Upsample(self.dtype)(x) if level else x
        return _ending(channels, self.dtype)(nn.swish(GroupNorm(GROUPS)(x))).astype(jnp.float32)

    def _block(self, x: Array, embedding: Array, level: int) -> Array:
        x = self._timed(x, embedding, self.width * self.multipliers[level])
        return self._attend(x) if level in self.attention else x

    def _timed(self, x: Array, embedding: Array, features: int) -> Array:
        return through(TimedBlock(features, self.dtype), x, embedding, remat=self.remat)

    def _attend(self, x: Array) -> Array:
        return through(AttentionBlock(self.dtype), x, remat=self.remat)


def _ending(features: int, dtype: DTypeLike) -> nn.Conv:
    """A convolution that starts as zero, so that a block starts as the identity."""
    zeros = nn.initializers.zeros
    return Conv(features, (3, 3), dtype=dtype, kernel_init=zeros, name=ENDING)
