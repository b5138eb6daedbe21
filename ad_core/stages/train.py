"""The first stage: every method learns, each by itself, or is found to have learnt."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from ad_core.data.batches import eval_batches, teaching, train_batches
from ad_core.data.crops import Crop
from ad_core.data.draws import Share
from ad_core.data.tiles import make_tiling
from ad_core.errors import UserError
from ad_core.runtime import processes
from ad_core.runtime.progress import Progress
from ad_core.stages.backbones import check_taught, record
from ad_core.stages.checks import check_methods, check_settings
from ad_core.stages.folds import check_folds, teachers
from ad_core.stages.job import Job, make_methods, with_length
from ad_core.stages.timing import timed
from ad_core.training import one_pass
from ad_core.training.loop import train
from ad_core.types import Batch, Method, OnePass, TrainState, inference_state

SAMPLES = 4  # images of each class whose normal versions are shown while training


class Learnt(NamedTuple):
    """A method that has learnt. config: of this method alone. state: an inference state."""

    name: str
    method: Method
    config: ConfigDict
    state: TrainState


def run_training(job: Job) -> tuple[Learnt, ...]:
    """Trains every method of the configuration, or resumes, or finds the training finished.

    What takes one pass comes first: a mistake in the names is then told before the long trainings.

    Raises:
        UserError: what `check_settings`, `check_taught`, `check_folds` and `check_methods` refuse,
            or the training itself.
    """
    methods = make_methods(job.config)
    check_settings(job.config)
    check_taught(job.config)
    for name, (method, _) in methods.items():
        check_folds(job, name, method)
    if processes.is_first():
        record(job.workdir, job.config)
    several = len(methods) > 1
    once = [name for name, (method, _) in methods.items() if isinstance(method.learn, OnePass)]
    images = sum(_images(job, method) for method, _ in methods.values())
    clock = timed(job.workdir, "train", count=lambda: images)
    with clock if processes.is_first() else nullcontext():
        states = {name: _learn(job, name, *methods[name], several=several) for name in once}
        check_methods(job.config, methods, states)
        for name in methods:
            if name not in once:
                states[name] = _learn(job, name, *methods[name], several=several)
    return tuple(Learnt(name, *methods[name], states[name]) for name in methods)


def _images(job: Job, method: Method) -> int:
    """How many images a method sees while it learns."""
    if isinstance(method.learn, OnePass):
        return len(teachers(job, method))
    return job.config.train.steps * job.config.train.batch_size


def _learn(job: Job, name: str, method: Method, config: ConfigDict, *, several: bool) -> TrainState:
    """The inference state of one method, which sees abnormal images only if it learns from them."""
    workdir, indices = job.workdir.training(name, several=several), teachers(job, method)
    if isinstance(method.learn, OnePass):
        batches = read_once(job, indices)
        return one_pass.fit(method.learn, batches, seed=config.seed, workdir=workdir)
    labels = np.array([job.source.records[i].label for i in indices], int)
    config = with_length(config, labels, pairs=method.trains_on_abnormal)
    batches = train_batches(
        job.source,
        indices,
        batch_size=config.train.batch_size,
        seed=config.seed,
        augment=config.data.augment,
        workers=config.data.workers,
        pairs=method.trains_on_abnormal,
        crop=crop_of(config),
        share=Share(processes.own(), processes.count()),
    )
    state = train(method, config, batches, workdir=workdir, sample=_samples(job), stop=job.stop)
    return jax.device_get(inference_state(state))


def crop_of(config: ConfigDict) -> Crop | None:
    """Crop of images that a method learns from step by step; None: all of each."""
    tiling = make_tiling(config.tiling)
    return None if tiling is None else Crop(tiling, config.tiling.crop)


def read_once(job: Job, indices: np.ndarray, *, label: str = "learn") -> Iterator[Batch]:
    """Images to learn from, once and in order. UserError at the first that cannot be read."""
    progress = Progress(len(indices), label=label, first="compiling")
    for reading in job.read(indices, job.config.score.batch_size):
        if reading.errors:
            raise UserError(next(iter(reading.errors.values())))
        yield teaching(reading)
        progress.update(int(np.sum(reading.batch.valid)))
    progress.close()


def _samples(job: Job) -> Float[np.ndarray, "n h w c"]:
    """The first calibration images of each class; the test split is not looked at."""
    indices, labels = job.splits[job.calibration_split], job.labels(job.calibration_split)
    chosen = [i for label in (0, 1) for i in indices[labels == label][:SAMPLES]]
    (reading,) = eval_batches(job.source, np.array(chosen), batch_size=len(chosen), workers=1)
    return np.asarray(reading.batch.image)
