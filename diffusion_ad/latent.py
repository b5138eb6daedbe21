"""Latent diffusion as a method: as pixel diffusion, on the latents of a trained autoencoder.

The autoencoder is named by the folder of its detector, and its weights travel with this one.
"""

from ml_collections import ConfigDict

from ad_core.types import Method
from diffusion_ad import settings
from diffusion_ad.diffusion import make_diffusion
from diffusion_ad.settings import common_defaults
from diffusion_ad.space import latents

__all__ = ["EXPLAINED", "defaults", "make"]

EXPLAINED = settings.EXPLAINED | {
    "autoencoder.backbone": "whose latents are denoised, vqgan_ad.autoencoder:DETECTOR"
}


def defaults(size: str) -> ConfigDict:
    """The `config.reconstructor` section for "cpu" or "accelerator"."""
    small = size == "cpu"
    section = common_defaults(size)
    section.autoencoder = ConfigDict({"backbone": ""})
    section.network = "unet"
    section.unet = ConfigDict(
        {
            "width": 32 if small else 128,
            "multipliers": (1, 2),
            "blocks": 1 if small else 2,
            "attention": (1,),
        }
    )
    section.dit = ConfigDict(
        {
            "patch": 2 if small else 1,
            "width": 96 if small else 384,
            "depth": 4 if small else 12,
            "heads": 4 if small else 6,
        }
    )
    return section


def make(config: ConfigDict) -> Method:
    """Makes the method of a complete configuration.

    Raises:
        UserError: a setting that is unknown. A missing autoencoder is told when a training begins.
    """
    space = latents(config.reconstructor.autoencoder.backbone, dtype=config.train.dtype)
    return make_diffusion(config, space)
