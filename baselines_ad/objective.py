"""Loss that a fine-tuning makes small, and the settings that it depends on."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ad_core.decision.classifiers.pairwise_losses import LOSSES


class Tuning(NamedTuple):
    """Settings of a fine-tuning; hashable, for a compiled step.

    loss: a name of `pairwise_losses`, taken `loss_weight` times beside cross-entropy.
    """

    steps: int
    lr: float
    weight_decay: float
    loss: str
    loss_weight: float


def objective(
    logits: Float[Array, " n"], labels: Int[Array, " n"], settings: Tuning
) -> Float[Array, ""]:
    """Cross-entropy, each class weighing one half, and the loss over pairs of probabilities.

    Args:
        labels: 0 normal, 1 abnormal, -1 for rows that take no part.
    """
    abnormal, normal = labels == 1, labels == 0
    each = jax.nn.softplus(jnp.where(abnormal, -logits, logits))
    weight = _share(abnormal) + _share(normal)
    entropy = jnp.sum(weight * each) / 2.0
    pairs = LOSSES[settings.loss](jax.nn.sigmoid(logits), labels)
    return entropy + settings.loss_weight * pairs


def _share(rows: Array) -> Float[Array, " n"]:
    parts = rows.astype(jnp.float32)
    return parts / jnp.maximum(parts.sum(), 1.0)
