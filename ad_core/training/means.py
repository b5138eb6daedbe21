"""Means over the images of a training batch, in which padding does not count."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ad_core.training.partition import mean_over_devices


def image_weights(valid: Bool[Array, " b"]) -> Float[Array, " b"]:
    """Weights that make a sum over images a mean: 1 / (valid images of one device), else 0.

    The mean over devices of what each device sums is then the mean over all valid images.
    """
    counted = valid.astype(jnp.float32)
    # Below 1 where there are fewer valid images than devices.
    return counted / jnp.maximum(mean_over_devices(jnp.sum(counted)), 1e-6)


def per_image(values: Float[Array, "b *s"]) -> Float[Array, " b"]:
    """Mean of each image's values."""
    return jnp.mean(values.reshape(values.shape[0], -1), axis=1)


def weighted_mean(values: Float[Array, "b *s"], weight: Float[Array, " b"]) -> Float[Array, ""]:
    """Sum over images of `weight` (see `image_weights`) times the mean of each image's values."""
    return jnp.sum(weight * per_image(values))
