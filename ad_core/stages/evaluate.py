"""The last stage: the figures of a detector on images that decided nothing, and the report."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from ad_core.data.batches import Reading
from ad_core.data.source import printable
from ad_core.decision.calibration import cross_fit, fit_thresholds, rules_of
from ad_core.decision.facts import by_defect
from ad_core.decision.left_out import read_left_out
from ad_core.decision.table import (
    StatisticsTable,
    make_table,
    read_table,
    select,
    write_table,
)
from ad_core.errors import UserError
from ad_core.metrics import confusion, oracle
from ad_core.reporting.build import build_report
from ad_core.reporting.gallery import Gallery
from ad_core.reporting.panels import SIDE, Looked, draw, picture_of
from ad_core.reporting.results import (
    group_counts,
    held_out,
    judged_price,
    operation,
    review,
    write_results,
)
from ad_core.scoring import load_detector
from ad_core.scoring.detector import INSPECT, Detector
from ad_core.scoring.drift import drawn_places
from ad_core.scoring.measuring import Measured
from ad_core.scoring.tiling import least_region
from ad_core.scoring.verdict import Seen, judge
from ad_core.stages.folds import count_learnt
from ad_core.stages.job import Job, count_classes, make_methods
from ad_core.stages.measure import Turn, measure_split
from ad_core.stages.pixels import Pixels
from ad_core.stages.synthetic import read_made_up
from ad_core.stages.timing import read_timing, timed, versions
from ad_core.types import Sample

Flags = dict[str, Bool[np.ndarray, " n"]]


class Judged(NamedTuple):
    """Images of the split that judges, in its order.

    split: "" where no image judges. scores: NaN where an image could not be read. flags: rule ->
    to be inspected. pixels: what the figures of localisation are taken of. gallery: what the report
    shows. beyond: clipped beyond the normals, and so inspected; None where flags tell all.
    """

    split: str
    table: StatisticsTable
    scores: Float64[np.ndarray, " n"]
    flags: Flags
    pixels: Pixels
    gallery: Gallery
    beyond: Bool[np.ndarray, " n"] | None = None

    @property
    def deciding(self) -> Float64[np.ndarray, " n"]:
        """The scores, NaN for what is inspected whatever its score."""
        return self.scores if self.beyond is None else np.where(self.beyond, np.nan, self.scores)


class Passed(NamedTuple):
    """A batch of the split that judges, as it passes by: the images of it that were read.

    rows: their places in the split. samples, measured: of each.
    """

    rows: list[int]
    samples: list[Sample]
    measured: Measured


def run_evaluation(job: Job) -> dict[str, Any]:
    """Judges the workdir's detector, writes results.json and the report; returns the results.

    Under `folders` and `cyclegan_ad` the test split judges. Under `vqganodip` each image of the
    pool is judged by a classifier and thresholds that have not seen it; the detector itself,
    fitted on the whole pool, is judged by nothing. Without test images the results hold what
    calibration knows.

    Raises:
        UserError: the workdir has no detector yet.
    """
    detector = load_detector(job.workdir.detector, batch_size=job.config.score.batch_size)
    with timed(job.workdir, "evaluate", count=lambda: len(job.splits[job.judging_split])):
        judged = _judge(job, detector)
    results = make_results(job, detector, judged)
    write_results(job.workdir.results, results)
    methods = make_methods(job.config)
    build_report(
        job.workdir,
        detector,
        judged.table,
        scores=judged.scores,
        inspected=judged.flags[detector.parts.rule],
        gallery=judged.gallery,
        curves={name: method.curves for name, (method, _) in methods.items()},
        results=results,
        pictures=_lowest_pictures(job, results),
    )
    return results


def _lowest_pictures(job: Job, results: Mapping[str, Any]) -> dict[str, UInt8[np.ndarray, "_ _ 3"]]:
    """Path -> picture of each abnormal image that set the price, where its file can be shown."""
    names, pictures = {one["path"] for one in results["lowest"]}, {}
    for index, record in enumerate(job.source.records):
        if (path := printable(record.path)) in names:
            with suppress(UserError):  # its file is gone since it calibrated
                pictures[path] = picture_of(job.source, index, SIDE)
    return pictures


def _judge(job: Job, detector: Detector) -> Judged:
    split = job.judging_split
    if not len(job.splits[split]):
        return _judge_nothing(detector)
    return _judge_pool(job, detector) if split == "pool" else _judge_test(job, detector)


def _judge_nothing(detector: Detector) -> Judged:
    """No image at all, where none is left to judge."""
    table = make_table([], detector.names, np.zeros((0, len(detector.names)), np.float32), [])
    none = {rule: np.zeros(0, bool) for rule in detector.parts.thresholds}
    return Judged("", table, np.zeros(0), none, Pixels(), Gallery())


def _judge_test(job: Job, detector: Detector) -> Judged:
    """The test split, each image judged as it passes by, as a user's would be."""
    scores = np.full(len(job.splits["test"]), np.nan)
    beyond = np.zeros(len(scores), bool)
    paths = [job.source.records[i].path for i in job.splits["test"]]
    pixels, gallery = Pixels(), Gallery()

    def each(passed: Passed) -> None:
        seen = [
            Seen(paths[row], sample.placement, clipped=sample.clipped)
            for row, sample in zip(passed.rows, passed.samples, strict=True)
        ]
        verdicts = judge(detector, seen, passed.measured, explain=False)
        beyond[passed.rows] = [sample.clipped > detector.clipped for sample in passed.samples]
        scores[passed.rows] = [np.nan if v.score is None else v.score for v in verdicts]
        inspected = np.array([verdict.decision == INSPECT for verdict in verdicts], bool)
        _keep(job, detector, passed, scores[passed.rows], inspected, pixels, gallery)

    table = _look(job, detector, "test", each)
    write_table(job.workdir.statistics("test"), table)
    # As the detector decides: what is clipped beyond the normals is inspected by every rule.
    flags = {rule: beyond | t.flags(scores) for rule, t in detector.parts.thresholds.items()}
    return Judged("test", table, scores, flags, pixels, gallery, beyond)


