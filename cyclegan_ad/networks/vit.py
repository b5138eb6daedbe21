"""CycleGAN's generator as a vision transformer."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ad_core.networks.blocks import Conv
from ad_core.networks.patches import SmoothUnpatchify, patchify
from ad_core.networks.transformer import Transformer
from ad_core.networks.vit_settings import VitSettings


class Generator(nn.Module):
    """Generator of an image of the other domain, in [-1, 1].

    Patches as tokens, a transformer, and a smooth way back to pixels. Beside them pass features
    of the image at full resolution, as in UVCGAN (Torbunov et al. 2023), which keep fine detail
    that tokens need not carry; a last convolution joins both.
    """

    channels: int
    shape: VitSettings
    dtype: DTypeLike = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        """Image in float32; h and w must be divisible by the patch."""
        own = self.shape
        fine = Conv(own.features, (3, 3), dtype=self.dtype, name="fine")(x)
        grid = nn.Dense(own.width, dtype=self.dtype, name="embed")(patchify(x, own.patch))
        grid = Transformer(own.depth, own.heads, self.dtype, self.remat, name="transformer")(grid)
        far = SmoothUnpatchify(own.patch, own.features, self.dtype, name="unpatchify")(grid)
        both = nn.swish(jnp.concatenate([fine, far], axis=-1))
        image = Conv(self.channels, (3, 3), dtype=self.dtype, name="head")(both)
        return jnp.tanh(image.astype(jnp.float32))
