"""Spaces in which images are denoised: their pixels, or the latents of an autoencoder."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ad_core.backbones import Backbone, load_backbone, network_of
from ad_core.errors import UserError
from ad_core.training.partition import mean_over_devices

Params = dict[str, Any]
Shape = tuple[int, int, int]


class Space(NamedTuple):
    """Functions of what an image is in this space; none of their parameters is learnt by gradient.

    start: image_shape [h, w, c] -> (parameters, shape in this space). Raises UserError where an
        autoencoder is missing or does not fit.
    encode: (parameters, image) -> there. decode: (parameters, there) -> image, near [-1, 1].
    measure: (parameters, image, weights [b] as `image_weights` gives them) -> those parameters
        that are measured once, of the first batch; None where there are none.
    limit: the largest absolute value there; 0: none.
    """

    start: Callable[[Shape], tuple[Params, Shape]]
    encode: Callable[[Params, Array], Array]
    decode: Callable[[Params, Array], Array]
    measure: Callable[[Params, Array, Array], Params] | None
    limit: float


def pixels() -> Space:
    """The images themselves."""
    return Space(
        start=lambda shape: ({}, shape),
        encode=lambda params, image: image.astype(jnp.float32),
        decode=lambda params, x: x,
        measure=None,
        limit=1.0,
    )


def latents(spec: str, *, dtype: str) -> Space:
    """Latents of the autoencoder that `spec` names, each channel of mean 0 and deviation 1.

    Mean and deviation are those of the first batch. Source: Rombach et al. 2022, appendix G, where
    one deviation serves all channels.

    Args:
        spec: as `load_backbone` takes it; its network must have `decode`.
        dtype: of the autoencoder's computation.
    """

    @functools.cache
    def load() -> Backbone:
        if not spec:
            raise UserError(
                "`reconstructor.autoencoder.backbone` is missing: train a VQGAN on the same data "
                "and name its detector, vqgan_ad.autoencoder:DETECTOR."
            )
        with jax.ensure_compile_time_eval():  # kept, so no part of whatever is traced just now
            found = load_backbone(spec)
        if found.network.decode is None:
            raise UserError(
                f"`reconstructor.autoencoder.backbone` (={spec}) draws no image; name a VQGAN's "
                "detector, vqgan_ad.autoencoder:DETECTOR."
            )
        return found

    def latent(params: Params, image: Array) -> Float[Array, "b h w c"]:
        network = network_of(spec)
        last = network.levels[-1].name
        found = network.stages(params["autoencoder"], image, levels=(last,), dtype=dtype)
        return found[last].astype(jnp.float32)

    def start(shape: Shape) -> tuple[Params, Shape]:
        params = {"autoencoder": load().params}
        image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        inner = jax.eval_shape(latent, params, image).shape[1:]
        ones = jnp.ones(inner[2])
        params["latents"] = {"mean": 0.0 * ones, "deviation": ones}
        drawn = jax.eval_shape(decode, params, jax.ShapeDtypeStruct((1, *inner), jnp.float32))
        if drawn.shape != image.shape:
            raise UserError(
                f"`reconstructor.autoencoder.backbone` (={spec}) draws images of "
                f"{list(drawn.shape[1:])} and these are {list(shape)}, height, width and channels; "
                "name one that was trained on images like these."
            )
        return params, inner

    def encode(params: Params, image: Array) -> Float[Array, "b h w c"]:
        mean, deviation = (_row(params["latents"][name]) for name in ("mean", "deviation"))
        return (latent(params, image) - mean) / deviation

    def decode(params: Params, x: Array) -> Float[Array, "b h w c"]:
        mean, deviation = (_row(params["latents"][name]) for name in ("mean", "deviation"))
        draw = network_of(spec).decode
        assert draw is not None  # `load` saw to it
        return draw(params["autoencoder"], x * deviation + mean, dtype)

    def measure(params: Params, image: Array, weight: Array) -> Params:
        return {"latents": _moments(latent(params, image), weight)}

    return Space(start, encode, decode, measure, limit=0.0)


def _row(values: Float[Array, " c"]) -> Float[Array, "1 1 1 c"]:
    return values[None, None, None]


def _moments(x: Float[Array, "b h w c"], weight: Float[Array, " b"]) -> dict[str, Array]:
    """Mean and deviation of each channel; `weight` as `image_weights` gives it."""

    def mean_of(values: Array) -> Float[Array, " c"]:
        return mean_over_devices(weight @ jnp.mean(values, axis=(1, 2)))

    mean = mean_of(x)
    variance = mean_of(jnp.square(x - _row(mean)))
    # A channel that never answers stays small, rather than become noise of deviation 1.
    least = 1e-6 + 1e-3 * jnp.mean(variance)
    return {"mean": mean, "deviation": jnp.sqrt(variance + least)}
