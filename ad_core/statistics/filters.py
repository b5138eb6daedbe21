"""Separable filters of images, laid out for speed on a CPU as well as on an accelerator."""

from collections.abc import Sequence
from functools import reduce
from operator import add

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def separable(
    x: Float[Array, "b h w c"], down: Sequence[float], across: Sequence[float]
) -> Float[Array, "b _ _ c"]:
    """Correlates columns with `down` and rows with `across`, where they fit whole ("valid")."""
    b, h, w, c = x.shape
    lines = separable_lines(x.reshape(b, h, w * c), down, across, channels=c)
    return lines.reshape(b, h - len(down) + 1, w - len(across) + 1, c)


def separable_lines(
    lines: Float[Array, "b h wc"],
    down: Sequence[float],
    across: Sequence[float],
    *,
    channels: int,
) -> Float[Array, "b _ _"]:
    """`separable` of images whose channels lie within the columns.

    That layout gives a CPU long inner loops; without the barriers XLA computes the input anew
    for every neighbour. Together 5 times faster, also for what is computed from the result.
    """
    high = lines.shape[1] - len(down) + 1
    wide = lines.shape[2] - (len(across) - 1) * channels
    lines = lax.optimization_barrier(lines)
    parts = (k * lines[:, i : i + high] for i, k in enumerate(down) if k)
    lines = lax.optimization_barrier(reduce(add, parts))
    starts = ((k, i * channels) for i, k in enumerate(across) if k)
    parts = (k * lines[:, :, start : start + wide] for k, start in starts)
    return lax.optimization_barrier(reduce(add, parts))


def mirrored(x: Float[Array, "b h w c"], border: int) -> Float[Array, "b _ _ c"]:
    """Pads with borders mirrored about the outermost pixel (scipy.ndimage's "mirror")."""
    return jnp.pad(x, ((0, 0), (border, border), (border, border), (0, 0)), mode="reflect")


def halve(x: Float[Array, "b h w c"]) -> Float[Array, "b _ _ c"]:
    """Mean of each 2x2 block; an odd last row or column is left out."""
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = x[:, 0:h:2] + x[:, 1:h:2]
    return (x[:, :, 0:w:2] + x[:, :, 1:w:2]) / 4


def gradient_magnitude(
    x: Float[Array, "b h w c"], smooth: Sequence[float]
) -> Float[Array, "b _ _ c"]:
    """Length of the gradient: central difference (-1, 0, 1) one way, `smooth` the other.

    (1, 1, 1) / 3 is Prewitt's operator, (3, 10, 3) / 16 Scharr's. No borders.
    """
    difference = (-1.0, 0.0, 1.0)
    return jnp.hypot(separable(x, difference, smooth), separable(x, smooth, difference))


def image_mean(x: Float[Array, "b *rest"]) -> Float[Array, "b"]:
    """Mean of each image, in two steps: a single float32 sum would lose three digits."""
    x = lax.optimization_barrier(x)
    return jnp.mean(jnp.mean(x.reshape(x.shape[0], x.shape[1], -1), axis=2), axis=1)
