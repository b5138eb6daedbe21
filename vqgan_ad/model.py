"""VQGAN's networks as pure functions of their parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ad_core.networks.discriminators import make_discriminator
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
        keys = jax.random.split(key, 5)
        image = jnp.zeros((1, *image_shape))
        encoder_params = encoder.init(keys[0], image)
        latent = encoder.apply(encoder_params, image)
        decoder_params = decoder.init(keys[1], latent)
        features = decoder.apply(decoder_params, latent)
        generator = {
            "encoder": encoder_params,
            "decoder": decoder_params,
            "head": head.init(keys[2], features),
            "codebook": quantiser.start_codebook(keys[3], settings.codes, settings.latent),
        }
        return {"generator": generator, "discriminator": discriminator.init(keys[4], image)}

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
