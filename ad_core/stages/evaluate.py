"""The figures of a detector on images that decided nothing, and the report that shows them."""

import math
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from ad_core.data.formats.resizing import to_file
from ad_core.decision.calibration import cross_fit, fit_thresholds, rules_of
from ad_core.decision.table import StatisticsTable, read_table, select, write_table
from ad_core.metrics import aupro, auroc, average_precision, confusion, oracle
from ad_core.reporting.build import Judgement, build_report
from ad_core.reporting.results import held_out, operation, review, write_results
from ad_core.scoring.detector import Detector, load_detector
from ad_core.scoring.measuring import Measured
from ad_core.stages.job import Job, count_classes, measure_split, read_timing, timed, versions
from ad_core.types import Placement, Sample

PIXELS = 2**26  # that pixel figures are taken of, at most about 1 GB


class Truth(NamedTuple):
    """Where an image is said to be abnormal, kept small until all images were read.

    bits: of the mask in the file's pixels, compressed; None without one that can be read.
    """

    placement: Placement
    bits: bytes | None

    @classmethod
    def of(cls, sample: Sample) -> "Truth":
        """What pixel figures need of a sample."""
        mask = sample.mask
        bits = None if mask is None else zlib.compress(np.packbits(mask).tobytes(), level=1)
        return cls(sample.placement, bits)

    def mask(self) -> Bool[np.ndarray, "h w"]:
        """The mask; there must be one."""
        assert self.bits is not None
        height, width = self.placement.height, self.placement.width
        packed = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        return np.unpackbits(packed, count=height * width).reshape(height, width).astype(bool)


class Judged(NamedTuple):
    """Images of the split that judges, in its order.

    scores: NaN where an image could not be read. flags: rule -> to be inspected.
    maps: anomaly map of each image, NaN where it could not be read. truths: by index, of each
    image that was read.
    """

    split: str
    table: StatisticsTable
    scores: Float64[np.ndarray, " n"]
    flags: dict[str, Bool[np.ndarray, " n"]]
    maps: Float[np.ndarray, "n h w"]
    truths: Mapping[int, Truth]


def run_evaluation(job: Job) -> dict[str, Any]:
    """Judges the workdir's detector, writes results.json and the report; returns the results.

    Under `folders` and `cyclegan_ad` the test split judges. Under `vqganodip` each image of the
    pool is judged by a classifier and thresholds that have not seen it; the detector itself,
    fitted on the whole pool, is judged by nothing.

    Raises:
        UserError: the workdir has no detector yet.
    """
    detector = load_detector(job.workdir.detector, batch_size=job.config.score.batch_size)
    judged = _judge(job, detector)
    results = make_results(job, detector, judged)
    write_results(job.workdir.results, results)
    judgement = Judgement(
        indices=job.splits[judged.split],
        labels=judged.table.label,
        defects=judged.table.defect,
        scores=judged.scores,
        inspected=judged.flags[job.config.decision.rule],
    )
    build_report(job.workdir, job.source, detector, judgement, results)
    return results


def _judge(job: Job, detector: Detector) -> Judged:
    split = "pool" if "pool" in job.splits else "test"
    indices = job.splits[split]
    h, w, _ = detector.image_shape
    maps = np.full((len(indices), h, w), np.nan, np.float32)
    row_of = {int(index): row for row, index in enumerate(indices)}
    truths: dict[int, Truth] = {}

    def keep(found: Int[np.ndarray, "_"], measured: Measured, samples: list[Sample]) -> None:
        maps[[row_of[int(index)] for index in found]] = measured.anomaly_map
        truths.update(zip(found.tolist(), map(Truth.of, samples), strict=True))

    with timed(job.workdir, "evaluate", count=lambda: len(indices)):
        table = measure_split(job, split, detector.measurer, detector.names, each=keep)
    scores = np.full(len(indices), np.nan)
    readable = table.readable
    if split == "pool":
        fitted = cross_fit(select(table, readable), job.config.decision, seed=job.config.seed)
        scores[readable] = fitted.scores
        flags = {rule: np.ones(len(indices), bool) for rule in fitted.flags}
        for rule, flagged in fitted.flags.items():
            flags[rule][readable] = flagged
    else:
        write_table(job.workdir.statistics(split), table)
        scores = detector.score_statistics(table.values)
        flags = {rule: t.flags(scores) for rule, t in detector.parts.thresholds.items()}
    return Judged(split, table, scores, flags, maps, truths)


