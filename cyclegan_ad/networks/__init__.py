"""CycleGAN's generators, picked by the name of the network."""

from typing import Any

import jax.numpy as jnp

from cyclegan_ad.networks import cnn, vit
from cyclegan_ad.settings import CycleganSettings


def make_generator(settings: CycleganSettings, channels: int) -> Any:
    """The generator of these settings for images of `channels` channels, a Linen module."""
    dtype = jnp.dtype(settings.dtype)
    if settings.network == "vit":
        return vit.Generator(channels, settings.vit, dtype, settings.remat)
    shape = (settings.width, settings.blocks, settings.upsample)
    return cnn.Generator(channels, *shape, dtype=dtype, remat=settings.remat)
