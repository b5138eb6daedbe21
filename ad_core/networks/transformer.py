"""Pre-norm transformer blocks over tokens; parameters float32, compute in `dtype`.

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words". Norms and softmax are float32 whatever
`dtype`. How images become tokens and back stands in `ad_core.networks.patches`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ad_core.networks.attention import attend
from ad_core.networks.blocks import through
from ad_core.networks.patches import sincos_positions

EPSILON = 1e-6  # of the norms


class LayerNorm(nn.Module):
    """Norm over the channels of each token, with learnt scale and offset, in float32."""

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        """Normalised x, in the dtype of x."""
        scale = self.param("scale", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        wide = x.astype(jnp.float32)
        centred = wide - jnp.mean(wide, axis=-1, keepdims=True)
        spread = jax.lax.rsqrt(jnp.mean(jnp.square(centred), axis=-1, keepdims=True) + EPSILON)
        channels = [1] * (x.ndim - 1) + [-1]
        normed = centred * spread * scale.reshape(channels) + bias.reshape(channels)
        return normed.astype(x.dtype)


class Attention(nn.Module):
    """Self-attention of all tokens to all, in `heads` heads of d / heads channels."""

    heads: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """Tokens of unchanged shape, in `dtype`.

        Raises ValueError if the heads do not divide the channels.
        """
        b, n, d = x.shape
        if d % self.heads:
            raise ValueError(f"`heads` (={self.heads}) must divide the width (={d}).")
        joint = nn.Dense(3 * d, dtype=self.dtype, name="qkv")(x)
        query, key, value = (
            part.reshape(b, n, self.heads, d // self.heads) for part in jnp.split(joint, 3, axis=-1)
        )
        mixed = attend(query, key, value).reshape(b, n, d)
        return nn.Dense(d, dtype=self.dtype, name="proj")(mixed)


class Mlp(nn.Module):
    """Two dense layers with GELU between them, `widening` times as wide inside."""

    widening: int = 4
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        """Tokens of unchanged shape, in `dtype`."""
        d = x.shape[-1]
        y = nn.Dense(self.widening * d, dtype=self.dtype, name="fc1")(x)
        return nn.Dense(d, dtype=self.dtype, name="fc2")(nn.gelu(y, approximate=False))


class LayerScale(nn.Module):
    """Channels times a learnt factor each, which starts at `start` (Touvron et al. 2021)."""

    start: float

    @nn.compact
    def __call__(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        """Scaled x, in the dtype of x."""
        gamma = self.param("gamma", nn.initializers.constant(self.start), x.shape[-1:])
        return x * gamma.astype(x.dtype).reshape([1] * (x.ndim - 1) + [-1])


class Block(nn.Module):
    """Block x + attention(norm(x)), then x + mlp(norm(x)).

    layer_scale: start of the factors behind attention and mlp, as DINOv2 has them; 0: none.
    """

    heads: int
    widening: int = 4
    layer_scale: float = 0.0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        """Tokens of unchanged shape, in `dtype`."""
        x = x.astype(self.dtype)
        y = Attention(self.heads, self.dtype, name="attn")(LayerNorm(name="norm1")(x))
        x = x + self._scaled("ls1", y)
        y = Mlp(self.widening, self.dtype, name="mlp")(LayerNorm(name="norm2")(x))
        return x + self._scaled("ls2", y)

    def _scaled(self, name: str, x: Array) -> Array:
        return LayerScale(self.layer_scale, name=name)(x) if self.layer_scale else x


class Transformer(nn.Module):
    """Blocks over a grid of tokens that are told where they lie, and a norm behind them.

    Positions are sines and cosines of row and column (`sincos_positions`), so that a grid of any
    size can follow the one that was learnt. remat: see `blocks.recomputed`.
    """

    depth: int
    heads: int
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, grid: Float[Array, "b h w d"]) -> Float[Array, "b h w d"]:
        """Tokens of unchanged shape, in `dtype`; d must be divisible by 4 and by `heads`."""
        b, h, w, d = grid.shape
        told = grid.astype(jnp.float32) + np.asarray(sincos_positions(h, w, d))[None]
        x = told.reshape(b, h * w, d).astype(self.dtype)
        for number in range(self.depth):
            block = Block(self.heads, dtype=self.dtype, name=f"block{number}")
            x = through(block, x, remat=self.remat)
        return LayerNorm(name="norm")(x).reshape(b, h, w, d)
