"""Pixel diffusion as a method: partly noised images are drawn again by what knows normal ones."""

from ml_collections import ConfigDict

from ad_core.types import Method
from diffusion_ad.diffusion import make_diffusion
from diffusion_ad.settings import EXPLAINED, common_defaults
from diffusion_ad.space import pixels

__all__ = ["EXPLAINED", "defaults", "make"]


def defaults(size: str) -> ConfigDict:
    """The `config.reconstructor` section for "cpu" or "accelerator"."""
    small = size == "cpu"
    section = common_defaults(size)
    section.network = "unet"
    section.unet = ConfigDict(
        {
            "width": 16 if small else 64,
            "multipliers": (1, 2, 4) if small else (1, 1, 2, 2, 4),
            "blocks": 1 if small else 2,
            "attention": (2,) if small else (4,),
        }
    )
    section.dit = ConfigDict(
        {
            "patch": 4 if small else 16,
            "width": 96 if small else 384,
            "depth": 4 if small else 12,
            "heads": 4 if small else 6,
        }
    )
    return section


def make(config: ConfigDict) -> Method:
    """Makes the method of a complete configuration.

    Raises:
        UserError: a setting that is unknown.
    """
    return make_diffusion(config, pixels())
