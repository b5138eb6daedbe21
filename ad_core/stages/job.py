"""A configuration with its images, their splits and its workdir: what every stage works on."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from ad_core.data.batches import Reading, eval_batches
from ad_core.data.draws import epoch_images
from ad_core.data.formats.intensity import settle_range
from ad_core.data.formats.resizing import PROPORTIONS
from ad_core.data.likeness import Likeness, group_alike
from ad_core.data.proportions import settle_sides
from ad_core.data.reference_files import settle_reference
from ad_core.data.region_files import settle_region
from ad_core.data.source import DataSource, open_source
from ad_core.data.splits import Splits, make_splits
from ad_core.runtime.config import for_normals_alone
from ad_core.runtime.methods import (
    learns_from_abnormal,
    learns_in_one_pass,
    method_configs,
    with_share,
)
from ad_core.runtime.stop import Stop
from ad_core.runtime.workdir import Workdir, claim
from ad_core.scoring.tiling import make_method
from ad_core.stages.checks import check_calibration
from ad_core.stages.readable import keep_findings, leave_out_unreadable
from ad_core.types import Method


class Job(NamedTuple):
    """Job to run, as `prepare` found it: see there."""

    config: ConfigDict
    source: DataSource
    splits: Splits
    workdir: Workdir
    stop: Stop
    left_out: Mapping[str, str] = {}  # images to learn from that cannot be read: path -> why
    likeness: Likeness = Likeness()  # of images that nobody grouped

    @property
    def calibration_split(self) -> str:
        """The split that calibrates: `pool` under the protocol vqganodip."""
        return "pool" if "pool" in self.splits else "calibration"

    @property
    def judging_split(self) -> str:
        """The split that judges: `pool`, fold by fold, under the protocol vqganodip."""
        return "pool" if "pool" in self.splits else "test"

    def labels(self, split: str) -> Int[np.ndarray, " n"]:
        """Labels of a split in its order: 0 normal, 1 abnormal."""
        return np.array([self.source.records[i].label for i in self.splits[split]], int)

    def read(self, indices: Int[np.ndarray, " n"], batch_size: int) -> Iterator[Reading]:
        """Images in order, batch by batch, until a stop is asked for."""
        workers = self.config.score.workers
        for item in eval_batches(self.source, indices, batch_size=batch_size, workers=workers):
            self.stop.check()
            yield item


def make_methods(config: ConfigDict) -> dict[str, tuple[Method, ConfigDict]]:
    """Name -> each method of a configuration, and the configuration that made it."""
    configs = method_configs(config)
    return {name: (make_method(own), own) for name, own in configs.items()}


def prepare(
    config: ConfigDict,
    root: str | Path,
    stop: Stop,
    *,
    free: tuple[str, ...] = (),
    opener: Callable[[ConfigDict], DataSource] | None = None,
) -> Job:
    """Lists and splits the images, and claims the workdir for this configuration.

    The job's configuration is `config` with what the methods and the images fix: the share of
    normals that calibrates, the length of an epoch, of a training that is given in epochs, the
    sides of images seen in their proportions, and a range that no file's type states. `config`
    itself stays as it is.

    Args:
        free: keys and sections in which the workdir may be of another configuration.
        opener: see `open_source`.

    Raises:
        UserError: no images, a split without normal images, a rule or a classifier that these
            images do not allow, images that fix no range or cannot be read, a workdir of another
            run.
    """
    config = with_share(config)
    config.data.region = settle_region(config.data.region)
    config.data.reference = settle_reference(config.data)
    source = open_source(config.data, opener, tile=config.tiling.tile)
    likeness = group_alike(source, config.data)
    splits = _split(config, source)
    if not _any_abnormal(source, splits):
        config = for_normals_alone(config)
        splits = _split(config, source)
    splits, left_out = leave_out_unreadable(source, splits, config.data, Path(root))
    config, source = _settle_sides(config, source, _normals(source, splits), opener)
    labels = np.array([source.records[i].label for i in splits["train"]], int)
    first, _ = next(iter(make_methods(config).values()))
    config = with_length(config, labels, pairs=first.trains_on_abnormal)
    config.data.value_range = settle_range(source, config.data, _normals(source, splits))
    job = Job(config, source, splits, Workdir(Path(root)), stop, left_out, likeness)
    # Before the workdir is claimed: it may then be used with the mend.
    records = [source.records[i] for i in splits[job.calibration_split]]
    check_calibration(config.decision, records, split=job.calibration_split)
    claim(root, config, free=free)
    keep_findings(source, splits, left_out, Path(root))
    return job


def _split(config: ConfigDict, source: DataSource) -> Splits:
    return make_splits(
        source.records,
        protocol=config.data.protocol,
        calibration=config.data.calibration,
        seed=config.seed,
        train_abnormal=learns_from_abnormal(config),
        cross_fitted=learns_in_one_pass(config),
    )


def _any_abnormal(source: DataSource, splits: Splits) -> bool:
    """Tells whether any abnormal image teaches or calibrates."""
    known = (name for name in splits if name != "test")
    return any(source.records[i].label for name in known for i in splits[name])


def _settle_sides(
    config: ConfigDict,
    source: DataSource,
    known: Int[np.ndarray, " n"],
    opener: Callable[[ConfigDict], DataSource] | None,
) -> tuple[ConfigDict, DataSource]:
    """The configuration that states the sides of images seen in proportion, and their source."""
    if config.data.resize != PROPORTIONS:
        return config, source
    values = config.to_dict()
    size = settle_sides(source, config.data, known, tile=config.tiling.tile)
    values["data"] |= {"image_size": size, "resize": "stretch"}
    settled = ConfigDict(values).lock()
    if size != config.data.image_size:
        records = source.records  # as they were grouped
        source = open_source(settled.data, opener, tile=config.tiling.tile)
        source.records = records
    return settled, source


def _normals(source: DataSource, splits: Splits) -> Int[np.ndarray, " n"]:
    """Normal images that train or calibrate, and judge nothing."""
    known = np.concatenate([splits["train"], splits.get("calibration", np.zeros(0, int))])
    return np.array([i for i in np.sort(known) if source.records[i].label == 0], int)


def with_length(config: ConfigDict, labels: Int[np.ndarray, " n"], *, pairs: bool) -> ConfigDict:
    """The configuration with the steps of an epoch, and of a training given in epochs.

    Args:
        labels: of the training images. pairs: whether the method learns from pairs.
    """
    config = ConfigDict(config.to_dict())
    config.lock()
    train = config.train
    images = epoch_images(labels, pairs=pairs, augment=config.data.augment)
    train.epoch_steps = max(1, -(-images // train.batch_size))
    if train.epochs:
        train.steps = -(-train.epochs * images // train.batch_size)
    return config


def count_classes(job: Job) -> dict[str, dict[str, int]]:
    """Split -> {"normal", "abnormal"}: how many images of each class it holds."""
    counts = {}
    for split in job.splits:
        labels = job.labels(split)
        counts[split] = {"normal": int((labels == 0).sum()), "abnormal": int((labels == 1).sum())}
    return counts
