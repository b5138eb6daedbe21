"""The reconstructor's own losses as statistics: one per name it gives, and pooled maps.

`loss_<name>` is the loss itself, `loss_<name>_map_max` and `loss_<name>_map_top_05` the largest
value of the map of that name and the mean of its ceil(5 %) largest.
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ad_core.statistics.comparison import Comparison
from ad_core.statistics.order import digits, top_count

MAP_TOP = 0.05


def loss(name: str, pair: Comparison) -> Float[Array, "b"]:
    """The loss called `name`, as the reconstructor gives it."""
    return pair.losses[name].astype(jnp.float32)


def map_max(name: str, pair: Comparison) -> Float[Array, "b"]:
    """Largest value of the map."""
    return jnp.max(pair.maps[name].astype(jnp.float32), axis=(1, 2))


def map_top(name: str, pair: Comparison) -> Float[Array, "b"]:
    """Mean of the ceil(MAP_TOP * positions) largest values of the map."""
    rows = pair.maps[name].astype(jnp.float32)
    rows = rows.reshape(rows.shape[0], -1)
    return jnp.mean(lax.top_k(rows, top_count(MAP_TOP, rows.shape[1]))[0], axis=1)


POOLINGS = {"max": map_max, f"top_{digits(MAP_TOP)}": map_top}
