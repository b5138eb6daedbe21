"""Fine-tuning of the upper stages for many parts of the images and many seeds, side by side."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ad_core.decision.classifiers.deep_head import linear_heads
from ad_core.decision.classifiers.pairwise_losses import LOSSES
from ad_core.runtime.progress import Progress
from ad_core.training.optimisers import make_optimiser, optimiser_defaults
from baselines_ad.bank import Bank
from baselines_ad.members import Member
from baselines_ad.upper_stages import Classifier, Upper

CHECKS = 5  # times that the images to stop by are looked at, besides the beginning
BLOCK = 16  # images looked at together, of each member
_FLOOR = 1e-2  # share of the features' mean variance that is added to each
_STRENGTH = 1e-3  # C of the logistic regression that a classifier begins as


class Tuning(NamedTuple):
    """Settings of a fine-tuning; hashable, for a compiled step.

    loss: a name of `pairwise_losses`, taken `loss_weight` times beside cross-entropy.
    """

    steps: int
    lr: float
    weight_decay: float
    loss: str
    loss_weight: float


def tune(
    upper: Upper,
    params: Any,
    bank: Bank,
    members: Sequence[Member],
    *,
    seeds: int,
    settings: Tuning,
) -> dict[str, Any]:
    """The "tuned" weights and the "classifier" of every member, stacked along the first axis.

    All members take their steps in one compiled call. Every `seeds` of them are one part: after
    each of CHECKS runs of steps its loss on images that its members have not learnt is taken, each
    member with its own, and the weights of the run where their mean is least are the part's.

    Args:
        params: weights of the stages, pretrained.
    """
    fixed, pretrained = upper.split(params)
    activations, labels = jnp.asarray(bank.activations), jnp.asarray(bank.label)
    values = begin(upper, fixed, pretrained, bank, members)
    state = _begin_optimiser(values, settings)
    drawn, version = (np.stack([getattr(m, name) for m in members]) for name in Member._fields[2:])
    stop_rows, stop_labels = _padded([one.stop for one in members], bank.label)
    best, least = values, np.full(len(members) // seeds, np.inf)
    checks = set(np.linspace(0, settings.steps, CHECKS + 1).round().astype(int).tolist())
    progress = Progress(settings.steps, label="fine-tune", unit="steps")
    for number in range(settings.steps + 1):
        if number in checks:
            judged = _logits_of_rows(upper, fixed, values, activations, stop_rows)
            losses = np.asarray(_losses(judged, stop_labels, settings))
            found = losses.reshape(-1, seeds).mean(axis=1)
            best = _choose(jnp.asarray(np.repeat(found < least, seeds)), values, best)
            least = np.fmin(found, least)
        if number < settings.steps:
            x = activations[drawn[:, number], version[:, number]]
            y = labels[drawn[:, number]]
            values, state = take_step(values, state, fixed, x, y, upper=upper, settings=settings)
            progress.update(1)
    progress.close()
    return best


def begin(
    upper: Upper, fixed: Any, pretrained: Any, bank: Bank, members: Sequence[Member]
) -> dict[str, Any]:
    """The first values of the members: pretrained weights under a logistic regression.

    Its features are standardised by the images that a member learns from.
    """
    pool = jax.jit(functools.partial(upper.features, fixed, pretrained))
    versions = bank.activations.shape[1]
    flat = bank.activations.reshape(-1, *bank.activations.shape[2:])
    features = np.concatenate(
        [np.asarray(pool(flat[i : i + BLOCK])) for i in range(0, len(flat), BLOCK)]
    ).reshape(len(bank.label), versions, -1)
    classifiers = [
        begin_classifier(
            features[one.learnt].reshape(-1, features.shape[-1]),
            np.repeat(bank.label[one.learnt], versions),
        )
        for one in members
    ]
    stacked = jax.tree.map(lambda *x: jnp.asarray(np.stack(x)), *classifiers)
    count = len(members)
    tuned = jax.tree.map(lambda x: jnp.broadcast_to(x[None], (count, *x.shape)), pretrained)
    return {"tuned": tuned, "classifier": stacked._asdict()}


def begin_classifier(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
) -> Classifier:
    """The strongly regularised logistic regression that a member begins with."""
    wide = features.astype(np.float64)
    variance = wide.var(axis=0)
    mean, scale = wide.mean(axis=0), np.sqrt(variance + _FLOOR * (variance.mean() or 1.0))
    slopes, offsets = linear_heads(wide, labels, [_STRENGTH], class_weight="balanced")
    found = Classifier(mean, scale, slopes[0] * scale, offsets[0] + slopes[0] @ mean)
    return Classifier(*(np.asarray(x, np.float32) for x in found))


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


@functools.partial(jax.jit, static_argnames=("upper", "settings"), donate_argnames=("state",))
def take_step(
    values: Any,
    state: Any,
    fixed: Any,
    x: Float[Array, "m b h w c"],
    labels: Int[Array, "m b"],
    *,
    upper: Upper,
    settings: Tuning,
) -> tuple[Any, Any]:
    """Values and optimisers of all members after one step, each with a batch of its own."""
    optimiser = _optimiser(settings)

    def one(values: Any, state: Any, x: Array, labels: Array) -> tuple[Any, Any]:
        learnt, rest = _apart(values)

        def loss(learnt: Any) -> Float[Array, ""]:
            return objective(upper.logits(fixed, _together(learnt, rest), x), labels, settings)

        updates, state = optimiser.update(jax.grad(loss)(learnt), state, learnt)
        return _together(optax.apply_updates(learnt, updates), rest), state

    return jax.vmap(one)(values, state, x, labels)


def _apart(values: Any) -> tuple[Any, Any]:
    """What learns of a member, and the standardisation of its features."""
    own = values["classifier"]
    learnt = {"tuned": values["tuned"], **{name: own[name] for name in ("weight", "bias")}}
    return learnt, {name: own[name] for name in ("mean", "scale")}


def _together(learnt: Any, rest: Any) -> dict[str, Any]:
    own = {name: learnt[name] for name in ("weight", "bias")}
    return {"tuned": learnt["tuned"], "classifier": {**rest, **own}}


def _optimiser(settings: Tuning) -> optax.GradientTransformation:
    section = optimiser_defaults(lr=settings.lr)
    section.name, section.schedule = "adamw", "cosine"
    section.weight_decay = settings.weight_decay
    section.lr_warmup_steps = settings.steps // 10
    return make_optimiser(section, steps=settings.steps)


def _begin_optimiser(values: Any, settings: Tuning) -> Any:
    return jax.vmap(lambda one: _optimiser(settings).init(_apart(one)[0]))(values)


def _share(rows: Array) -> Float[Array, " n"]:
    parts = rows.astype(jnp.float32)
    return parts / jnp.maximum(parts.sum(), 1.0)


def _padded(
    rows: Sequence[Int[np.ndarray, " _"]], labels: Int[np.ndarray, " n"]
) -> tuple[Int[np.ndarray, "m q"], Int[np.ndarray, "m q"]]:
    """Rows of every member to a multiple of BLOCK, and their labels, -1 in what only fills."""
    longest = -(-max(len(one) for one in rows) // BLOCK) * BLOCK
    filled = np.zeros((len(rows), longest), np.int32)
    kinds = np.full((len(rows), longest), -1, np.int32)
    for number, one in enumerate(rows):
        filled[number, : len(one)], kinds[number, : len(one)] = one, labels[one]
    return filled, kinds


def _logits_of_rows(
    upper: Upper, fixed: Any, values: Any, activations: Array, rows: Int[np.ndarray, "m q"]
) -> Float[Array, "m q"]:
    """Logits of each member's own rows, as they are, not mirrored."""
    blocks = np.split(rows, rows.shape[1] // BLOCK, axis=1)
    found = [_member_logits(upper, fixed, values, activations[block, 0]) for block in blocks]
    return jnp.concatenate(found, axis=1)


@functools.partial(jax.jit, static_argnames=("upper",))
def _member_logits(
    upper: Upper, fixed: Any, values: Any, x: Float[Array, "m b h w c"]
) -> Float[Array, "m b"]:
    return jax.vmap(lambda member, x: upper.logits(fixed, member, x))(values, x)


@functools.partial(jax.jit, static_argnames=("settings",))
def _losses(
    logits: Float[Array, "m q"], labels: Int[Array, "m q"], settings: Tuning
) -> Float[Array, " m"]:
    return jax.vmap(lambda x, y: objective(x, y, settings))(logits, labels)


@jax.jit
def _choose(better: Any, new: Any, old: Any) -> Any:
    """The new values of the members that do better, else the old ones."""

    def chosen(new: Array, old: Array) -> Array:
        return jnp.where(better.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(chosen, new, old)
