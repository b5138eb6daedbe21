"""Discriminators that families share: the PatchGAN, and a vision transformer in its place."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from ad_core.networks.patches import patchify
from ad_core.networks.patchgan import PatchGAN
from ad_core.networks.transformer import Transformer
from ad_core.networks.vit_settings import VitSettings

KINDS = ("patchgan", "vit")  # what `reconstructor.discriminator` may be


class VitDiscriminator(nn.Module):
    """Raw logits of an image's patches, of which each has seen all others.

    Patches as tokens, a transformer, one logit a token: like PatchGAN's a map, unlike ViTGAN's
    (Lee et al. 2022) single logit of a class token.
    """

    shape: VitSettings
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b hp wp"]:
        """Float32 logits, high where a patch looks real; h and w must be divisible by the patch."""
        own = self.shape
        grid = nn.Dense(own.width, dtype=self.dtype, name="embed")(patchify(x, own.patch))
        grid = Transformer(own.depth, own.heads, self.dtype, name="transformer")(grid)
        return nn.Dense(1, dtype=self.dtype, name="logit")(grid)[..., 0].astype(jnp.float32)


def make_discriminator(
    kind: str, vit: VitSettings, *, width: int, layers: int, norm: str, dtype: DTypeLike
) -> Any:
    """The discriminator of a kind of KINDS; width, layers and norm are those of the PatchGAN."""
    if kind == "vit":
        return VitDiscriminator(vit, dtype)
    return PatchGAN(width, layers, norm, dtype)
