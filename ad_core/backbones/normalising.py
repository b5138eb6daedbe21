"""Image values as torchvision's networks of ImageNet take them."""

import jax.numpy as jnp
from jaxtyping import Array, Float

MEAN = (0.485, 0.456, 0.406)  # of ImageNet, for images in [0, 1]
STD = (0.229, 0.224, 0.225)


def prepare(image: Float[Array, "b h w c"]) -> Float[Array, "b h w 3"]:
    """An image in [-1, 1] by ImageNet's mean and deviation; grey is repeated to three."""
    mean, std = jnp.asarray(MEAN).reshape(1, 1, 1, 3), jnp.asarray(STD).reshape(1, 1, 1, 3)
    return (0.5 * (jnp.broadcast_to(image, (*image.shape[:3], 3)) + 1.0) - mean) / std
