"""Optimisers and learning rates from the settings of a configuration."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.typing import ArrayLike
from ml_collections import ConfigDict

from ad_core.errors import UserError


class OptimiserSettings(NamedTuple):
    """Settings of an optimiser, as `config.reconstructor.optimiser` and its like hold them."""

    lr: float
    name: str = "adam"
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    schedule: str = "constant"
    lr_warmup_steps: int = 0
    lr_decay_start: float = 0.0
    lr_end: float = 0.0
    accumulate: int = 1


_EXPLAINED = {
    "lr": "learning rate",
    "name": "of the optimiser (adam | adamw | sgd)",
    "b1": "decay of the mean gradient (adam, adamw)",
    "b2": "decay of the mean squared gradient (adam, adamw)",
    "eps": "added to the root of that (adam, adamw)",
    "momentum": "of sgd",
    "weight_decay": "of adamw; of kernels, not of biases and scales",
    "clip_norm": "largest global norm of the gradient; 0: not clipped",
    "schedule": "how the rate falls (constant | cosine | linear)",
    "lr_warmup_steps": "steps in which the rate rises from 0",
    "lr_decay_start": "share of the steps before which the rate does not fall",
    "lr_end": "share of the rate that is left at the last step",
    "accumulate": "batches whose mean gradient makes one update",
}


def explain_optimiser(section: str, of: str) -> dict[str, str]:
    """Lines that --help shows of the settings of an optimiser, by their dotted names.

    Args:
        section: of the method's settings. of: whose it is, such as "of the generator".
    """
    return {f"{section}.{name}": f"{text}, {of}" for name, text in _EXPLAINED.items()}


def optimiser_defaults(*, lr: float, b1: float = 0.9, b2: float = 0.999) -> ConfigDict:
    """The section of a configuration that `make_optimiser` reads: Adam at a constant rate."""
    return ConfigDict(OptimiserSettings(lr=lr, b1=b1, b2=b2)._asdict())


# Share of the rate that is left at a progress from 0 to 1, by the share left at the end.
SCHEDULES: Mapping[str, Callable[[float], optax.Schedule]] = {
    "constant": lambda end: optax.constant_schedule(1.0),
    "cosine": lambda end: optax.cosine_decay_schedule(1.0, 1, alpha=end),
    "linear": lambda end: optax.linear_schedule(1.0, end, 1),
}


def _kernels(params: optax.Params) -> optax.Params:
    return jax.tree.map(lambda x: x.ndim > 1, params)


def _adam(settings: OptimiserSettings, rate: optax.Schedule) -> optax.GradientTransformation:
    return optax.adam(rate, b1=settings.b1, b2=settings.b2, eps=settings.eps)


def _adamw(settings: OptimiserSettings, rate: optax.Schedule) -> optax.GradientTransformation:
    return optax.adamw(
        rate,
        b1=settings.b1,
        b2=settings.b2,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        mask=_kernels,
    )


def _sgd(settings: OptimiserSettings, rate: optax.Schedule) -> optax.GradientTransformation:
    return optax.sgd(rate, momentum=settings.momentum or None)


OPTIMISERS: Mapping[
    str, Callable[[OptimiserSettings, optax.Schedule], optax.GradientTransformation]
] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
}


def _promoting(optimiser: optax.GradientTransformation) -> optax.GradientTransformation:
    """`optimiser` where types are promoted strictly: optax raises floats to integer powers."""

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        with jax.numpy_dtype_promotion("standard"):
            return optimiser.update(updates, state, params)

    return optax.GradientTransformation(optimiser.init, update)


def learning_rate(
    settings: OptimiserSettings, *, steps: int | None = None, epochs: int = 0
) -> optax.Schedule:
    """The rate at each update, counted from 0.

    lr times two schedules of optax. The warm-up starts at 1 / lr_warmup_steps and ends with 1. The
    decay goes over a progress that runs from 0 at its start (or the end of the warm-up, if later)
    to 1 at `steps`, where lr_end is left.

    Args:
        epochs: equal parts of the training, within each of which progress stands still;
            0: it moves at every update.

    Raises:
        UserError: an unknown schedule, or one that falls and no `steps`.
    """
    if settings.schedule not in SCHEDULES:
        raise UserError(f"Unknown schedule {settings.schedule!r}; known: {', '.join(SCHEDULES)}.")
    if steps is None and settings.schedule != "constant":
        raise UserError(f"Schedule {settings.schedule!r} needs the number of steps.")
    total, lr, warmup = steps or 0, settings.lr, max(settings.lr_warmup_steps, 1)
    start = max(settings.lr_warmup_steps, settings.lr_decay_start * total)
    # Kept apart from lr even without a warm-up: XLA would join other products, to other last bits.
    rise = optax.linear_schedule(1.0 / warmup, 1.0, max(warmup - 1, 1))
    fall = SCHEDULES[settings.schedule](settings.lr_end)
    begin = _begin_of_epoch(total, epochs) if epochs else lambda count: count

    def rate(count: ArrayLike) -> Array:
        done = jnp.asarray(count, jnp.float32)
        progress = jnp.clip((begin(done) - start) / max(total - start, 1.0), 0.0, 1.0)
        return jnp.asarray(lr * rise(done) * fall(progress), jnp.float32)

    return rate


def _begin_of_epoch(total: int, epochs: int) -> Callable[[Array], Array]:
    """Maps a number of updates to that at which its epoch began, which need not be whole."""
    # First update of each epoch but the first.
    firsts = np.array([-(-total * epoch // epochs) for epoch in range(1, epochs)], np.float32)

    def begin(count: Array) -> Array:
        ended = jnp.searchsorted(firsts, count, side="right")
        return ended.astype(jnp.float32) * (total / epochs)

    return begin


def make_optimiser(
    section: ConfigDict, *, steps: int | None = None, epochs: int = 0
) -> optax.GradientTransformation:
    """The optimiser that `section` (see `optimiser_defaults`) describes.

    With `accumulate` of k, every kth step updates, by the mean gradient of k batches; schedules
    count updates. It is then the update of one batch of k times the size, where the loss is a mean
    over the images and nothing else changes from batch to batch.

    Args:
        steps: length of the training; only a schedule that falls needs it.
        epochs: as in `learning_rate`.

    Raises:
        UserError: an unknown optimiser or schedule, or an `accumulate` below 1.
    """
    settings = OptimiserSettings(**section.to_dict())
    if settings.accumulate < 1:
        raise UserError(f"`optimiser.accumulate` (={settings.accumulate}) must be 1 or more.")
    if steps is not None:
        steps = -(-steps // settings.accumulate)
    if settings.name not in OPTIMISERS:
        raise UserError(f"Unknown optimiser {settings.name!r}; known: {', '.join(OPTIMISERS)}.")
    optimiser = OPTIMISERS[settings.name](
        settings, learning_rate(settings, steps=steps, epochs=epochs)
    )
    if settings.clip_norm:
        optimiser = optax.chain(optax.clip_by_global_norm(settings.clip_norm), optimiser)
    if settings.accumulate > 1:
        several = optax.MultiSteps(optimiser, settings.accumulate)
        optimiser = several.gradient_transformation()
    return _promoting(optimiser)
