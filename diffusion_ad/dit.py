"""The diffusion transformer: blocks over patches that the time scales, shifts and gates.

Source: Peebles and Xie 2023, "Scalable Diffusion Models with Transformers", the variant adaLN-zero.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from ad_core.networks.blocks import through
from ad_core.networks.patches import patchify, sincos_positions, unpatchify
from ad_core.networks.starting import ENDING
from ad_core.networks.transformer import Attention, LayerNorm, Mlp
from diffusion_ad.unet import TimeEmbedding


class Modulation(nn.Module):
    """Numbers for each channel of an image's tokens, `count` of them; zero before any training."""

    count: int
    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, time: Float[Array, "b d"]) -> tuple[Float[Array, "b 1 f"], ...]:
        """One array for each of `count`."""
        zero = nn.initializers.zeros
        dense = nn.Dense(
            self.count * self.features, dtype=self.dtype, kernel_init=zero, name=ENDING
        )
        return tuple(jnp.split(dense(time)[:, None], self.count, axis=-1))


class TimedTransformerBlock(nn.Module):
    """Block x + gate attention(norm(x)), then x + gate mlp(norm(x)); the norms are modulated."""

    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], time: Float[Array, "b t"]
    ) -> Float[Array, "b n d"]:
        """Tokens of unchanged shape, in `dtype`."""
        factors = Modulation(6, x.shape[-1], self.dtype)(time)
        scale, shift, gate, scale_after, shift_after, gate_after = factors
        y = LayerNorm()(x) * (1.0 + scale) + shift
        x = x + gate * Attention(self.heads, self.dtype)(y)
        y = LayerNorm()(x) * (1.0 + scale_after) + shift_after
        return x + gate_after * Mlp(dtype=self.dtype)(y)


class DiT(nn.Module):
    """Transformer over patches of patch x patch positions.

    width: numbers of a token, divisible by 4 and by `heads`. depth: blocks. remat: see
    `blocks.recomputed`.
    """

    patch: int
    width: int
    depth: int
    heads: int
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], time: Int[Array, " b"]
    ) -> Float[Array, "b h w c"]:
        """Float32 output of the shape of x; zero before any training."""
        channels = x.shape[-1]
        embedding = TimeEmbedding(self.width, self.dtype)(time)
        grid = nn.Dense(self.width, dtype=self.dtype)(patchify(x, self.patch))
        b, h, w, d = grid.shape
        positions = jnp.asarray(sincos_positions(h, w, d))[None]
        tokens = (grid + positions.astype(grid.dtype)).reshape(b, h * w, d)
        for _ in range(self.depth):
            block = TimedTransformerBlock(self.heads, self.dtype)
            tokens = through(block, tokens, embedding, remat=self.remat)
        scale, shift = Modulation(2, d, self.dtype)(embedding)
        tokens = LayerNorm()(tokens) * (1.0 + scale) + shift
        last = nn.Dense(
            self.patch**2 * channels,
            dtype=self.dtype,
            kernel_init=nn.initializers.zeros,
            name=ENDING,
        )
        return unpatchify(last(tokens).reshape(b, h, w, -1), self.patch).astype(jnp.float32)
