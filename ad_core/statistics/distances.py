"""Distances between image and reconstruction as flat vectors u, v, by SciPy's names.

As scipy.spatial.distance defines them, on the images as they are. Where SciPy gives NaN or
infinity these give a stated finite value. All are 0 for identical images, higher is further.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ad_core.statistics.comparison import Comparison
from ad_core.statistics.moments import reduce_together, sums

BRAYCURTIS_FLOOR = 1e-6  # of the mean of |u + v|


def euclidean(pair: Comparison) -> Float[Array, "b"]:
    """sqrt(sum (u - v)^2)."""
    return jnp.sqrt(sqeuclidean(pair))


def sqeuclidean(pair: Comparison) -> Float[Array, "b"]:
    """Sum of (u - v)^2: the SSE of CycleGAN-AD, and the energy of the residual."""
    return pair.summary.mean_square * pair.count


def minkowski_3(pair: Comparison) -> Float[Array, "b"]:
    """(sum |u - v|^3)^(1/3): SciPy's `minkowski` with p = 3 (its default, 2, is `euclidean`)."""
    return jnp.cbrt(sums([jnp.abs(pair.lines) ** 3])[0])


def cityblock(pair: Comparison) -> Float[Array, "b"]:
    """Sum of |u - v|."""
    return pair.summary.abs_mean * pair.count


def chebyshev(pair: Comparison) -> Float[Array, "b"]:
    """Largest |u - v|."""
    return jnp.maximum(pair.summary.max, -pair.summary.min)


def hamming(pair: Comparison) -> Float[Array, "b"]:
    """Share of positions where u and v differ at all."""
    differs = (pair.lines != 0).astype(jnp.int32)
    return reduce_together([(differs, 0, jnp.add)])[0].astype(jnp.float32) / pair.count


def canberra(pair: Comparison) -> Float[Array, "b"]:
    """Sum of |u - v| / (|u| + |v|), 0 where both are 0."""
    size = jnp.abs(pair.image_lines) + jnp.abs(pair.other_lines)
    return sums([jnp.abs(pair.lines) / jnp.where(size > 0, size, 1.0)])[0]


def braycurtis(pair: Comparison) -> Float[Array, "b"]:
    """Sum |u - v| / sum |u + v|; the mean of |u + v| counts as BRAYCURTIS_FLOOR at least.

    Opposite images (v = -u), for which SciPy gives infinity, stay below 2e6.
    """
    below = sums([jnp.abs(pair.image_lines + pair.other_lines)])[0] / pair.count
    return pair.summary.abs_mean / jnp.maximum(below, BRAYCURTIS_FLOOR)


def cosine(pair: Comparison) -> Float[Array, "b"]:
    """1 - u.v / (|u| |v|), in [0, 2]; 0 if both are zero vectors, 1 if only one is."""
    return angular(pair.image_lines, pair.other_lines)


def correlation(pair: Comparison) -> Float[Array, "b"]:
    """1 - Pearson's correlation, in [0, 2]; 0 if both are constant, 1 if only one is."""
    return angular(centred(pair.image_lines), centred(pair.other_lines))


def centred(lines: Float[Array, "b m n"]) -> Float[Array, "b m n"]:
    """The array less its mean; exactly 0 where what remains is the rounding of a constant."""
    count = lines.shape[1] * lines.shape[2]
    mean = sums([lines])[0] / count
    mean = mean + sums([lines - mean[:, None, None]])[0] / count
    low, high = reduce_together([(lines, jnp.inf, jnp.minimum), (lines, -jnp.inf, jnp.maximum)])
    constant = (low == high)[:, None, None]
    return jnp.where(constant, 0.0, lines - mean[:, None, None])


def angular(u: Float[Array, "b m n"], v: Float[Array, "b m n"]) -> Float[Array, "b"]:
    """|u/|u| - v/|v||^2 / 2: equals 1 - cos without the difference of nearly equal numbers.

    0 if both vanish, 1 if only one does.
    """
    square_u, square_v = sums([u**2, v**2])
    zero_u, zero_v = square_u == 0, square_v == 0
    unit_u = u * lax.rsqrt(jnp.where(zero_u, 1.0, square_u))[:, None, None]
    unit_v = v * lax.rsqrt(jnp.where(zero_v, 1.0, square_v))[:, None, None]
    distance = sums([(unit_u - unit_v) ** 2])[0] / 2
    return jnp.where(zero_u | zero_v, jnp.where(zero_u & zero_v, 0.0, 1.0), distance)


FUNCTIONS = {
    "euclidean": euclidean,
    "sqeuclidean": sqeuclidean,
    "minkowski": euclidean,
    "minkowski_3": minkowski_3,
    "cityblock": cityblock,
    "chebyshev": chebyshev,
    "hamming": hamming,
    "canberra": canberra,
    "braycurtis": braycurtis,
    "cosine": cosine,
    "correlation": correlation,
}
