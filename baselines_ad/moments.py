"""Mean and covariance at each position of a map, batch by batch."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64

_SMALL = 8  # rows of a block that is inverted as any matrix
HIGHEST = jax.lax.Precision.HIGHEST  # an accelerator's default would round to three digits


class Moments(NamedTuple):
    """Moments of the rows seen so far; scatter sums the products of deviations from the mean."""

    count: Float[Array, ""]
    mean: Float[Array, "h w d"]
    scatter: Float[Array, "h w d d"]


def no_moments(h: int, w: int, d: int) -> Moments:
    """Moments of nothing."""
    return Moments(jnp.zeros(()), jnp.zeros((h, w, d)), jnp.zeros((h, w, d, d)))


def add(moments: Moments, x: Float[Array, "b h w d"], valid: Bool[Array, " b"]) -> Moments:
    """The moments with the valid rows of a batch, which may be none.

    Deviations are taken from the batch's own mean and then moved: no large squares are
    subtracted. Source: Chan, Golub and LeVeque 1979, "Updating formulae", eq. 2.1.
    """
    weight = valid.astype(jnp.float32)
    x = jnp.where(valid.reshape(-1, 1, 1, 1), x, 0.0)
    count = jnp.sum(weight)
    mean = jnp.sum(x, axis=0) / jnp.maximum(count, 1.0)
    centred = (x - mean[None]) * weight.reshape(-1, 1, 1, 1)
    scatter = jnp.einsum("bhwi,bhwj->hwij", centred, centred, precision=HIGHEST)
    return merge(moments, Moments(count, mean, scatter))


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of both together: those of folds add up to those of all but one."""
    count = a.count + b.count
    share = b.count / jnp.maximum(count, 1.0)
    delta = b.mean - a.mean
    between = delta[..., :, None] * delta[..., None, :] * (a.count * share)
    return Moments(count, a.mean + delta * share, a.scatter + b.scatter + between)


def without(whole: Moments, part: Moments) -> Moments:
    """The inverse of `merge`: the moments of what a whole holds beside a part, which is smaller."""
    count = whole.count - part.count
    share = part.count / jnp.maximum(count, 1.0)
    mean = whole.mean + (whole.mean - part.mean) * share
    delta = part.mean - mean
    between = delta[..., :, None] * delta[..., None, :]
    weight = count * part.count / jnp.maximum(whole.count, 1.0)
    return Moments(count, mean, whole.scatter - part.scatter - between * weight)


def whiten(moments: Moments, groups: np.ndarray, *, floor: float) -> Float[np.ndarray, "h w d d"]:
    """W at each position, with |W (x - mean)|^2 the squared Mahalanobis distance of x.

    W is the inverse of the lower Cholesky factor of the covariance (divisor n - 1) plus a floor on
    its diagonal: for each channel `floor` times the mean variance of the channels of its group at
    all positions. A channel that is constant among normals, or a position of black background,
    so counts in the unit of the whole level instead of exploding. Computed in float64.

    Args:
        groups: [d], the number of the group (the level) of each channel.
        floor: above 0.
    """
    shared = np.asarray(moments.scatter)
    share = 1.0 / max(float(moments.count) - 1.0, 1.0)
    variance = np.diagonal(shared, axis1=-2, axis2=-1).astype(np.float64).mean(axis=(0, 1)) * share
    means = np.array([variance[groups == g].mean() for g in range(groups.max() + 1)])
    means = np.where(means > 0, means, 1.0)  # a level without any variance
    ridge = np.diag(floor * means[groups])
    found = np.empty(shared.shape, np.float32)
    for row, scatter in enumerate(shared):
        covariance = scatter.astype(np.float64) * share + ridge[None]
        found[row] = _inverses(np.linalg.cholesky(covariance))
    return found


def _inverses(lower: Float64[np.ndarray, "n d d"]) -> Float64[np.ndarray, "n d d"]:
    """Inverses of lower triangular matrices, by products of blocks down to small ones."""
    half = lower.shape[-1] // 2
    if half < _SMALL:
        return np.linalg.inv(lower)
    first, last = _inverses(lower[:, :half, :half]), _inverses(lower[:, half:, half:])
    found = np.zeros_like(lower)
    found[:, :half, :half], found[:, half:, half:] = first, last
    found[:, half:, :half] = -(last @ lower[:, half:, :half] @ first)
    return found


def mahalanobis(
    mean: Float[Array, "h w d"], whitening: Float[Array, "h w d d"], x: Float[Array, "b h w d"]
) -> Float[Array, "b h w"]:
    """Mahalanobis distance at each position, by `whiten`."""
    y = jnp.einsum("hwij,bhwj->bhwi", whitening, x - mean[None], precision=HIGHEST)
    return jnp.sqrt(jnp.sum(y**2, axis=-1))
