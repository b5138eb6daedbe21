"""Order statistics and quantiles of rows, exact and without sorting.

A sort of a whole image is the slowest thing a CPU can be asked for here (1.5 s for 64 images of
256x256x3). The k-th smallest float32 is found instead by bisection over its 32 bits: 32 passes
that count, for all wanted ranks in one fused loop (0.1 s, and bound by memory bandwidth on a GPU).
"""

import math
from functools import partial

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, UInt32

from ad_core.statistics.moments import reduce_together, sums

Ranks = tuple[int, ...]


def digits(share: float) -> str:
    """Digits after the point of a share, at least two: 0.1 -> "10", 0.001 -> "001"."""
    return f"{share:.6f}"[2:].rstrip("0").ljust(2, "0")


def quantile_ranks(levels: tuple[float, ...], n: int) -> Ranks:
    """The lower of the two order statistics between which each 'linear' quantile lies."""
    return tuple(math.floor(level * (n - 1)) for level in levels)


def top_ranks(fractions: tuple[float, ...], n: int) -> Ranks:
    """Rank of the smallest of the ceil(fraction * n) largest values."""
    return tuple(n - top_count(fraction, n) for fraction in fractions)


def top_count(fraction: float, n: int) -> int:
    """ceil(fraction * n), at least 1; the product is rounded first, as 0.1 * 30 > 3 in floats."""
    return max(1, math.ceil(round(fraction * n, 9)))


def order_statistics(
    rows: tuple[Float[Array, "b m n"], ...], ranks: tuple[Ranks, ...]
) -> tuple[Float[Array, "b _"], ...]:
    """Exact values of the given ranks (0 is the smallest) of each array of finite rows.

    By bisection on CPU, GPU and TPU; on what an exported program runs on, by sorting.
    """
    bisect, sort = partial(_by_bisection, ranks=ranks), partial(_by_sorting, ranks=ranks)
    return lax.platform_dependent(
        rows, cpu=bisect, cuda=bisect, rocm=bisect, tpu=bisect, default=sort
    )


def _by_sorting(
    rows: tuple[Float[Array, "b m n"], ...], *, ranks: tuple[Ranks, ...]
) -> tuple[Float[Array, "b _"], ...]:
    ordered = [jnp.sort(row.reshape(row.shape[0], -1), axis=1) for row in rows]
    return tuple(x[:, np.asarray(r, np.int32)] for x, r in zip(ordered, ranks, strict=True))


def _by_bisection(
    rows: tuple[Float[Array, "b m n"], ...], *, ranks: tuple[Ranks, ...]
) -> tuple[Float[Array, "b _"], ...]:
    """The values, bit by bit.

    The key of a float32 is a uint32 in the same order. From the highest bit down, a bit of the
    wanted key is set where too few values are at or below the largest key without it.
    """
    wanted = np.concatenate([np.asarray(r, np.int32) for r in ranks])
    splits = np.cumsum([len(r) for r in ranks])[:-1]
    owners = [row for row, r in zip(rows, ranks, strict=True) for _ in r]

    def settle_bit(step, key):
        bit = jnp.uint32(1) << (jnp.uint32(31) - jnp.asarray(step, jnp.uint32))
        bounds = _key_to_float(key | (bit - 1))
        enough = _count_at_most(owners, bounds) > wanted[None, :]
        return jnp.where(enough, key, key | bit)

    start = jnp.zeros((rows[0].shape[0], len(wanted)), jnp.uint32)
    values = _key_to_float(lax.fori_loop(0, 32, settle_bit, start))
    return tuple(jnp.split(values, splits, axis=1))


def interpolate(
    rows: Float[Array, "b m n"], low: Float[Array, "b k"], levels: tuple[float, ...]
) -> Float[Array, "b k"]:
    """NumPy's default ('linear') quantiles, from the lower neighbours that ranks gave."""
    n = rows.shape[1] * rows.shape[2]
    ranks = np.asarray(quantile_ranks(levels, n))
    share = (np.asarray(levels) * (n - 1) - ranks).astype(np.float32)
    owners = [rows] * len(levels)
    # The next order statistic is the same value if there are copies of it, else the next larger.
    repeated = (_count_at_most(owners, low) >= ranks[None, :] + 2) | (ranks[None, :] == n - 1)
    above = [jnp.where(rows > low[:, i, None, None], rows, jnp.inf) for i in range(len(levels))]
    high = jnp.stack(reduce_together([(a, jnp.inf, jnp.minimum) for a in above]), axis=1)
    return low + share[None, :] * jnp.where(repeated, 0.0, high - low)


def top_means(
    rows: Float[Array, "b m n"], thresholds: Float[Array, "b t"], fractions: tuple[float, ...]
) -> Float[Array, "b t"]:
    """Mean of the k = ceil(fraction * n) largest values: t + sum(max(v - t, 0)) / k.

    t is the k-th largest value; the form loses nothing where many values equal t.
    """
    counts = np.asarray([top_count(f, rows.shape[1] * rows.shape[2]) for f in fractions])
    excess = [jnp.maximum(rows - thresholds[:, i, None, None], 0.0) for i in range(len(fractions))]
    total = jnp.stack(sums(excess), axis=1)
    return thresholds + total / counts[None, :].astype(np.float32)


def _key_to_float(key: UInt32[Array, "b k"]) -> Float[Array, "b k"]:
    negative = key >> 31 == 0
    bits = jnp.where(negative, ~key, key & jnp.uint32(0x7FFFFFFF))
    value = lax.bitcast_convert_type(bits, jnp.float32)
    # XLA compares subnormals as zeros, so that the search may end at one of them instead of 0.
    return jnp.where(jnp.abs(value) < jnp.finfo(jnp.float32).tiny, 0.0, value)


def _count_at_most(owners, bounds):
    flags = [(row <= bounds[:, i, None, None]).astype(jnp.int32) for i, row in enumerate(owners)]
    return jnp.stack(reduce_together([(flag, 0, jnp.add) for flag in flags]), axis=1)
