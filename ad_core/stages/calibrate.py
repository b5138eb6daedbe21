"""The second stage: what the methods measure of calibration images becomes a decision."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.tree_util import Partial
from ml_collections import ConfigDict

from ad_core.backbones import load_backbone, pooled
from ad_core.data.batches import Reading
from ad_core.decision.calibration import Calibration, calibrate
from ad_core.decision.left_out import LeftOut, leave_out, read_left_out
from ad_core.decision.table import StatisticsTable, read_table, write_table
from ad_core.errors import UserError
from ad_core.runtime.workdir import Workdir
from ad_core.scoring.companions import load_companions
from ad_core.scoring.detector import Parts
from ad_core.scoring.files import load_parts, save_detector
from ad_core.scoring.localisation import MapScale, fit_scale
from ad_core.scoring.measuring import Measured, make_measurer
from ad_core.scoring.part import Part, column_names, measure_parts, view_shapes
from ad_core.stages.checks import check_views
from ad_core.stages.job import Job
from ad_core.stages.measure import measure_split
from ad_core.stages.timing import timed, versions
from ad_core.stages.train import Learnt
from ad_core.statistics import Available, Context, WindowSettings, expand_each, learn_context
from ad_core.types import View


def run_calibration(job: Job, learnt: tuple[Learnt, ...]) -> Calibration:
    """Measures the calibration split and writes its statistics and the detector."""
    methods = (*_make_parts(job, learnt), *load_companions(job.config))
    config, split = job.config, job.calibration_split
    measurer = measure_parts(methods, config.localisation, batch_size=config.score.batch_size)
    normal_maps: list[np.ndarray] = []

    def keep_normal_maps(reading: Reading, measured: Measured) -> None:
        normal = np.asarray(reading.batch.valid) & (np.asarray(reading.batch.label) == 0)
        if normal.any():
            normal_maps.append(measured.anomaly_map[normal])

    with timed(job.workdir, "calibrate", count=lambda: len(job.splits[split])):
        table = measure_split(job, split, measurer, column_names(methods), each=keep_normal_maps)
        write_table(job.workdir.statistics(split), table)
        scale = fit_scale(normal_maps, level_quantile=config.localisation.level)
    return _decide(job, table, methods=methods, scale=scale)


def recalibrate(job: Job) -> Calibration:
    """Renews classifier and thresholds, from the statistics and networks that the workdir holds.

    Raises:
        UserError: the workdir was not calibrated before.
    """
    table = read_table(job.workdir.statistics(job.calibration_split))
    parts = load_parts(job.workdir.detector)
    return _decide(job, table, methods=parts.methods, scale=parts.scale)


def log_left_out(job: Job, image: str, *, who: str, why: str) -> None:
    """Leaves an image out of this and every later calibration of the workdir, with who and why.

    Raises:
        UserError: the image does not calibrate, or something is missing; see `leave_out`.
    """
    table = read_table(job.workdir.statistics(job.calibration_split))
    leave_out(job.workdir.left_out, table, image, who=who, why=why)


def review_lowest(root: Path) -> tuple[list[dict[str, Any]], list[LeftOut]]:
    """The abnormal images with the lowest scores, and the images left out before.

    Raises:
        UserError: the workdir holds no detector, or one that was calibrated by an earlier version.
    """
    facts = load_parts(Workdir(root).detector).facts
    if facts is None:
        raise UserError(
            f"The detector of `--workdir` (={root}) does not name its lowest scores; calibrate "
            "again without --review first."
        )
    return facts["lowest"], [LeftOut(**entry) for entry in facts["left_out"]]


def _decide(
    job: Job, table: StatisticsTable, *, methods: tuple[Part, ...], scale: MapScale
) -> Calibration:
    config, split = job.config, job.calibration_split
    calibration = calibrate(
        table,
        config.decision,
        split=split,
        seed=config.seed,
        left_out=read_left_out(job.workdir.left_out),
    )
    parts = Parts(
        config=config,
        methods=methods,
        classifier=calibration.classifier,
        thresholds=calibration.thresholds,
        rule=calibration.rule,
        scale=scale,
        reference=table.values[table.readable & (table.label == 0)],
        review=config.decision.review,
        selection=calibration.selection and calibration.selection.to_dict(),
        facts=calibration.facts,
    )
    save_detector(job.workdir.detector, parts, versions=versions())
    return calibration


def _make_parts(job: Job, learnt: tuple[Learnt, ...]) -> tuple[Part, ...]:
    """Each method with what its statistics know of normals, and the statistics that it gives."""
    views = {one.name: view_shapes(one.method, one.config, one.state) for one in learnt}
    check_views(job.config, views, load_companions(job.config))
    contexts = {one.name: _learn_context(job, one, views[one.name]) for one in learnt}
    given = {name: Available.of(views[name], contexts[name]) for name in views}
    chosen = expand_each(tuple(job.config.statistics.names), given)
    return tuple(
        Part(one.name, one.config, one.state, contexts[one.name], chosen[one.name])
        for one in learnt
    )


def _learn_context(job: Job, learnt: Learnt, shapes: View) -> Context:
    """Context of the statistics, learnt from the normal images that trained."""
    config = job.config
    measurer = make_measurer(
        learnt.method,
        jax.device_put(learnt.state),
        names=(),
        context=None,
        windows=WindowSettings(**config.statistics.windows),
        localise=None,
        batch_size=config.score.batch_size,
    )
    normals = job.splits["train"][job.labels("train") == 0]

    def pairs() -> Iterator[tuple[np.ndarray, View, np.ndarray]]:
        for reading in job.read(normals, measurer.batch_size):
            batch = reading.batch
            view = jax.device_get(measurer.view(np.asarray(batch.image), batch.content))
            yield np.asarray(batch.image), view, np.asarray(batch.valid)

    return learn_context(pairs())._replace(backbone=_backbone(config))


def _backbone(config: ConfigDict) -> Partial | None:
    spec = config.statistics.backbone
    return pooled(load_backbone(spec, family="inception")) if spec else None
