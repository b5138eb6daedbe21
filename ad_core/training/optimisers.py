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


class Settings(NamedTuple):
    """What `config.reconstructor.optimiser` and its like hold."""

    lr: float
    name: str = "adam"  # adam | adamw | sgd
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    momentum: float = 0.0  # sgd only
    weight_decay: float = 0.0  # adamw only; of kernels, not of biases and scales
    clip_norm: float = 0.0  # global norm of the gradient; 0: not clipped
    schedule: str = "constant"  # constant | cosine | linear
    lr_warmup_steps: int = 0
    lr_decay_start: float = 0.0  # share of the steps before which the rate does not fall
    lr_end: float = 0.0  # share of the rate that is left at the last step


def optimiser_defaults(*, lr: float, b1: float = 0.9, b2: float = 0.999) -> ConfigDict:
    """The section of a configuration that `make_optimiser` reads: Adam at a constant rate."""
    return ConfigDict(Settings(lr=lr, b1=b1, b2=b2)._asdict())


def _constant(progress: Array) -> Array:
    return jnp.ones_like(progress)


def _cosine(progress: Array) -> Array:
    return (1 + jnp.cos(jnp.pi * progress)) / 2


def _linear(progress: Array) -> Array:
    return 1 - progress


SCHEDULES: Mapping[str, Callable[[Array], Array]] = {
    "constant": _constant,
    "cosine": _cosine,
    "linear": _linear,
}


def _kernels(params: optax.Params) -> optax.Params:
    return jax.tree.map(lambda x: x.ndim > 1, params)


def _adam(settings: Settings, rate: optax.Schedule) -> optax.GradientTransformation:
    return optax.adam(rate, b1=settings.b1, b2=settings.b2, eps=settings.eps)


def _adamw(settings: Settings, rate: optax.Schedule) -> optax.GradientTransformation:
    return optax.adamw(
        rate,
        b1=settings.b1,
        b2=settings.b2,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        mask=_kernels,
    )


def _sgd(settings: Settings, rate: optax.Schedule) -> optax.GradientTransformation:
    return optax.sgd(rate, momentum=settings.momentum or None)


OPTIMISERS: Mapping[str, Callable[[Settings, optax.Schedule], optax.GradientTransformation]] = {
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
    settings: Settings, *, steps: int | None = None, epochs: int = 0
) -> optax.Schedule:
    """The rate at each update, counted from 0.

    lr * min(1, (count + 1) / warmup) * (end + (1 - end) * shape(progress)), where progress runs
    from 0 at the start of the decay (or the end of the warm-up, if later) to 1 at `steps`.

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
    total = steps or 0
    warmup = settings.lr_warmup_steps
    start = max(warmup, settings.lr_decay_start * total)
    shape, end, lr = SCHEDULES[settings.schedule], settings.lr_end, settings.lr
    # First update of each epoch but the first.
    ends = np.array([-(-total * epoch // max(epochs, 1)) for epoch in range(1, epochs)], np.int32)

    def rate(count: ArrayLike) -> Array:
        done = jnp.asarray(count, jnp.float32)
        rise = jnp.minimum(1.0, (done + 1) / max(warmup, 1))
        if epochs:
            ended = jnp.searchsorted(ends, jnp.asarray(count, jnp.int32), side="right")
            done = ended.astype(jnp.float32) * (total / epochs)
        progress = jnp.clip((done - start) / max(total - start, 1.0), 0.0, 1.0)
        return lr * rise * (end + (1 - end) * shape(progress))

    return rate


def make_optimiser(
    section: ConfigDict, *, steps: int | None = None, epochs: int = 0
) -> optax.GradientTransformation:
    """The optimiser that `section` (see `optimiser_defaults`) describes.

    Args:
        steps: length of the training; only a schedule that falls needs it.
        epochs: as in `learning_rate`.

    Raises:
        UserError: an unknown optimiser or schedule.
    """
    settings = Settings(**section.to_dict())
    if settings.name not in OPTIMISERS:
        raise UserError(f"Unknown optimiser {settings.name!r}; known: {', '.join(OPTIMISERS)}.")
    optimiser = OPTIMISERS[settings.name](
        settings, learning_rate(settings, steps=steps, epochs=epochs)
    )
    if settings.clip_norm:
        optimiser = optax.chain(optax.clip_by_global_norm(settings.clip_norm), optimiser)
    return _promoting(optimiser)
