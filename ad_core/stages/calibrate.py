"""The second stage: what the methods measure of calibration images becomes a decision."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from ad_core.backbones import Backbone, load_backbone
from ad_core.data.batches import Reading, teaching
from ad_core.decision.calibration import Calibration, calibrate
from ad_core.decision.left_out import LeftOut, make_entry, read_left_out, write_left_out
from ad_core.decision.table import StatisticsTable, read_table, write_table
from ad_core.errors import UserError
from ad_core.runtime.workdir import Workdir
from ad_core.scoring.companions import load_companions
from ad_core.scoring.detector import Parts
from ad_core.scoring.files import load_parts, save_detector
from ad_core.scoring.fusion import Fusion
from ad_core.scoring.localisation import MapScale
from ad_core.scoring.measuring import Knowledge, Measured, Measurer, Measuring, make_measurer
from ad_core.scoring.part import (
    Part,
    column_names,
    measure_parts,
    outdone,
    shown_maps,
    view_shapes,
)
from ad_core.scoring.profile import Profile
from ad_core.stages.backbones import FAMILY, recorded
from ad_core.stages.checks import check_views
from ad_core.stages.finished import forget_results
from ad_core.stages.folds import Folds, cross_fitting, fold_of_each, teachers
from ad_core.stages.job import Job
from ad_core.stages.measure import Turn, measure_split
from ad_core.stages.position import choose, judges
from ad_core.stages.shown import ShownMaps
from ad_core.stages.synthetic import SYNTHETIC, make_up, read_made_up
from ad_core.stages.timing import timed, versions
from ad_core.stages.train import Learnt, read_once
from ad_core.statistics import (
    Available,
    Context,
    WindowSettings,
    expand_each,
    learn_context,
    without_idle,
)
from ad_core.statistics.context import CODES_MAP
from ad_core.training.cross_fit import fit_parts
from ad_core.types import Batch, OnePass, View


def run_calibration(job: Job, learnt: tuple[Learnt, ...]) -> Calibration:
    """Measures the calibration split and writes its statistics and the detector."""
    own = _make_parts(job, learnt)
    methods = (*own, *load_companions(job.config))
    config, split = job.config, job.calibration_split
    measurer = measure_parts(methods, config.localisation, batch_size=config.score.batch_size)
    companions = (None,) * (len(methods) - len(own))
    turns = _turns(job, own, lambda known: measurer.relearnt([*known, *companions]))
    made_up = make_up(job, column_names(methods))
    gathered = ShownMaps()
    judging = judges(job.labels(split), job.splits[split], seed=config.seed)
    clipped: list[float] = []

    def keep_maps(reading: Reading, measured: Measured) -> None:
        indices = np.asarray(reading.batch.index).tolist()
        rows = zip(reading.samples, indices, measured.maps, strict=True)
        for sample, index, maps in rows:
            if sample is None:
                continue
            record = job.source.records[index]
            if record.label == 0:
                gathered.add_normal(sample, maps, group=record.group)
                clipped.append(sample.clipped)
            elif index in judging:
                gathered.add_marked(sample, maps)

    with timed(job.workdir, "calibrate", count=lambda: len(job.splits[split])):
        followed = turns if made_up is None else made_up.following(turns)
        table = measure_split(job, split, followed, column_names(methods), each=keep_maps)
        if made_up is not None:
            write_table(job.workdir.statistics(SYNTHETIC), made_up.table())
        write_table(job.workdir.statistics(split), table)
        quantile = config.localisation.level
        fusion, normal, marked = gathered.as_one(level_quantile=quantile)
        choice = choose(config.localisation.position, normal, marked, level_quantile=quantile)
        profile, scale = normal.fit(kind=choice.kind, level_quantile=quantile)
    log = read_left_out(job.workdir.left_out)
    kept = {"methods": methods, "scale": scale, "profile": profile, "clipped": max(clipped)}
    shown = " and ".join(shown_maps(methods, config.localisation.map))
    kept |= {"backbones": recorded(job.workdir, own), "maps": f"anomaly maps of {shown}: {choice}"}
    kept["fusion"] = fusion
    return _decide(job, table, left_out=log, **kept)


def recalibrate(job: Job, *, leave_out: str = "", who: str = "", why: str = "") -> Calibration:
    """Renews classifier and thresholds, from the statistics and networks that the workdir holds.

    Args:
        leave_out: an image that takes no part in this and every later calibration of the workdir;
            logged with `who` and `why` once the others have given a detector.

    Raises:
        UserError: the workdir was not calibrated before, or `make_entry` refuses to leave it out.
    """
    table = read_table(job.workdir.statistics(job.calibration_split))
    parts = load_parts(job.workdir.detector)
    log = read_left_out(job.workdir.left_out)
    if leave_out:
        log = (*log, make_entry(log, table, leave_out, who=who, why=why))
    names = ("methods", "scale", "profile", "fusion", "clipped", "backbones")
    kept = {name: getattr(parts, name) for name in names}
    return _decide(job, table, left_out=log, maps=(parts.facts or {}).get("maps", ""), **kept)


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
    job: Job,
    table: StatisticsTable,
    *,
    left_out: tuple[LeftOut, ...],
    methods: tuple[Part, ...],
    scale: MapScale,
    profile: Profile | None,
    fusion: Fusion | None,
    maps: str,
    clipped: float,
    backbones: Mapping[str, Mapping[str, str]],
) -> Calibration:
    config, split = job.config, job.calibration_split
    calibration = calibrate(
        table,
        config.decision,
        split=split,
        seed=config.seed,
        left_out=left_out,
        synthetic=read_made_up(job),
    )
    calibration = calibration._replace(facts=calibration.facts | {"maps": maps})
    if left_out:
        write_left_out(job.workdir.left_out, left_out)
    normal = table.readable & (table.label == 0)
    parts = Parts(
        config=config,
        methods=methods,
        classifier=calibration.classifier,
        thresholds=calibration.thresholds,
        rule=calibration.rule,
        scale=scale,
        reference=table.values[normal],
        review=config.decision.review,
        selection=calibration.selection and calibration.selection.to_dict(),
        clipped=clipped,
        facts=calibration.facts,
        backbones=backbones,
        groups=np.unique(np.array(table.group)[normal], return_inverse=True)[1],
        profile=profile,
        fusion=fusion,
    )
    forget_results(job.workdir)
    save_detector(job.workdir.detector, parts, versions=versions())
    return calibration


def _turns(
    job: Job, parts: tuple[Part, ...], relearnt: Callable[[Sequence[Knowledge | None]], Measurer]
) -> Iterator[Turn]:
    """Images that calibrate, each with states that have learnt neither it nor its group.

    Of a method that no image of its group has taught that is the final state, which judges later.
    """
    indices = job.splits[job.calibration_split]
    crossed = [cross_fitting(job, part.make()) for part in parts]
    nobody = np.zeros(len(indices), bool)
    held_out = np.stack([nobody if one is None else one.held_out for one in crossed], axis=1)
    final = ~held_out.any(axis=1)
    if final.any():
        yield Turn(indices[final], relearnt([None] * len(parts)))
    folds = np.zeros(len(indices), int) if final.all() else fold_of_each(job)
    knowledge = [_fold_knowledge(job, *pair) for pair in zip(parts, crossed, strict=True)]
    for fold in range(0 if final.all() else folds.max() + 1):
        known = [next(one) for one in knowledge]
        for kind in np.unique(held_out[(folds == fold) & ~final], axis=0):
            rows = (folds == fold) & (held_out == kind[None]).all(axis=1)
            own = [one if held else None for one, held in zip(known, kind, strict=True)]
            yield Turn(indices[rows], relearnt(own))


def _fold_knowledge(job: Job, part: Part, folds: Folds | None) -> Iterator[Knowledge | None]:
    """What a method knows without each of the finest folds in turn; None for ever without folds.

    It is without the whole fold of the method that such a fold is part of.
    """
    if folds is None:
        yield from itertools.repeat(None)
        return
    method, (count, _) = part.make(), folds.parts.shape
    assert isinstance(method.learn, OnePass)

    def batches() -> Iterator[Batch]:
        return read_once(
            job, folds.learnt, label=f"learn {part.name} without each of {count} folds"
        )

    states = fit_parts(method.learn, batches, folds.parts, seed=part.config.seed)
    for state, taught, span in zip(states, folds.parts, folds.spans, strict=True):
        one = Learnt(part.name, method, part.config, state)
        context = _learn_context(job, one, folds.learnt[taught], part.context.backbone)
        known = jax.tree.map(jnp.asarray, (state, without_idle(context, part.statistics)))
        yield from itertools.repeat(known, int(span))


def _make_parts(job: Job, learnt: tuple[Learnt, ...]) -> tuple[Part, ...]:
    """Each method with what its statistics know of normals, and the statistics that it gives."""
    views = {one.name: view_shapes(one.method, one.config, one.state) for one in learnt}
    check_views(job.config, views, load_companions(job.config))
    backbone = _backbone(job.config)
    contexts = {
        one.name: _learn_context(job, one, teachers(job, one.method), backbone) for one in learnt
    }
    worse = outdone({one.name: one.method.localises for one in learnt})
    given = {
        name: Available.of(views[name], contexts[name])._replace(outdone=name in worse)
        for name in views
    }
    chosen = expand_each(tuple(job.config.statistics.names), given)
    contexts = {name: without_idle(contexts[name], chosen[name]) for name in chosen}
    return tuple(
        Part(one.name, one.config, one.state, contexts[one.name], chosen[one.name])
        for one in learnt
    )


def _learn_context(
    job: Job, learnt: Learnt, taught: Int[np.ndarray, " n"], backbone: Backbone | None
) -> Context:
    """Context of the statistics, learnt from the normals among the images that taught the method.

    Of views without a normal version and without codes there is nothing to learn.
    """
    config, shapes = job.config, view_shapes(learnt.method, learnt.config, learnt.state)
    if shapes.image is None and CODES_MAP not in shapes.maps:
        return Context(backbone=backbone)
    measuring = Measuring(
        learnt.method, (learnt.state, None), (), WindowSettings(**config.statistics.windows)
    )
    measurer = make_measurer([measuring], batch_size=config.score.batch_size)
    normals = np.array([i for i in taught if job.source.records[i].label == 0])

    def pairs() -> Iterator[tuple[np.ndarray, View, np.ndarray]]:
        for reading in job.read(normals, measurer.batch_size):
            batch = teaching(reading)
            view = jax.device_get(measurer.view(np.asarray(batch.image), batch.content))
            yield np.asarray(batch.image), view, np.asarray(batch.valid)

    return learn_context(pairs())._replace(backbone=backbone)


def _backbone(config: ConfigDict) -> Backbone | None:
    spec = config.statistics.backbone
    return load_backbone(spec, family=FAMILY) if spec else None
