"""CycleGAN's networks as pure functions of their parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ad_core.networks.discriminators import make_discriminator
from ad_core.networks.starting import dcgan_start, lecun_start
from cyclegan_ad.networks import make_generator
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
    generator = make_generator(settings, channels)
    discriminator = make_discriminator(settings.discriminator, jnp.dtype(settings.dtype))

    def init(key: PRNGKeyArray, image_shape: tuple[int, int, int]) -> Params:
        image = jnp.zeros((1, *image_shape))
        modules = {name: generator for name in GENERATORS}
        modules |= {name: discriminator for name in DISCRIMINATORS}
        transformers = GENERATORS if settings.network == "vit" else ()
        transformers += DISCRIMINATORS if settings.discriminator.kind == "vit" else ()
        shapes = {
            name: jax.eval_shape(module.init, key, image)
            for name, module in modules.items()
            if name not in transformers
        }
        params = dcgan_start(shapes, key) if shapes else {}
        for number, name in enumerate(transformers):  # the recipe's start is for convolutions
            own = jax.eval_shape(modules[name].init, key, image)
            params[name] = lecun_start(own, jax.random.fold_in(key, number))
        return params

    def discriminate(params: Params, image: Array) -> Array:
        params = normalise_kernels(params) if settings.spectral_norm else params
        return discriminator.apply(params, image)

    return Model(init, generator.apply, discriminate)
