"""GANomaly's settings: those of the original as defaults, in two sizes."""

import math
from dataclasses import dataclass

from ml_collections import ConfigDict

from ad_core.data.shape import check_divisible_sides, image_shape
from ad_core.errors import UserError
from ad_core.training.optimisers import explain_optimiser, optimiser_defaults
from ad_core.training.players import SECTIONS

SMALLEST = 4  # pixels of the shorter side at which halving ends

EXPLAINED = {  # what --help says of each
    "width": "channels of the finest level; each coarser one has twice as many",
    "latent": "numbers that an encoder makes of an image",
    "adversarial_weight": "weight of the matching of the discriminator's features",
    "contextual_weight": "weight of |image - normal version|",
    "latent_weight": "weight of the squared difference of the two latents",
    "disc_restart": "loss of the discriminator below which it starts anew; 0: never",
    "ema": "decay of the generator's averaged weights, warmed up; 0: none",
    **explain_optimiser("optimiser", "of the generator"),
    **explain_optimiser("disc_optimiser", "of the discriminator"),
}


def defaults(size: str) -> ConfigDict:
    """The `config.reconstructor` section for "cpu" or "accelerator"."""
    small = size == "cpu"
    optimiser = optimiser_defaults(lr=1e-3 if small else 2e-4, b1=0.5, b2=0.999)
    return ConfigDict(
        {
            "width": 16 if small else 64,
            "latent": 100,
            "adversarial_weight": 1.0,
            "contextual_weight": 50.0,
            "latent_weight": 1.0,
            "disc_restart": 1e-5,
            "ema": 0.0,
            "optimiser": optimiser,
            "disc_optimiser": optimiser.copy_and_resolve_references(),
        }
    )


@dataclass(frozen=True, kw_only=True)
class GanomalySettings:
    """Part of a configuration that the networks and the step read; checked here once.

    levels: halvings of the image. coarsest: height and width after them.
    """

    width: int
    latent: int
    adversarial_weight: float
    contextual_weight: float
    latent_weight: float
    disc_restart: float
    ema: float
    levels: int
    coarsest: tuple[int, int]
    dtype: str

    def __post_init__(self) -> None:
        """Raises UserError on a value that no part of GANomaly knows."""
        if self.latent < 1 or self.width < 1:
            name = "width" if self.width < 1 else "latent"
            raise UserError(f"`reconstructor.{name}` (={getattr(self, name)}) must be at least 1.")
        if not 0.0 <= self.ema < 1.0:
            raise UserError(f"`reconstructor.ema` (={self.ema}) must be at least 0 and below 1.")


def make_settings(config: ConfigDict) -> GanomalySettings:
    """Settings of a complete configuration.

    The image is halved as often as leaves its shorter side at least SMALLEST pixels: 32 px three
    times, 256 px six times, as in the original.

    Raises UserError if a value is unknown, or the image is too small or does not divide.
    """
    section = config.reconstructor.to_dict()
    values = {key: value for key, value in section.items() if key not in SECTIONS}
    height, width, _ = image_shape(config.data)
    shorter = min(height, width)
    if shorter < 4 * SMALLEST:
        raise UserError(
            f"`data.image_size` (shorter side {shorter}) must be at least {4 * SMALLEST} pixels: "
            "GANomaly halves it twice or more, until 4 to 7 are left."
        )
    levels = int(math.log2(shorter // SMALLEST))
    check_divisible_sides(config.data, 2**levels, "the downsampling of GANomaly's encoder")
    coarsest = (height >> levels, width >> levels)
    return GanomalySettings(**values, levels=levels, coarsest=coarsest, dtype=config.train.dtype)
