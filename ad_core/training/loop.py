"""The one training loop, for every method that learns by gradient."""

import copy
import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, PRNGKeyArray
from ml_collections import ConfigDict

from ad_core.data.shape import image_shape
from ad_core.runtime import processes
from ad_core.runtime.devices import check_divisible
from ad_core.runtime.keys import image_keys
from ad_core.runtime.progress import Progress
from ad_core.runtime.stop import Stop
from ad_core.training.checkpoint import Checkpoints
from ad_core.training.guard import COUNTERS, check_skipped, guarded
from ad_core.training.partition import Partition, partition
from ad_core.training.writers import Silent, Writers
from ad_core.types import Batch, Method, Metrics, Steps, TrainState, inference_state

log = logging.getLogger(__name__)
ASK_EVERY = 8  # steps of several processes between two questions whether one was asked to end


@runtime_checkable
class Batches(Protocol):
    """An endless iterator over batches of one shape whose position can be saved."""

    def __next__(self) -> Batch:
        """The next batch, as host arrays."""
        ...

    def get_state(self) -> dict[str, Any]:
        """The position after the last batch given, as JSON values."""
        ...

    def set_state(self, state: dict[str, Any]) -> None:
        """Moves to a position that `get_state` gave, in this process or another."""
        ...


class _Settings(NamedTuple):
    """Settings that the loop reads of a configuration."""

    seed: int
    image_shape: tuple[int, int, int]
    steps: int
    batch_size: int
    partition: str
    log_every: int
    image_every: int
    checkpoint_every: int
    keep: int
    max_skipped: int
    model_devices: int = 1


def _settings(config: ConfigDict) -> _Settings:
    values = config.to_dict()
    train = values["train"]
    common = {name: train[name] for name in _Settings._fields if name in train}
    return _Settings(seed=values["seed"], image_shape=image_shape(values["data"]), **common)


class _Next(NamedTuple):
    """A batch on its way to the devices, and the data position after it."""

    batch: Batch
    position: dict[str, Any]


def _take(batches: Batches, parts: Partition) -> _Next:
    batch = next(batches)
    # The iterator runs one batch ahead of training, so the position travels with its batch.
    position = copy.deepcopy(batches.get_state())
    return _Next(parts.place_batch(batch), position)