def _judge_pool(job: Job, detector: Detector) -> Judged:
    """The pool, each image judged by folds that have not seen it, from what calibrated."""
    scores, flags = judge_folds(job, read_table(job.workdir.statistics("pool")))
    inspected = flags[detector.parts.rule]
    pixels, gallery = Pixels(), Gallery()

    def each(passed: Passed) -> None:
        rows = passed.rows
        _keep(job, detector, passed, scores[rows], inspected[rows], pixels, gallery)

    table = _look(job, detector, "pool", each)
    return Judged("pool", table, scores, flags, pixels, gallery)


def judge_folds(job: Job, table: StatisticsTable) -> tuple[Float64[np.ndarray, " n"], Flags]:
    """Scores and flags of a pool by `cross_fit`; what could not be read is inspected."""
    count, readable = len(table.path), table.readable
    fitted = cross_fit(
        select(table, readable),
        job.config.decision,
        seed=job.config.seed,
        left_out=read_left_out(job.workdir.left_out),
    )
    scores = np.full(count, np.nan)
    scores[readable] = fitted.scores
    flags = {rule: np.ones(count, bool) for rule in fitted.flags}
    for rule, flagged in fitted.flags.items():
        flags[rule][readable] = flagged
    return scores, flags


def _look(
    job: Job, detector: Detector, split: str, each: Callable[[Passed], None]
) -> StatisticsTable:
    """Measures a split and shows every batch to `each`."""
    row_of = {int(index): row for row, index in enumerate(job.splits[split])}

    def show(reading: Reading, measured: Measured) -> None:
        places = [place for place, sample in enumerate(reading.samples) if sample is not None]
        rows = [row_of[int(reading.batch.index[place])] for place in places]
        samples = [sample for sample in reading.samples if sample is not None]
        each(Passed(rows, samples, measured.rows(places)))

    turns = [Turn(job.splits[split], detector.measurer)]
    return measure_split(job, split, turns, detector.names, each=show)


def _keep(
    job: Job,
    detector: Detector,
    passed: Passed,
    scores: Float64[np.ndarray, " n"],
    inspected: Bool[np.ndarray, " n"],
    pixels: Pixels,
    gallery: Gallery,
) -> None:
    """Gives pixel figures and gallery what they need of images that have been judged."""
    measured, scale = passed.measured, detector.parts.scale
    for place, (row, sample) in enumerate(zip(passed.rows, passed.samples, strict=True)):
        index = int(job.splits[job.judging_split][row])
        record = job.source.records[index]
        anomaly = measured.anomaly_map[place]
        drawn = None if measured.drawn is None else measured.drawn[place]
        abnormal = record.label == 1
        pixels.add(sample, anomaly, abnormal=abnormal, has_mask=record.has_mask)
        gallery.offer(
            row,
            score=float(scores[place]),
            abnormal=abnormal,
            inspected=bool(inspected[place]),
            draw=partial(
                draw,
                job.source,
                index,
                Looked(sample, drawn, anomaly),
                scale=scale,
                min_area=least_region(job.config),
                inspected=bool(inspected[place]),
            ),
        )


