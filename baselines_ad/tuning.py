"""Fine-tuning of the upper stages for many parts of the images and many seeds, side by side."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ad_core.decision.classifiers.deep_head import linear_heads
from ad_core.runtime.progress import Progress
from ad_core.training.optimisers import make_optimiser, optimiser_defaults
from baselines_ad.bank import Bank
from baselines_ad.members import Member
from baselines_ad.objective import Tuning, objective
from baselines_ad.stopping import BLOCK, Stopping
from baselines_ad.upper_stages import Classifier, Upper

LOOKS = 5  # at the images to stop by, besides the one before the first step
_FLOOR = 1e-2  # share of the features' mean variance that is added to each
_STRENGTH = 1e-3  # C of the logistic regression that a classifier begins as


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
    each of LOOKS runs of steps its loss on images that its members have not learnt is taken, each
    member with its own, and the weights of the run where their mean is least are the part's. Logits
    of all parts are on one scale (`Stopping.comparable`).

    Args:
        params: weights of the stages, pretrained.
    """
    fixed, pretrained = upper.split(params)
    activations, labels = jnp.asarray(bank.activations), jnp.asarray(bank.label)
    stop_rows = [one.stop for one in members]
    stopping = Stopping(
        upper, fixed, activations, bank.label, stop_rows, seeds=seeds, settings=settings
    )
    values = begin(upper, fixed, pretrained, bank, members)
    state = _begin_optimiser(values, settings)
    drawn, version = (np.stack([getattr(m, name) for m in members]) for name in Member._fields[2:])
    looks = set(np.linspace(0, settings.steps, LOOKS + 1).round().astype(int).tolist())
    stopping.look(values)
    progress = None
    for number in range(settings.steps):
        x, y = activations[drawn[:, number], version[:, number]], labels[drawn[:, number]]
        values, state = take_step(values, state, fixed, x, y, upper=upper, settings=settings)
        # The first step is mostly compiling: it counts for no rate.
        progress = progress or Progress(settings.steps, label="fine-tune", unit="steps", done=1)
        progress.update(int(number > 0))
        if number + 1 in looks:
            stopping.look(values)
    if progress is not None:
        progress.close()
    return stopping.comparable()


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
