"""The main job: train the reconstructor, calibrate the decision, evaluate the detector."""

import json
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from ad_core.backbones import load_backbone, pooled
from ad_core.data.batches import epoch_images, eval_batches, train_batches
from ad_core.data.formats.intensity import fix_range, is_robust
from ad_core.data.source import DataSource, open_source
from ad_core.data.splits import Splits, make_splits
from ad_core.decision.calibration import Calibration, calibrate, check_decision, check_single
from ad_core.decision.table import StatisticsTable, make_table, read_table, write_table
from ad_core.runtime.progress import Progress
from ad_core.runtime.registry import resolve
from ad_core.runtime.stop import Stop
from ad_core.runtime.workdir import Workdir, claim, write_json
from ad_core.scoring.companions import companion_names, load_companions
from ad_core.scoring.detector import Parts, load_parts, measurer_of, save_detector
from ad_core.scoring.localisation import MapScale, fit_scale
from ad_core.scoring.measuring import Measured, Measurer, join, make_measurer, measure_batches
from ad_core.statistics import (
    Context,
    WindowSettings,
    check_names,
    expand,
    learn_context,
    usable_scales,
)
from ad_core.training.loop import train
from ad_core.types import Reconstruction, Reconstructor, TrainState, inference_state

SAMPLES = 4  # images of each class whose reconstructions are shown while training
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn")


class Job(NamedTuple):
    """A configuration with its images, their splits and its workdir."""

    config: ConfigDict
    source: DataSource
    splits: Splits
    workdir: Workdir
    stop: Stop

    @property
    def calibration_split(self) -> str:
        """The split that calibrates: `pool` under the protocol vqganodip."""
        return "pool" if "pool" in self.splits else "calibration"


def prepare(config: ConfigDict, root: str | Path, stop: Stop, *, free: tuple[str, ...] = ()) -> Job:
    """Lists and splits the images, and claims the workdir for this configuration.

    Raises:
        UserError: no images, a split without normal images, a rule or a classifier that these
            images do not allow, images that fix no range, a workdir of another run.
    """
    source = open_source(config.data)
    splits = make_splits(
        source.records,
        protocol=config.data.protocol,
        calibration=config.data.calibration,
        seed=config.seed,
        train_abnormal=_trains_on_pairs(config),
    )
    _set_length(config, np.array([source.records[i].label for i in splits["train"]]))
    if is_robust(config.data):
        normals = [int(i) for i in splits["train"] if source.records[i].label == 0]
        config.data.value_range = fix_range(source, normals)
    job = Job(config, source, splits, Workdir(Path(root)), stop)
    records = [source.records[i] for i in splits[job.calibration_split]]
    # Before the workdir is claimed: it may then be used with the mend.
    check_decision(
        config.decision,
        np.array([record.label for record in records]),
        np.array([record.group for record in records]),
        split=job.calibration_split,
    )
    claim(root, config, free=free)
    return job


def _trains_on_pairs(config: ConfigDict) -> bool:
    """Whether the method learns from both classes, and so from pairs of both."""
    return getattr(resolve(config.method), "TRAINS_ON_ABNORMAL", False)


