"""Distances between two images as sequences of rows: directed Hausdorff and discrete Fréchet.

Each of the h rows is a point of w * c dimensions, which is how SciPy reads a 2-D array.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ad_core.statistics.comparison import Comparison


def directed_hausdorff(pair: Comparison) -> Float[Array, "b"]:
    """Largest distance from a row of the image to the nearest row of the reconstruction.

    scipy.spatial.distance.directed_hausdorff(x, x̂)[0] of the images as [h, w * c].
    """
    return jnp.max(jnp.min(row_distances(pair), axis=2), axis=1)


def frechet(pair: Comparison) -> Float[Array, "b"]:
    """Discrete Fréchet distance between the rows of the image and of the reconstruction.

    Least over all couplings that walk both from the first row to the last, of the longest
    distance bridged (Eiter and Mannila 1994): c[i, j] = max(d[i, j], min(c[i-1, j],
    c[i-1, j-1], c[i, j-1])), one antidiagonal after the other.
    """
    distances = row_distances(pair)
    b, h, _ = distances.shape
    # skewed[k, :, i] = d[i, k - i]; infinite outside.
    column = jnp.arange(2 * h - 1)[:, None] - jnp.arange(h)[None, :]
    inside = (column >= 0) & (column < h)
    skewed = distances[:, jnp.arange(h)[None, :], jnp.clip(column, 0, h - 1)]
    skewed = jnp.where(inside[None], skewed, jnp.inf).transpose(1, 0, 2)
    beyond = jnp.full((b, 1), jnp.inf)

    def advance(state, diagonal):
        last, before_last = state
        above = jnp.concatenate([beyond, last[:, :-1]], axis=1)
        both = jnp.concatenate([beyond, before_last[:, :-1]], axis=1)
        reach = jnp.maximum(diagonal, jnp.minimum(jnp.minimum(last, above), both))
        return (reach, last), None

    nothing = jnp.full((b, h), jnp.inf)
    (reach, _), _ = lax.scan(advance, (skewed[0], nothing), skewed[1:])
    return reach[:, -1]


def row_distances(pair: Comparison) -> Float[Array, "b h h"]:
    """Euclidean distance of each row of the image to each of the reconstruction.

    From inner products of the rows less their mean, so that distances far below the rows'
    lengths are good to about 1e-3 of these; those of rows at the same height, which decide where
    images are alike, are exact.
    """
    x, y = pair.image_lines, pair.other_lines
    centre = (jnp.mean(x, axis=1, keepdims=True) + jnp.mean(y, axis=1, keepdims=True)) / 2
    x, y = x - centre, y - centre
    product = jnp.einsum("bin,bjn->bij", x, y, precision=lax.Precision.HIGHEST)
    square_x, square_y = jnp.sum(x**2, axis=2), jnp.sum(y**2, axis=2)
    square = square_x[:, :, None] + square_y[:, None, :] - 2 * product
    same_height = jnp.sqrt(jnp.sum(pair.lines**2, axis=2))
    h = x.shape[1]
    eye = jnp.eye(h, dtype=bool)[None]
    return jnp.where(eye, same_height[:, :, None], jnp.sqrt(jnp.maximum(square, 0.0)))


FUNCTIONS = {"directed_hausdorff": directed_hausdorff, "frechet": frechet}
