"""VQGAN's encoder, decoder and head, picked by the name of the network."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from vqgan_ad.networks import cnn, vit
from vqgan_ad.networks.cnn import LATENT, Piece, encoder_pieces
from vqgan_ad.settings import VqganSettings


class Networks(NamedTuple):
    """Linen modules: image -> latent, latent -> features, features -> image.

    `apply` is declared to return more than these modules do.
    """

    encoder: Any
    decoder: Any
    head: Any


def make_networks(settings: VqganSettings, channels: int) -> Networks:
    """The networks of these settings for images of `channels` channels.

    "cnn" and "vit" have both halves of one kind, "hybrid" the encoder of cnn and the decoder of
    vit. The head, whose kernel the adaptive weight looks at, is a convolution in all.
    """
    kind = {"dtype": jnp.dtype(settings.dtype), "remat": settings.remat}
    shape = (settings.width, settings.multipliers, settings.blocks, settings.attention)
    if settings.network == "vit":
        encoder = vit.Encoder(settings.vit, settings.latent, **kind)
    else:
        encoder = cnn.Encoder(*shape, latent=settings.latent, **kind)
    if settings.network == "cnn":
        decoder = cnn.Decoder(*shape, **kind)
    else:
        decoder = vit.Decoder(settings.vit, settings.stride, **kind)
    return Networks(encoder, decoder, cnn.Head(channels, kind["dtype"]))


__all__ = ["LATENT", "Networks", "Piece", "encoder_pieces", "make_networks"]
