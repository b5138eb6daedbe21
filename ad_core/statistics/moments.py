"""Moments and extremes of rows in two passes over the data."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


class Summary(NamedTuple):
    """Summary of each row; skewness and kurtosis are 0 where the row is constant."""

    min: Float[Array, "b"]
    max: Float[Array, "b"]
    mean: Float[Array, "b"]
    variance: Float[Array, "b"]
    skewness: Float[Array, "b"]
    kurtosis: Float[Array, "b"]
    mean_square: Float[Array, "b"]
    abs_mean: Float[Array, "b"]
    abs_variance: Float[Array, "b"]


def summarise(rows: Float[Array, "b m n"]) -> Summary:
    """Summary of the m * n values of each row.

    It holds the extremes; mean, variance (ddof 0), biased skewness m3 / m2^1.5, Fisher kurtosis
    m4 / m2^2 - 3; the mean of squares; mean and variance of absolute values.

    A row counts as constant where its standard deviation is within the rounding of its mean, as
    in scipy.stats.skew; SciPy gives NaN there, this gives 0 for both.
    """
    count = rows.shape[1] * rows.shape[2]
    low, high, total, abs_total = reduce_together(
        [
            (rows, jnp.inf, jnp.minimum),
            (rows, -jnp.inf, jnp.maximum),
            (rows, 0.0, jnp.add),
            (jnp.abs(rows), 0.0, jnp.add),
        ]
    )
    mean, abs_mean = total / count, abs_total / count
    # In units of the largest deviation: no power of it underflows.
    unit = jnp.maximum(high - mean, mean - low)
    unit = jnp.where(unit > 0, unit, 1.0)
    centred = (rows - mean[:, None, None]) / unit[:, None, None]
    abs_centred = jnp.abs(rows) - abs_mean[:, None, None]
    powers = [centred, centred**2, centred**3, centred**4, abs_centred, abs_centred**2]
    first, second, third, fourth, abs_first, abs_second = (part / count for part in sums(powers))
    # The first moments are what rounding left of the means.
    mean, abs_mean = mean + first * unit, abs_mean + abs_first
    variance = jnp.maximum(second - first**2, 0.0)
    third = third - 3 * first * second + 2 * first**3
    fourth = fourth - 4 * first * third - 6 * first**2 * second + 3 * first**4
    constant = jnp.sqrt(variance) * unit <= 4 * jnp.finfo(jnp.float32).eps * jnp.abs(mean)
    safe = jnp.where(constant, 1.0, variance)
    spread = variance * unit**2
    return Summary(
        min=low,
        max=high,
        mean=mean,
        variance=spread,
        skewness=jnp.where(constant, 0.0, third / safe**1.5),
        kurtosis=jnp.where(constant, 0.0, fourth / safe**2 - 3),
        mean_square=spread + mean**2,
        abs_mean=abs_mean,
        abs_variance=jnp.maximum(abs_second - abs_first**2, 0.0),
    )


def sums(arrays: Sequence[Float[Array, "b m n"]]) -> tuple[Float[Array, "b"], ...]:
    """Sum of each of b blocks of each array, in one pass."""
    return reduce_together([(array, 0.0, jnp.add) for array in arrays])


def reduce_together(
    parts: Sequence[tuple[Array, Any, Callable[[Array, Array], Array]]],
) -> tuple[Array, ...]:
    """Reduces all axes but the first of several arrays of one shape in one pass, each by its
    (array, start, combination).

    Arrays that are computed from the same rows read these once; as separate reductions each
    would read them again (up to 20 times slower on CPU). The last axis goes first, the others
    after it: one running float32 sum over a whole image would lose three digits.
    """

    def combine(left, right):
        return tuple(f(a, b) for (_, _, f), a, b in zip(parts, left, right, strict=True))

    arrays = tuple(array for array, _, _ in parts)
    starts = tuple(jnp.asarray(start, array.dtype) for array, start, _ in parts)
    while arrays[0].ndim > 1:
        arrays = tuple(lax.reduce(arrays, starts, combine, (arrays[0].ndim - 1,)))
    return arrays
