"""The method's own losses as statistics: one per name it gives, and pooled maps.

`loss_<name>` is the loss itself; `loss_<name>_map_max` and `loss_<name>_map_top_05` are the largest
value of the map of that name and the mean of its ceil(5 %) largest, `loss_<name>_map_mean` its mean
where there is no loss of that name. The map "code_surprise" is made here, from the map "codes".
"""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ad_core.statistics.comparison import Comparison
from ad_core.statistics.context import CODES_MAP
from ad_core.statistics.order import digits, top_count

MAP_TOP = 0.05
SURPRISE_MAP = "code_surprise"


def loss(name: str, pair: Comparison) -> Float[Array, "b"]:
    """The loss called `name`, as the method gives it."""
    return jnp.asarray(pair.losses[name], jnp.float32)


def map_of(name: str, pair: Comparison) -> Float[Array, "b _ _"]:
    """The map called `name` in float32.

    SURPRISE_MAP is -log of the probability of each position's code among normals, in nats;
    codes that normals never had count as the least likely one.
    """
    if name != SURPRISE_MAP:
        return jnp.asarray(pair.maps[name], jnp.float32)
    log_prob = pair.context.code_log_prob
    assert log_prob is not None  # `expand` saw to it
    codes = jnp.round(pair.maps[CODES_MAP].astype(jnp.float32)).astype(jnp.int32)
    known = codes < log_prob.shape[0]
    return -jnp.where(known, log_prob[jnp.where(known, codes, 0)], jnp.min(log_prob))


def map_max(name: str, pair: Comparison) -> Float[Array, "b"]:
    """Largest value of the map."""
    return jnp.max(_rows(name, pair), axis=1)


def map_mean(name: str, pair: Comparison) -> Float[Array, "b"]:
    """Mean of the map."""
    return jnp.mean(_rows(name, pair), axis=1)


def map_top(name: str, pair: Comparison) -> Float[Array, "b"]:
    """Mean of the ceil(MAP_TOP * positions) largest values of the map."""
    rows = _rows(name, pair)
    return jnp.mean(lax.top_k(rows, top_count(MAP_TOP, rows.shape[1]))[0], axis=1)


def _rows(name, pair):
    values = map_of(name, pair)
    return values.reshape(values.shape[0], -1)


POOLINGS = {"max": map_max, f"top_{digits(MAP_TOP)}": map_top, "mean": map_mean}
