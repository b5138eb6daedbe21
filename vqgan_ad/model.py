"""VQGAN's networks as pure functions of their parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ad_core.networks.discriminators import make_discriminator
from ad_core.networks.starting import dcgan_start, lecun_start
from vqgan_ad import quantiser
from vqgan_ad.networks import make_networks
from vqgan_ad.settings import VqganSettings

Params = dict[str, Any]


class Passed(NamedTuple):
    """Pass of a batch: latent, quantised, features before the last convolution, image."""

    image: Float[Array, "b h w c"]
    latent: Float[Array, "b hz wz d"]
    quantised: quantiser.Quantised
    features: Float[Array, "b h w f"]


class Model(NamedTuple):
    """Functions of (params, input).

    `params` of the generator hold encoder, decoder, head and codebook; those of `discriminate`
    the discriminator alone.
    """

    init: Callable[[PRNGKeyArray, tuple[int, int, int]], Params]
    encode: Callable[[Params, Array], Array]
    decode: Callable[[Params, Array], Array]
    head: Callable[[Params, Array], Array]
    discriminate: Callable[[Params, Array], Array]
    forward: Callable[[Params, Array], Passed]


def make_model(settings: VqganSettings, channels: int) -> Model:
    """Functions of these settings' networks for images of `channels` channels."""
    encoder, decoder, head = make_networks(settings, channels)
    discriminator = make_discriminator(settings.discriminator, jnp.dtype(settings.dtype))

    def init(key: PRNGKeyArray, image_shape: tuple[int, int, int]) -> Params:
        keys = jax.random.split(key, 3)
        generator = lecun_start(jax.eval_shape(lambda: halves(image_shape)), keys[0])
        generator["codebook"] = quantiser.start_codebook(keys[1], settings.codes, settings.latent)
        image = jnp.zeros((1, *image_shape))
        start = dcgan_start if settings.discriminator.kind == "patchgan" else lecun_start
        judge = start(jax.eval_shape(discriminator.init, key, image), keys[2])
        return {"generator": generator, "discriminator": judge}

    def halves(image_shape: tuple[int, int, int]) -> Params:
        key, image = jax.random.key(0), jnp.zeros((1, *image_shape))
        latent, encoder_params = encoder.init_with_output(key, image)
        features, decoder_params = decoder.init_with_output(key, latent)
        head_params = head.init(key, features)
        return {"encoder": encoder_params, "decoder": decoder_params, "head": head_params}

    def encode(generator: Params, image: Array) -> Array:
        return encoder.apply(generator["encoder"], image)

    def decode(generator: Params, latent: Array) -> Array:
        return head.apply(generator["head"], decoder.apply(generator["decoder"], latent))

    def forward(generator: Params, image: Array) -> Passed:
        latent = encode(generator, image)
        quantised = quantiser.quantise(generator["codebook"], latent, unit=settings.unit_codes)
        features = decoder.apply(generator["decoder"], quantised.latent)
        return Passed(head.apply(generator["head"], features), latent, quantised, features)

    return Model(init, encode, decode, head.apply, discriminator.apply, forward)
