"""Discriminators that families share: the PatchGAN, and a vision transformer in its place."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from ad_core.data.shape import check_divisible_sides
from ad_core.errors import require_choice
from ad_core.networks.patches import patchify
from ad_core.networks.patchgan import PatchGAN
from ad_core.networks.transformer import Transformer
from ad_core.networks.vit_settings import VitSettings, explain_vit, read_vit, vit_defaults

KINDS = ("patchgan", "vit")
NORMS = ("instance", "group", "none")  # of the PatchGAN
# Settings of `config.reconstructor`, and what --help says of each.
NAMES = ("discriminator", "disc_width", "disc_layers", "disc_norm", "disc_vit")
EXPLAINED = {
    "discriminator": "which network tells real from drawn (patchgan | vit)",
    "disc_width": "channels of the patchgan's first layer",
    "disc_layers": "of the patchgan; 3 judge patches of 70 x 70 pixels",
    "disc_norm": "of the patchgan (instance | group | none)",
    **explain_vit("disc_vit", "of the discriminator vit", draws=False),
}


class DiscriminatorSettings(NamedTuple):
    """Kind of a discriminator, the shape of a PatchGAN, and that of a transformer."""

    kind: str
    width: int
    layers: int
    norm: str
    vit: VitSettings


def discriminator_defaults(*, small: bool, norm: str) -> dict[str, Any]:
    """Settings of `config.reconstructor` that `read_discriminator` reads; `small` for a CPU."""
    cpu = {"patch": 8, "width": 64, "depth": 2, "heads": 4}
    accelerator = {"patch": 16, "width": 384, "depth": 4, "heads": 6}
    return {
        "discriminator": "patchgan",
        "disc_width": 16 if small else 64,
        "disc_layers": 3,
        "disc_norm": norm,
        "disc_vit": vit_defaults(**(cpu if small else accelerator)),
    }


def read_discriminator(values: Mapping[str, Any], data: ConfigDict) -> DiscriminatorSettings:
    """The settings of a discriminator among those of `config.reconstructor`.

    Raises:
        UserError: a value that is unknown, or an image that does not divide into its patches.
    """
    found = DiscriminatorSettings(
        kind=values["discriminator"],
        width=values["disc_width"],
        layers=values["disc_layers"],
        norm=values["disc_norm"],
        vit=read_vit("disc_vit", values["disc_vit"]),
    )
    require_choice("reconstructor.discriminator", found.kind, KINDS)
    require_choice("reconstructor.disc_norm", found.norm, NORMS)
    if found.kind == "vit":
        check_divisible_sides(data, found.vit.patch, "`reconstructor.disc_vit.patch`")
    return found


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


def make_discriminator(settings: DiscriminatorSettings, dtype: DTypeLike) -> Any:
    """The discriminator of these settings, a Linen module."""
    if settings.kind == "vit":
        return VitDiscriminator(settings.vit, dtype)
    return PatchGAN(settings.width, settings.layers, settings.norm, dtype)
