"""VQGAN's encoder and decoder as vision transformers, after ViT-VQGAN (Yu et al. 2022).

Deviations: the decoder passes from tokens to pixels by doublings, without seams, where the paper
computes each patch of its token alone; positions are sines and cosines; no tanh in the heads. The
paper's codes are 32 channels wide and of unit length: `latent` and `unit_codes`.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ad_core.networks.blocks import GroupNorm
from ad_core.networks.patches import SmoothUnpatchify, patchify
from ad_core.networks.transformer import Transformer
from ad_core.networks.vit_settings import VitSettings


class Encoder(nn.Module):
    """Encoder of an image as a latent of `latent` channels, one position a patch."""

    shape: VitSettings
    latent: int
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b hz wz d"]:
        """Float32 latent of `latent` channels."""
        own = self.shape
        grid = nn.Dense(own.width, dtype=self.dtype, name="embed")(patchify(x, own.patch))
        grid = Transformer(own.depth, own.heads, self.dtype, self.remat, name="transformer")(grid)
        return nn.Dense(self.latent, dtype=self.dtype, name="latent")(grid).astype(jnp.float32)


class Decoder(nn.Module):
    """Decoder of a latent as the features before the last convolution, at full resolution.

    patch: pixels of the side that a position of the latent stands for, a power of two.
    """

    shape: VitSettings
    patch: int
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, z: Float[Array, "b hz wz d"]) -> Float[Array, "b h w f"]:
        """Swish of the normalised features, f = shape.features."""
        own = self.shape
        grid = nn.Dense(own.width, dtype=self.dtype, name="embed")(z)
        grid = Transformer(own.depth, own.heads, self.dtype, self.remat, name="transformer")(grid)
        x = SmoothUnpatchify(self.patch, own.features, self.dtype, name="unpatchify")(grid)
        return nn.swish(GroupNorm()(x))
