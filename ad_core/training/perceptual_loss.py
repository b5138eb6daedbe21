"""The perceptual distance as a term of a training loss, in a frozen backbone named by a setting.

The weights are constants of the compiled step: no state, checkpoint or detector holds them, and
no optimiser sees them.
"""

import functools
from typing import NamedTuple

import jax
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from ad_core.backbones import Backbone, load_backbone
from ad_core.backbones.perceptual import distance
from ad_core.errors import UserError


class PerceptualSettings(NamedTuple):
    """Settings of the term, as the section `perceptual` of a method's configuration holds them."""

    backbone: str = ""  # as `load_backbone` takes it; "": no such term
    weight: float = 1.0
    levels: tuple[str, ...] = ()  # of the backbone; (): all


def perceptual_defaults(*, backbone: str = "", weight: float = 1.0) -> ConfigDict:
    """The section of a configuration that `make_perceptual_loss` reads."""
    return ConfigDict(PerceptualSettings(backbone, weight)._asdict())


def explain_perceptual(section: str) -> dict[str, str]:
    """Lines of --help for a section of this kind: dotted key -> what it is."""
    return {
        f"{section}.backbone": "which network compares, by name or file; '': no such term",
        f"{section}.weight": "weight of the perceptual term",
        f"{section}.levels": "of that network; (): all",
    }


class PerceptualLoss:
    """The term. It reads the weights when it is first used, not when it is made."""

    def __init__(self, settings: PerceptualSettings, dtype: str):
        """Raises UserError if the weight is negative."""
        if settings.weight < 0:
            raise UserError(
                f"`reconstructor.perceptual.weight` (={settings.weight}) must not be negative."
            )
        self.weight = settings.weight
        self._settings = settings
        self._dtype = dtype

    @functools.cached_property
    def backbone(self) -> Backbone:
        """The backbone, with no more weights than the levels need.

        Raises:
            UserError: an unknown backbone or level, or weights that are missing.
        """
        with jax.ensure_compile_time_eval():  # kept, so no part of whatever is traced just now
            found = load_backbone(self._settings.backbone)
        levels = tuple(self._settings.levels) or tuple(found.strides)
        kept = found.network.part(found.params, levels)
        return Backbone(found.network, kept, found.sha256)

    def check(self) -> None:
        """Read the weights now, before long work is begun; UserError as `backbone`."""
        _ = self.backbone

    def __call__(
        self, x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]
    ) -> Float[Array, " b"]:
        """Perceptual distance of each pair, in float32, without the term's weight."""
        network, params = self.backbone.network, self.backbone.params
        return distance(network, params, x, y, levels=self._settings.levels, dtype=self._dtype)


def make_perceptual_loss(settings: PerceptualSettings, *, dtype: str) -> PerceptualLoss | None:
    """The term of these settings; None where they name no backbone.

    Args:
        dtype: of the backbone's computation.

    Raises:
        UserError: a negative weight.
    """
    return PerceptualLoss(settings, dtype) if settings.backbone else None
