"""Learning in one pass over the training images: done once, found again after a restart."""

import logging
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import jax

from ad_core.training.checkpoint import Checkpoints
from ad_core.types import Batch, OnePass, TrainState

log = logging.getLogger(__name__)


def fit(learn: OnePass, batches: Iterable[Batch], *, seed: int, workdir: Path) -> TrainState:
    """State that `learn` makes of the batches, from the checkpoint of `workdir` if there is one.

    A pass that was cut short is begun anew: it is short, and the result is the same.

    Raises:
        UserError: a checkpoint is there and none is whole, or it cannot be written.
    """
    with closing(Checkpoints(workdir / "checkpoints", keep=2)) as checkpoints:
        restored = checkpoints.restore(None)
        if restored is not None:
            return restored.state
        # Of several processes each fits all by itself, to the same bits.
        state = jax.device_get(learn.fit(batches, jax.random.key(seed)))
        checkpoints.save(1, state, {})
    return state