def make_results(job: Job, detector: Detector, judged: Judged) -> dict[str, Any]:
    """results.json: `oracle` repeats the poster's definitions, `held_out` is what a user gets."""
    labels, finite = judged.table.label, np.isfinite(judged.scores)
    both = len(set(labels[finite].tolist())) == 2
    counts: dict[str, Any] = dict(count_classes(job))
    counts["unreadable"] = int((~judged.table.readable).sum())
    counts["unreadable_masks"] = sum(
        truth.bits is None and job.source.records[index].has_mask
        for index, truth in judged.truths.items()
    )
    return {
        "name": job.config.name,
        "method": job.config.method,
        "protocol": job.config.data.protocol,
        "seed": job.config.seed,
        "judged_on": judged.split,
        "rule": job.config.decision.rule,
        "oracle": oracle(labels[finite], judged.scores[finite]) if both else None,
        "held_out": _held_out(job, detector, judged),
        "review": _review(job, judged),
        "selection": detector.parts.selection,
        "pixel": pixel_figures(job, judged),
        "counts": counts,
        "timing": read_timing(job.workdir),
        "versions": versions(),
    }


def _held_out(job: Job, detector: Detector, judged: Judged) -> dict[str, Any]:
    """By rule: counts on the judging split, and the guarantee from calibration alone."""
    known = detector.parts.thresholds
    rules = {rule: known.get(rule) or _reason(job, rule) for rule in rules_of(job.config.decision)}
    figures = held_out(judged.table.label, judged.scores, rules)
    for rule, flagged in judged.flags.items():
        # In a pool each fold has a threshold of its own: the flags decide, not the detector's.
        figures[rule] |= confusion(judged.table.label, flagged)
    for of in figures.values():
        if "refused" not in of:
            of["operation"] = operation(of, prevalence=job.config.decision.prevalence)
    return figures


def _review(job: Job, judged: Judged) -> dict[str, Any] | None:
    """What a person would look at, where the configuration names a rule of review."""
    rule = job.config.decision.review
    if not rule:
        return None
    lower, upper = judged.flags[job.config.decision.rule], judged.flags[rule]
    return review(judged.table.label, lower, upper, rule=rule)


def _reason(job: Job, rule: str) -> str:
    """Why calibration gave no threshold for `rule`."""
    table = read_table(job.workdir.statistics(job.calibration_split))
    labels = table.label[table.readable]
    _, refused = fit_thresholds(
        np.zeros(len(labels)), labels, job.config.decision, split=job.calibration_split
    )
    return refused[rule]


def pixel_figures(job: Job, judged: Judged) -> Mapping[str, float | None] | None:
    """AUROC, AUPRO (FPR <= 0.3) and AP of the maps, where masks exist, in the files' pixels.

    Images without a pixel label, and unreadable ones, are left out, and `counts` tells how many.
    None if no abnormal pixel is labelled. What a centre crop does not show counts as least
    abnormal. Of more than PIXELS in all only every `stride`th row and column is judged.
    """
    indices = job.splits[judged.split].tolist()
    truths = {r: judged.truths[i] for r, i in enumerate(indices) if i in judged.truths}
    truths = {row: truth for row, truth in truths.items() if truth.bits is not None}
    rows = list(truths)
    if not judged.table.label[rows].any():
        return None
    maps = judged.maps[rows]
    lowest = float(maps.min())
    pixels = sum(truth.placement.width * truth.placement.height for truth in truths.values())
    stride = math.ceil(math.sqrt(max(1.0, pixels / PIXELS)))
    masks, found = [], []
    for truth, anomaly in zip(truths.values(), maps, strict=True):
        full = to_file(anomaly, truth.placement, unseen=lowest)
        masks.append(truth.mask()[::stride, ::stride])
        found.append(full[::stride, ::stride])
    labels, values = (np.concatenate([x.ravel() for x in part]) for part in (masks, found))
    return {
        "auroc": auroc(labels, values),
        "aupro": aupro(masks, found),
        "ap": average_precision(labels, values),
        "images": len(rows),
        "stride": stride,
    }