def _keyed(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step` with a key made from the seed's and the step's number: no key to be saved."""

    def train_step(
        state: TrainState, batch: Batch, key: PRNGKeyArray
    ) -> tuple[TrainState, Metrics]:
        return step(state, batch, jax.random.fold_in(key, state.step))

    return train_step


class _Record:
    """Gathers the metrics of each step and writes a row every `log_every` steps.

    A row holds, of each metric, the mean over the steps since the row before (or since this
    process began) whose value is finite; the counters of the guard as they stand; and
    images_per_s.
    """

    def __init__(
        self,
        writers: Writers | Silent,
        progress: Progress,
        train: _Settings,
        watch: Callable[[Mapping[str, float]], str] | None,
        shown: Sequence[str],
    ):
        self._writers, self._progress, self._train = writers, progress, train
        self._shown = shown
        self._watch, self._warned = watch, False
        self._rows: list[dict[str, float]] = []

    def __call__(self, step: int, metrics: Metrics) -> None:
        """Fetches the metrics of `step`, waiting for it to be computed."""
        row = {name: float(value) for name, value in jax.device_get(dict(metrics)).items()}
        self._rows.append(row)
        self._progress.update(self._train.batch_size, _summary(row, self._shown))
        if step % self._train.log_every == 0 or step == self._train.steps:
            values = {**_means(self._rows), **{name: row[name] for name in COUNTERS}}
            self._writers.metrics(step, {**values, "images_per_s": self._progress.rate()})
            self._rows.clear()
            self._warn(step, values)
        check_skipped(row, step=step, max_skipped=self._train.max_skipped)

    def _warn(self, step: int, values: Mapping[str, float]) -> None:
        """Logs a finding of `watch` once; the next one only after `watch` has found nothing."""
        trouble = self._watch(values) if self._watch else ""
        if trouble and not self._warned:
            log.warning("Step %d: %s.", step, trouble)
        self._warned = bool(trouble)


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of the finite values of each name; NaN where there is none."""
    finite = {name: [r[name] for r in rows if np.isfinite(r[name])] for name in rows[0]}
    return {name: float(np.mean(x)) if x else float("nan") for name, x in finite.items()}


def _summary(row: Mapping[str, float], shown: Sequence[str]) -> str:
    """Two numbers at most: what went wrong, then the metrics in `shown`, or else any."""
    wrong = [name for name in COUNTERS if row[name]]
    named = [name for name in shown if name in row]
    others = [name for name in row if name not in COUNTERS]
    two = list(dict.fromkeys(wrong + (named or others)))[:2]
    return ", ".join(f"{name} {row[name]:.4g}" for name in two)


def _drawer(
    method: Method,
    image: Float[np.ndarray, "n h w c"] | None,
    *,
    parts: Partition,
    writers: Writers | Silent,
) -> Callable[[int, TrainState], None]:
    """Writes `image` and its normal version by the weights that inference uses."""
    if image is None:
        return lambda step, state: None
    size = parts.mesh.size
    padded = np.concatenate([image, np.repeat(image[-1:], -len(image) % size, axis=0)])

    def drawn(state: TrainState, x: Array) -> Array | None:
        return method.view(inference_state(state), x, image_keys(x)).image

    compiled = parts.draw(drawn)

    def draw(step: int, state: TrainState) -> None:
        # As many at a time as there are devices: each may be an image of many megapixels.
        some = [padded[first : first + size] for first in range(0, len(padded), size)]
        found = [jax.device_get(compiled(state, images)) for images in some]
        if found[0] is not None:
            writers.sample(step, image, np.concatenate(found)[: len(image)])

    return draw


def _start(
    steps: Steps,
    image_shape: tuple[int, int, int],
    batches: Batches,
    *,
    parts: Partition,
    checkpoints: Checkpoints,
    key: PRNGKeyArray,
) -> tuple[TrainState, int]:
    """The state on the devices, new or restored, and its step; moves `batches` to match."""

    def init(key: PRNGKeyArray) -> TrainState:
        return steps.init(key, image_shape)

    restored = checkpoints.restore(jax.eval_shape(init, key))
    if restored is None:
        return parts.place_state(jax.jit(init)(key)), 0
    log.info("Training goes on from step %d.", restored.step)
    batches.set_state(restored.position)
    return parts.place_state(restored.state), restored.step


def _run(
    state: TrainState,
    step: int,
    batches: Batches,
    *,
    train: _Settings,
    parts: Partition,
    key: PRNGKeyArray,
    checkpoints: Checkpoints,
    record: Callable[[int, Metrics], None],
    draw: Callable[[int, TrainState], None],
    stop: Stop,
) -> TrainState:
    at_once = stop.at_once
    late: tuple[int, Metrics] | None = None  # metrics not fetched yet: the device is never idle
    coming = _take(batches, parts) if step < train.steps else None
    train_step = parts.step if coming is None else parts.ready(state, coming.batch, key)
    while coming is not None:
        batch, position = coming
        state, metrics = train_step(state, batch, key)
        stop.at_once = False  # there is a step to save now; until it was compiled there was none
        step += 1
        coming = _take(batches, parts) if step < train.steps else None
        if late is not None:
            record(*late)
        late = (step, metrics)
        if step % train.image_every == 0 or coming is None:
            draw(step, state)
        stopping = _agreed(stop, step, last=coming is None)
        if step % train.checkpoint_every == 0 or coming is None or stopping:
            record(*late)  # before the save: after a resume, this step is not seen again
            late = None
            checkpoints.save(step, state, position)
        if stopping:
            break
    checkpoints.wait()
    stop.check()
    stop.at_once = at_once
    return state


def _agreed(stop: Stop, step: int, *, last: bool) -> bool:
    """Whether a process was asked to end; then all are. Several ask each other now and then."""
    if processes.count() == 1:
        return bool(stop)
    asked = (last or step % ASK_EVERY == 0) and processes.any_of(bool(stop))
    if asked and not stop:
        stop.signal = signal.SIGTERM
    return asked


def train(
    method: Method,
    config: ConfigDict,
    batches: Batches,
    *,
    workdir: Path,
    sample: Float[np.ndarray, "n h w c"] | None = None,
    stop: Stop | None = None,
    devices: Sequence[Any] | None = None,
) -> TrainState:
    """Trains to `config.train.steps`, from the newest good checkpoint of `workdir` if any.

    The result depends on the configuration alone, not on how often the training was
    interrupted. The caller holds the lock on `workdir` (`lock.exclusive`).

    Args:
        method: one that learns by `Steps`.
        sample: images whose normal versions are written every `train.image_every` steps.
        stop: looked at after each step; when set, the state is saved and Stopped raised.
        devices: default, all of all processes. Each process gives its part of the batches.

    Returns:
        the state, a copy on each device.

    Raises:
        UserError: the devices do not divide the batch; no checkpoint is usable; too many steps
            in a row were not finite.
        Stopped: `stop` was set.
    """
    assert isinstance(method.learn, Steps)  # the caller saw to it
    settings = _settings(config)
    steps = guarded(method.learn)
    parts = partition(
        _keyed(steps.train_step),
        settings.partition,
        devices=devices,
        model=settings.model_devices,
    )
    check_divisible(settings.batch_size, parts.mesh)
    init_key, key = jax.random.split(jax.random.key(settings.seed))
    key = parts.place_state(key)
    with closing(Checkpoints(workdir / "checkpoints", keep=settings.keep)) as checkpoints:
        state, step = _start(
            steps, settings.image_shape, batches, parts=parts, checkpoints=checkpoints, key=init_key
        )
        size = settings.batch_size
        first = "compiling" if step < settings.steps else ""
        progress = Progress(settings.steps * size, label="train", done=step * size, first=first)
        writers = Writers(workdir, resume_at=step) if processes.is_first() else Silent()
        with closing(writers), closing(progress):
            state = _run(
                state,
                step,
                batches,
                train=settings,
                parts=parts,
                key=key,
                checkpoints=checkpoints,
                record=_Record(writers, progress, settings, steps.watch, method.curves),
                draw=_drawer(method, sample, parts=parts, writers=writers),
                stop=Stop() if stop is None else stop,
            )
        return parts.whole(state)