def make_results(job: Job, detector: Detector, judged: Judged) -> dict[str, Any]:
    """results.json: `oracle` repeats the poster's definitions, `held_out` is what a user gets."""
    labels, finite = judged.table.label, np.isfinite(judged.scores)
    both = len(set(labels[finite].tolist())) == 2
    counts: dict[str, Any] = dict(count_classes(job))
    counts["unreadable"] = int((~judged.table.readable).sum())
    counts["left_out"] = len(job.left_out)
    counts["unreadable_masks"] = judged.pixels.unreadable
    counts["full_masks"] = judged.pixels.full
    methods = {name: method for name, (method, _) in make_methods(job.config).items()}
    facts = detector.parts.facts or {}
    return {
        "name": job.config.name,
        "method": job.config.method,
        "protocol": job.config.data.protocol,
        "seed": job.config.seed,
        "judged_on": judged.split or None,
        "rule": detector.parts.rule,
        "rule_reason": facts.get("reason", ""),
        "oracle": oracle(labels[finite], judged.scores[finite]) if both else None,
        "held_out": _held_out(job, detector, judged),
        "review": _review(job, detector, judged),
        "price": _price(detector, judged),
        "defects": _defects(detector, judged),
        "drift": _drift(detector, judged),
        "lowest": facts.get("lowest", []),
        "left_out": facts.get("left_out", []),
        "selection": detector.parts.selection,
        "synthetic": facts.get("synthetic"),
        "pixel": judged.pixels.figures(),
        "counts": counts,
        "learning": count_learnt(job, methods),
        "grouping": job.likeness.to_dict(),
        "backbones": detector.parts.backbones,
        "timing": read_timing(job.workdir),
        "versions": versions(),
    }


def _held_out(job: Job, detector: Detector, judged: Judged) -> dict[str, Any]:
    """Figures of each rule: counts on the judging split, the guarantee from calibration alone."""
    known = detector.parts.thresholds
    names = rules_of(job.config.decision, detector.parts.rule)
    rules = {rule: known.get(rule) or _reason(job, rule) for rule in names}
    figures = held_out(judged.table.label, judged.scores, rules)
    for rule, flagged in judged.flags.items():
        # In a pool each fold has a threshold of its own: the flags decide, not the detector's.
        figures[rule] |= confusion(judged.table.label, flagged)
        counts = group_counts(judged.table.label, flagged, np.array(judged.table.group))
        figures[rule]["groups"] = counts
    prevalence = job.config.decision.prevalence
    for of in figures.values():
        for counted in filter(None, (of, of.get("groups"))):
            if "refused" not in counted:
                counted["operation"] = operation(counted, prevalence=prevalence)
    return figures


def _price(detector: Detector, judged: Judged) -> list[dict[str, Any]]:
    """Price of each bound, from calibration; judged on the test split where there is one."""
    offers = (detector.parts.facts or {}).get("price", [])
    test = (judged.deciding, judged.table.label) if judged.split == "test" else None
    return judged_price(offers, test)


def _defects(detector: Detector, judged: Judged) -> dict[str, Any]:
    """Figures of each type of defect, by the deciding rule, on calibration and test."""
    calibration = (detector.parts.facts or {}).get("defects", {})
    if judged.split != "test":
        return {"calibration": calibration}
    found = by_defect(judged.table, judged.deciding, detector.threshold)
    return {"calibration": calibration, "test": found}


def _drift(detector: Detector, judged: Judged) -> dict[str, Any] | None:
    """Comparison of the test split's normal images with those that calibrated, by their labels.

    None where no test split judges, or it holds no normal image.
    """
    normal = np.flatnonzero(judged.table.readable & (judged.table.label == 0))
    if judged.split != "test" or not len(normal):
        return None
    normal = normal[drawn_places(len(normal))]
    groups = np.array(judged.table.group)[normal]
    found = detector.drift(judged.table.values[normal], groups)
    lot = "the test split, by its normal images,"
    return {**found.to_dict(), "statement": found.told(lot, shown=1)}


def _review(job: Job, detector: Detector, judged: Judged) -> dict[str, Any] | None:
    """Images left to a person, where the configuration names a rule of review; else None."""
    rule = job.config.decision.review
    if not rule:
        return None
    lower, upper = judged.flags[detector.parts.rule], judged.flags[rule]
    return review(judged.table.label, lower, upper, rule=rule)


def _reason(job: Job, rule: str) -> str:
    """Reason why calibration gave no threshold for `rule`."""
    table = read_table(job.workdir.statistics(job.calibration_split))
    table, made_up = select(table, table.readable), read_made_up(job)
    _, refused = fit_thresholds(
        np.zeros(len(table.label)),
        table.label,
        job.config.decision,
        split=job.calibration_split,
        groups=np.array(table.group),
        synthetic=None if made_up is None else np.zeros(len(made_up.path)),
    )
    return refused[rule]
