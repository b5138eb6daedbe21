"""Averages of the weights over the steps of a training, which draw better than the last ones."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

Params = TypeVar("Params")


def warmed_up_average(
    average: Params, params: Params, step: Int[Array, ""], *, most: float
) -> Params:
    """Moves an exponential average towards `params`: decay * average + (1 - decay) * params.

    decay = min(most, (1 + step) / (10 + step)), so that the first weights are soon forgotten.

    Args:
        step: updates before the one that gave `params`; 0 at the first.
        most: in [0, 1); the decay of a long training.

    Source: `num_updates` of TensorFlow's ExponentialMovingAverage.
    """
    t = step.astype(jnp.float32)
    decay = jnp.minimum(most, (1.0 + t) / (10.0 + t))
    return jax.tree.map(lambda a, p: decay * a + (1.0 - decay) * p, average, params)
