"""CycleGAN's networks as pure functions of their parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ad_core.networks.patchgan import PatchGAN
from ad_core.networks.starting import dcgan_start
from cyclegan_ad.networks import Generator
from cyclegan_ad.settings import CycleganSettings
from cyclegan_ad.spectral import normalise_kernels

Params = dict[str, Any]
GENERATORS = ("to_normal", "to_abnormal")
DISCRIMINATORS = ("disc_normal", "disc_abnormal")


class Model(NamedTuple):
    """Functions of (parameters of one network, image); `init` makes those of all four.

    to_normal draws an image as if it were normal, to_abnormal as if it were not;
    disc_normal gives logits that are high where a patch looks like a real normal image's.
    """

    init: Callable[[PRNGKeyArray, tuple[int, int, int]], Params]
    draw: Callable[[Params, Float[Array, "b h w c"]], Float[Array, "b h w c"]]
    discriminate: Callable[[Params, Float[Array, "b h w c"]], Float[Array, "b hp wp"]]


def make_model(settings: CycleganSettings, channels: int) -> Model:
    """Functions of these settings' networks for images of `channels` channels."""
    dtype = jnp.dtype(settings.dtype)
    # `apply` is declared to return more than these modules do.
    generator: Any = Generator(
        channels, settings.width, settings.blocks, settings.upsample, dtype=dtype
    )
    discriminator: Any = PatchGAN(
        settings.disc_width, settings.disc_layers, settings.disc_norm, dtype
    )

    def init(key: PRNGKeyArray, image_shape: tuple[int, int, int]) -> Params:
        image = jnp.zeros((1, *image_shape))
        modules = {name: generator for name in GENERATORS}
        modules |= {name: discriminator for name in DISCRIMINATORS}
        shapes = {n: jax.eval_shape(m.init, key, image) for n, m in modules.items()}
        return dcgan_start(shapes, key)

    def discriminate(params: Params, image: Array) -> Array:
        params = normalise_kernels(params) if settings.spectral_norm else params
        return discriminator.apply(params, image)

    return Model(init, generator.apply, discriminate)
