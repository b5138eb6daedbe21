"""Differentiable variations of what a discriminator sees, against few images (Zhao et al. 2020).

The same kinds vary real and generated images, in both players' losses, so that the
discriminator cannot learn its few real images by heart and the generator does not learn to draw
the variations.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

SHIFT, HOLE = 1 / 8, 1 / 2  # shares of the image's side


def vary(
    image: Float[Array, "b h w c"], key: PRNGKeyArray, kinds: Sequence[str]
) -> Float[Array, "b h w c"]:
    """Images varied in each of `kinds` (of KINDS) in turn, each image by a draw of its own."""
    for kind, own in zip(kinds, jax.random.split(key, len(kinds)), strict=True):
        image = jax.vmap(KINDS[kind])(image, jax.random.split(own, len(image)))
    return image


def _colour(image: Float[Array, "h w c"], key: PRNGKeyArray) -> Float[Array, "h w c"]:
    """Brightness by -0.5 to 0.5, contrast by 0.5 to 1.5, saturation by 0 to 2."""
    brightness, contrast, saturation = jax.random.uniform(key, (3,))
    image = image + (brightness - 0.5)
    grey = jnp.mean(image, axis=2, keepdims=True)
    image = grey + 2.0 * saturation * (image - grey)
    mean = jnp.mean(image)
    return mean + (0.5 + contrast) * (image - mean)


def _shift(image: Float[Array, "h w c"], key: PRNGKeyArray) -> Float[Array, "h w c"]:
    """Image moved by up to an eighth of each side; zero comes in from outside."""
    h, w, c = image.shape
    y, x = int(SHIFT * h + 0.5), int(SHIFT * w + 0.5)
    padded = jnp.pad(image, ((y, y), (x, x), (0, 0)))
    corner = jax.random.randint(key, (2,), 0, jnp.array([2 * y + 1, 2 * x + 1]))
    return jax.lax.dynamic_slice(padded, (corner[0], corner[1], 0), (h, w, c))


def _hole(image: Float[Array, "h w c"], key: PRNGKeyArray) -> Float[Array, "h w c"]:
    """Image with a hole of zeros, of half the sides, whose centre may lie anywhere in it."""
    h, w, _ = image.shape
    centre = jax.random.uniform(key, (2,))
    inside = [
        jnp.abs((jnp.arange(side, dtype=jnp.float32) + 0.5) / side - centre[axis]) < HOLE / 2
        for axis, side in enumerate((h, w))
    ]
    return jnp.where((inside[0][:, None] & inside[1][None, :])[..., None], 0.0, image)


KINDS: dict[str, Callable[[Array, PRNGKeyArray], Array]] = {
    "colour": _colour,
    "shift": _shift,
    "hole": _hole,
}
