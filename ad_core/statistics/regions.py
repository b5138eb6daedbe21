"""Shares of an image above normals' residuals: all of them, and the largest connected part.

The levels are `Context.residual_levels`: quantiles of normals' |x - x̂|. A pixel's residual is
the mean of |x - x̂| over its channels.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from ad_core.statistics.comparison import Comparison
from ad_core.statistics.context import LEVELS
from ad_core.statistics.order import digits

REGION_LEVEL = 1  # of LEVELS


def area_above(index: int, pair: Comparison) -> Float[Array, "b"]:
    """Share of the pixels above the level of that index, in [0, 1]."""
    return jnp.mean(_above(index, pair).astype(jnp.float32), axis=(1, 2))


def largest_area(pair: Comparison) -> Float[Array, "b"]:
    """Share of the pixels in the largest 8-connected region above level REGION_LEVEL.

    Stays on the device; 0 if no pixel is above. Slow on CPU for large regions of many images.
    """
    above = _above(REGION_LEVEL, pair)
    return largest_component(above).astype(jnp.float32) / (above.shape[1] * above.shape[2])


def largest_component(above: Bool[Array, "b h w"]) -> Float[Array, "b"]:
    """Pixels in the largest 8-connected component of each image.

    Every pixel starts as the root of its own tree. Repeated until nothing changes: a pixel's
    root takes the largest root among the pixel's neighbours, then trees are flattened by
    pointing at the root's root. Far fewer rounds than the longest path has pixels.
    """
    b, h, w = above.shape
    count = h * w
    inside = above.reshape(b, count)
    start = jnp.broadcast_to(jnp.arange(count), (b, count))
    rows = jnp.arange(b)[:, None]

    def settle(state):
        parent, _ = state
        near = jnp.where(inside, parent, -1).reshape(b, h, w)
        near = _neighbourhood_max(near).reshape(b, count)
        near = jnp.where(inside, near, start)
        hooked = parent.at[rows, parent].max(jnp.where(inside, near, -1))
        hooked = jnp.maximum(hooked, near)
        flat = jnp.take_along_axis(hooked, hooked, axis=1)
        flat = jnp.take_along_axis(flat, flat, axis=1)
        return flat, jnp.any(flat != parent)

    parent, _ = lax.while_loop(lambda state: state[1], settle, (start, jnp.array(True)))
    sizes = jnp.zeros((b, count), jnp.float32).at[rows, parent].add(inside.astype(jnp.float32))
    return jnp.max(sizes, axis=1)


def _neighbourhood_max(labels):
    for axis in (1, 2):
        padding = [(1, 1) if i == axis else (0, 0) for i in range(3)]
        padded = jnp.pad(labels, padding, constant_values=-1)
        size = labels.shape[axis]
        shifted = [lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3)]
        labels = jax.tree.reduce(jnp.maximum, shifted)
    return labels


def _above(index, pair):
    assert pair.context.residual_levels is not None  # `expand` saw to it
    return jnp.mean(jnp.abs(pair.residual), axis=3) > pair.context.residual_levels[index]


FUNCTIONS = {
    f"residual_area_above_q{digits(level)}": partial(area_above, i)
    for i, level in enumerate(LEVELS)
}