def _set_length(config: ConfigDict, labels: Int[np.ndarray, "_"]) -> None:
    """Sets the steps of an epoch, and of the training where it is given in epochs."""
    train = config.train
    images = epoch_images(labels, pairs=_trains_on_pairs(config), augment=config.data.augment)
    train.epoch_steps = max(1, -(-images // train.batch_size))
    if train.epochs:
        train.steps = -(-train.epochs * images // train.batch_size)


def count_classes(job: Job) -> dict[str, dict[str, int]]:
    """Split -> {"normal", "abnormal"}: how many images of each class it holds."""
    labels = np.array([record.label for record in job.source.records])
    return {
        split: {"normal": int((labels[i] == 0).sum()), "abnormal": int((labels[i] == 1).sum())}
        for split, i in job.splits.items()
    }


def run_training(job: Job) -> tuple[Reconstructor, TrainState]:
    """Trains, or resumes, or finds the training finished; the reconstructor and its state."""
    config, train_config = job.config, job.config.train
    reconstructor = resolve(config.method).make(config)
    _check_statistics(config, reconstructor)
    batches = train_batches(
        job.source,
        job.splits["train"],
        batch_size=train_config.batch_size,
        seed=config.seed,
        augment=config.data.augment,
        workers=config.data.workers,
        pairs=_trains_on_pairs(config),
    )
    with timed(job.workdir, "train", count=lambda: train_config.steps * train_config.batch_size):
        state = train(
            reconstructor,
            config,
            batches,
            workdir=job.workdir.root,
            sample=_samples(job),
            stop=job.stop,
        )
    return reconstructor, jax.device_get(inference_state(state))


def _samples(job: Job) -> Float[np.ndarray, "n h w c"]:
    """The first calibration images of each class; the test split is not looked at."""
    indices = job.splits[job.calibration_split]
    labels = np.array([job.source.records[i].label for i in indices])
    chosen = [i for label in (0, 1) for i in indices[labels == label][:SAMPLES]]
    batches = eval_batches(job.source, np.array(chosen), batch_size=len(chosen), workers=1)
    batch, _ = next(iter(batches))
    return np.asarray(batch.image)


def run_calibration(job: Job, reconstructor: Reconstructor, state: TrainState) -> Calibration:
    """Measures the calibration split and writes its statistics and the detector."""
    context = _learn_context(job, reconstructor, state)
    names = choose_statistics(job.config, reconstructor, state, context)
    also = load_companions(job.config)
    own = _measurer(job.config, reconstructor, state, names=names, context=context)
    measurer = join(own, [measurer_of(x, batch_size=own.batch_size) for x in also])
    names = (*names, *companion_names(also))
    split = job.calibration_split
    normal_maps: list[np.ndarray] = []

    def keep_normal_maps(indices: np.ndarray, measured: Measured) -> None:
        labels = np.array([job.source.records[i].label for i in indices])
        if (labels == 0).any():
            normal_maps.append(measured.anomaly_map[labels == 0])

    with timed(job.workdir, "calibrate", count=lambda: len(job.splits[split])):
        table = measure_split(job, split, measurer, names, each=keep_normal_maps)
        write_table(job.workdir.statistics(split), table)
        scale = fit_scale(normal_maps, level_quantile=job.config.localisation.level)
    return _decide(job, table, state=state, context=context, scale=scale, also=also)


def recalibrate(job: Job) -> Calibration:
    """Classifier and thresholds again, from the statistics and networks that the workdir holds.

    Raises:
        UserError: the workdir was not calibrated before.
    """
    table = read_table(job.workdir.statistics(job.calibration_split))
    parts = load_parts(job.workdir.detector)
    kept = {name: getattr(parts, name) for name in ("state", "context", "scale", "also")}
    return _decide(job, table, **kept)


def _decide(
    job: Job,
    table: StatisticsTable,
    *,
    state: TrainState,
    context: Context,
    scale: MapScale,
    also: tuple[Parts, ...],
) -> Calibration:
    config, split = job.config, job.calibration_split
    calibration = calibrate(table, config.decision, split=split, seed=config.seed)
    parts = Parts(
        config=config,
        names=table.names,
        state=state,
        context=context,
        classifier=calibration.classifier,
        thresholds=calibration.thresholds,
        rule=config.decision.rule,
        scale=scale,
        reference=table.values[table.readable & (table.label == 0)],
        also=also,
        review=config.decision.review,
        selection=calibration.selection and calibration.selection.to_dict(),
    )
    save_detector(job.workdir.detector, parts, versions=versions())
    return calibration


def choose_statistics(
    config: ConfigDict, reconstructor: Reconstructor, state: TrainState, context: Context
) -> tuple[str, ...]:
    """The statistics of `config.statistics.names` that this reconstructor can give, in order.

    Raises UserError on an unknown name, or one that needs what the reconstructor has not.
    """
    given = _given(config, reconstructor, state)
    names = tuple(config.statistics.names)
    return expand(names, losses=tuple(given.losses), maps=tuple(given.maps), context=context)


def _check_statistics(config: ConfigDict, reconstructor: Reconstructor) -> None:
    """Refuses, before anything is trained, what could not be computed after it; UserError."""
    size, channels = config.data.image_size, config.data.channels
    state = jax.eval_shape(lambda: reconstructor.init(jax.random.key(0), (size, size, channels)))
    given = _given(config, reconstructor, inference_state(state))
    check_names(
        config.statistics.names,
        losses=tuple(given.losses),
        maps=tuple(given.maps),
        backbone=_backbone(config) is not None,
    )
    also = companion_names(load_companions(config))
    check_single(config.decision.classifier, (*config.statistics.names, *also))
    usable_scales(WindowSettings(**config.statistics.windows), size, size)


def _given(config: ConfigDict, reconstructor: Reconstructor, state: TrainState) -> Reconstruction:
    """The reconstruction of one image, as shapes."""
    size, channels = config.data.image_size, config.data.channels
    image = jax.ShapeDtypeStruct((1, size, size, channels), np.float32)
    return jax.eval_shape(reconstructor.reconstruct, state, image, jax.random.key(0))


def _learn_context(job: Job, reconstructor: Reconstructor, state: TrainState) -> Context:
    """What the statistics know of normals, from the normal images that trained."""
    records, indices = job.source.records, job.splits["train"]
    normals = indices[np.array([records[i].label for i in indices]) == 0]
    measurer = _measurer(job.config, reconstructor, state, names=(), context=None)

    def pairs() -> Iterator[tuple[np.ndarray, Reconstruction, np.ndarray]]:
        for batch, _ in _batches(job, normals, measurer):
            drawn = jax.device_get(measurer.reconstruct(batch.image, batch.content))
            yield np.asarray(batch.image), drawn, np.asarray(batch.valid)

    return learn_context(pairs())._replace(backbone=_backbone(job.config))


def _backbone(config: ConfigDict) -> Partial | None:
    spec = config.statistics.backbone
    return pooled(load_backbone(spec, family="inception")) if spec else None


def _measurer(
    config: ConfigDict,
    reconstructor: Reconstructor,
    state: TrainState,
    *,
    names: tuple[str, ...],
    context: Context | None,
) -> Measurer:
    return make_measurer(
        reconstructor,
        jax.device_put(state),
        names=names,
        context=context,
        windows=WindowSettings(**config.statistics.windows),
        sigma_px=config.localisation.sigma * config.data.image_size,
        batch_size=config.score.batch_size,
    )


def _batches(job: Job, indices: Int[np.ndarray, "_"], measurer: Measurer) -> Iterator[Any]:
    workers = job.config.score.workers
    for item in eval_batches(job.source, indices, batch_size=measurer.batch_size, workers=workers):
        job.stop.check()
        yield item


def measure_split(
    job: Job,
    split: str,
    measurer: Measurer,
    names: tuple[str, ...],
    *,
    each: Callable[[np.ndarray, Measured], None],
) -> StatisticsTable:
    """The statistics of a split, in its order; images that cannot be read get an error instead.

    Args:
        each: called with (indices, measured) of the readable images of each batch.
    """
    indices = job.splits[split]
    values = np.full((len(indices), len(names)), np.nan, np.float32)
    row_of = {int(index): row for row, index in enumerate(indices)}
    errors: dict[int, str] = {}
    progress = Progress(len(indices), label=f"measure {split}")
    for batch, unread, measured in measure_batches(measurer, _batches(job, indices, measurer)):
        valid = np.asarray(batch.valid)
        found = np.asarray(batch.index)[valid]
        kept = Measured(*(np.asarray(x)[valid] for x in measured))
        values[[row_of[int(index)] for index in found]] = kept.statistics
        errors |= {row_of[index]: message for index, message in unread.items()}
        each(found, kept)
        progress.update(len(found) + len(unread))
    progress.close()
    records = [job.source.records[i] for i in indices]
    messages = [errors.get(row, "") for row in range(len(indices))]
    return make_table(records, names, values, messages)


@contextmanager
def timed(workdir: Workdir, stage: str, *, count: Callable[[], int]) -> Iterator[None]:
    """Adds the time of a stage to timing.json; training that was interrupted adds up."""
    start = time.monotonic()
    finished = False
    try:
        yield
        finished = True
    finally:
        timings = read_timing(workdir)
        before = timings.get(stage, {})
        # A stage done again starts its account anew; one that was cut short goes on.
        spent = 0.0 if before.get("finished", True) else before["seconds"]
        seconds = spent + time.monotonic() - start
        images = count()
        timings[stage] = {
            "seconds": round(seconds, 3),
            "images": images,
            "images_per_s": round(images / seconds, 3) if finished else None,
            "finished": finished,
        }
        write_json(workdir.timing, timings)


def read_timing(workdir: Workdir) -> dict[str, Any]:
    """Stage -> {"seconds", "images", "images_per_s", "finished"}; empty before the first."""
    return json.loads(workdir.timing.read_text()) if workdir.timing.exists() else {}


def versions() -> dict[str, str]:
    """Of Python, the project, the packages that figures depend on, and the devices."""
    found = {"python": platform.python_version(), "zfn-ad": metadata.version("zfn-ad")}
    found |= {name: metadata.version(name) for name in PACKAGES}
    devices = jax.local_devices()
    return found | {"devices": f"{len(devices)} x {devices[0].device_kind}"}
