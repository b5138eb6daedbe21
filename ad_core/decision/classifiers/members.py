"""Networks trained side by side in one compiled call: the members of a classifier."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from ad_core.decision.classifiers.network import ScoreNetwork
from ad_core.decision.classifiers.pairwise_losses import LOSSES, wmw
from ad_core.training.optimisers import make_optimiser, optimiser_defaults

# Of the warm-up, as in tapAUC: so small a margin keeps the first weights small.
_WARM_UP_GAMMA = 0.1


class MemberTraining(NamedTuple):
    """Settings that the compiled training depends on, besides the shapes."""

    hidden: tuple[int, ...]
    loss: str
    loss_options: tuple[tuple[str, Any], ...]
    warm_up: float
    learning_rate: float
    weight_decay: float
    steps: int


@partial(jax.jit, static_argnames="training")
def train_members(
    table: Float[Array, "r k"],
    fit_labels: Int[Array, "m r"],
    stop_labels: Int[Array, "m r"],
    keys: Key[Array, "m"],
    training: MemberTraining,
) -> Any:
    """Parameters of each member, from one table and each member's own rows to fit and stop by.

    Labels: 1 abnormal, 0 normal, -1 where a row takes no part.
    """
    one = partial(_train, table, training=training)
    return jax.vmap(one)(fit_labels, stop_labels, keys)


def member_logits(parameters: Any, table: Float[Array, "r k"], hidden: tuple[int, ...]) -> Any:
    """One logit a row."""
    return ScoreNetwork(hidden).apply(parameters, table)


def _train(
    table: Float[Array, "r k"],
    fit_labels: Int[Array, "r"],
    stop_labels: Int[Array, "r"],
    key: PRNGKeyArray,
    training: MemberTraining,
) -> Any:
    """Parameters at the step with the least loss on the rows to stop by; else at the last."""
    optimiser = _optimiser(training)
    stops = (stop_labels == 1).any() & (stop_labels == 0).any()

    def objective(parameters, progress):
        scores = jax.nn.sigmoid(member_logits(parameters, table, training.hidden))
        loss = jax.lax.cond(
            progress < training.warm_up,
            lambda s: wmw(s, fit_labels, gamma=_WARM_UP_GAMMA),
            lambda s: _loss(s, fit_labels, progress, training),
            scores,
        )
        return loss, scores

    def step(carry, index):
        parameters, state, best, least = carry
        progress = index / jnp.float32(training.steps)
        gradient, scores = jax.grad(objective, has_aux=True)(parameters, progress)
        held_out = _loss(scores, stop_labels, jnp.ones_like(progress), training)
        held_out = jnp.where(stops, held_out, -progress)
        better = held_out < least
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), parameters, best)
        updates, state = optimiser.update(gradient, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
        return (parameters, state, best, jnp.minimum(held_out, least)), None

    parameters = ScoreNetwork(training.hidden).init(key, table[:1])
    carry = (parameters, optimiser.init(parameters), parameters, jnp.float32(jnp.inf))
    indices = jnp.arange(training.steps, dtype=jnp.float32)
    return jax.lax.scan(step, carry, indices)[0][2]


def _optimiser(training: MemberTraining) -> optax.GradientTransformation:
    section = optimiser_defaults(lr=training.learning_rate)
    section.name, section.schedule = "adamw", "cosine"
    section.weight_decay = training.weight_decay
    return make_optimiser(section, steps=training.steps)


def _loss(
    scores: Float[Array, "r"],
    labels: Int[Array, "r"],
    progress: Float[Array, ""],
    training: MemberTraining,
) -> Float[Array, ""]:
    options = dict(training.loss_options)
    if training.loss == "tapauc":
        options["progress"] = progress
    return LOSSES[training.loss](scores, labels, **options)
