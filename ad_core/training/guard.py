"""A step whose losses or gradients are not finite changes nothing, and is counted."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, PRNGKeyArray

from ad_core.errors import UserError
from ad_core.training.partition import sum_over_devices
from ad_core.types import Batch, Metrics, Steps, TrainState

COUNTERS = ("skipped", "skipped_in_a_row")


def all_finite(tree: Any) -> Bool[Array, ""]:
    """True where no floating-point leaf of `tree` holds a NaN or an infinity, on any device."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    bad = sum((jnp.any(~jnp.isfinite(x)).astype(jnp.int32) for x in leaves), jnp.int32(0))
    return sum_over_devices(bad) == 0


def _choose(condition: Bool[Array, ""], new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def _counted(skipped: Array, in_a_row: Array) -> dict[str, Array]:
    return dict(zip(COUNTERS, (skipped, in_a_row), strict=True))


def guarded(steps: Steps) -> Steps:
    """`steps` that leave the state alone where they would spoil it.

    Where a metric is not finite, params, opt_state and extra stay as they were; `step` advances
    all the same, so that it tells the position in the data. A step's metrics must therefore hold
    the norm of each gradient, which is not finite if any part of it is not: looking through every
    new weight instead makes XLA's CPU compiler fuse all the updates into one check, for minutes.
    `extra` and the metrics gain "skipped" and "skipped_in_a_row" (int32 in the state, float32 in
    the metrics); the other metrics are left as they are, NaN included.
    """

    def init(key: PRNGKeyArray, image_shape: tuple[int, int, int]) -> TrainState:
        state = steps.init(key, image_shape)
        return state._replace(extra={**state.extra, **_counted(jnp.int32(0), jnp.int32(0))})

    def train_step(
        state: TrainState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        skipped, in_a_row = (state.extra[name] for name in COUNTERS)
        old = state._replace(extra={k: v for k, v in state.extra.items() if k not in COUNTERS})
        new, metrics = steps.train_step(old, batch, key)
        fine = all_finite(dict(metrics))
        kept = _choose(fine, new, old)
        bad = (~fine).astype(jnp.int32)
        counters = _counted(skipped + bad, (in_a_row + bad) * bad)
        state = kept._replace(step=new.step, extra={**kept.extra, **counters})
        shown = {name: value.astype(jnp.float32) for name, value in counters.items()}
        return state, {**metrics, **shown}

    return steps._replace(init=init, train_step=train_step)


def check_skipped(metrics: Mapping[str, Any], *, step: int, max_skipped: int) -> None:
    """Raises UserError with a diagnosis when `max_skipped` steps in a row were skipped.

    Args:
        metrics: those of `step`, on the host.
    """
    if metrics["skipped_in_a_row"] < max_skipped:
        return
    names = [name for name, value in metrics.items() if not np.isfinite(value)]
    raise UserError(
        f"Training stopped at step {step}: {max_skipped} steps in a row (`train.max_skipped`) "
        f"gave no finite update (not finite: {', '.join(names)}). Try a lower learning rate, "
        "`--config.train.dtype=float32`, or a lower weight of the adversarial loss."
    )
