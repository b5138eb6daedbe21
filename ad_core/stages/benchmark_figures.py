"""Figures of finished cells: of the detector, single statistics, other columns and classifiers."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from ml_collections import ConfigDict

from ad_core.decision import fit_threshold, out_of_fold_scores
from ad_core.decision.calibration import calibrate, cross_fit, make_by
from ad_core.decision.classifiers.fitting import anomaly_score
from ad_core.decision.table import StatisticsTable, read_table, select
from ad_core.errors import UserError
from ad_core.metrics import confusion, oracle
from ad_core.reporting.comparison import DETECTOR, Measurement
from ad_core.runtime.config import from_json
from ad_core.runtime.sealed import write_json
from ad_core.runtime.workdir import Workdir
from ad_core.stages.benchmark_cells import MISS_RATE, Cell

Figures = dict[str, float | None]


def measure_cell(cell: Cell) -> Iterator[Measurement]:
    """The figures of a finished cell: its detector's, then those of its entrant's further rows.

    A statistic that the run has not measured, such as one that needs weights which were not given,
    has no figures; nor has a classifier whose library is not installed.
    """
    workdir = Workdir(cell.folder)
    results = json.loads(workdir.results.read_text("utf-8"))
    made = partial(Measurement, cell.set, cell.entrant.title)
    yield made(DETECTOR, cell.seed, of_detector(results))
    for heading, name in cell.entrant.scores.items():
        if (figures := of_statistic(workdir, name)) is not None:
            yield made(heading, cell.seed, figures)
    for heading, pattern in cell.entrant.without.items():
        yield made(heading, cell.seed, of_columns(workdir, pattern))
    for name in cell.entrant.classifiers:
        if (figures := of_classifier(workdir, name)) is not None:
            yield made(name, cell.seed, figures)


def of_detector(results: Mapping[str, Any]) -> Figures:
    """The figures of results.json that tables show."""
    pixel, timing = results["pixel"] or {}, results["timing"]
    figures: Figures = dict(results["oracle"] or {})
    for rule, prefix in (("zfn", "zfn"), ("miss_bound", "bound")):
        figures |= _held_out(results["held_out"].get(rule, {}), prefix)
    figures |= {"pixel_auroc": pixel.get("auroc"), "aupro": pixel.get("aupro")}
    peaks = [stage["peak_gb"] for stage in timing.values() if "peak_gb" in stage]
    return figures | {
        "minutes": sum(stage["seconds"] for stage in timing.values()) / 60,
        "peak_gb": max(peaks, default=None),
        "images_per_s": timing["evaluate"]["images_per_s"],
    }


def _held_out(of: Mapping[str, Any], prefix: str) -> Figures:
    """Shares of misses and false alarms; None for a rule that gave no threshold."""
    tpr, fpr = of.get("tpr"), of.get("fpr")
    missed = None if tpr is None else (of["fn"] / (of["fn"] + of["tp"]))
    return {f"{prefix}_missed": missed, f"{prefix}_alarms": fpr}


def of_statistic(workdir: Workdir, name: str) -> Figures | None:
    """Figures of one statistic as the score; thresholds from the images that calibrate.

    Of a pool, where the same images calibrate and judge, only the oracle's. None where the run has
    not measured it.
    """
    pool = workdir.statistics("pool")
    judging = _readable(pool if pool.exists() else workdir.statistics("test"))
    if name not in judging.names:
        return None
    scores = _column(judging, name)
    figures: Figures = dict(oracle(judging.label, scores))
    if pool.exists():
        return figures
    known = _readable(workdir.statistics("calibration"))
    for rule, prefix in (("zfn", "zfn"), ("miss_bound", "bound")):
        figures |= _by_rule(rule, prefix, (_column(known, name), known), (scores, judging))
    return figures


def _by_rule(
    rule: str,
    prefix: str,
    known: tuple[Float64[np.ndarray, " n"], StatisticsTable],
    judged: tuple[Float64[np.ndarray, " m"], StatisticsTable],
) -> Figures:
    (fitted, calibration), (scores, test) = known, judged
    try:
        threshold = fit_threshold(
            rule,
            fitted,
            calibration.label,
            split="calibration",
            groups=np.array(calibration.group),
            miss_rate=MISS_RATE,
        )
    except UserError:  # too few abnormal images for this bound: the table has a dash
        return _held_out({}, prefix)
    return _held_out(confusion(test.label, threshold.flags(scores)), prefix)


def of_classifier(workdir: Workdir, name: str) -> Figures | None:
    """Figures of another classifier on a pool, each image judged by folds that have not seen it.

    They are kept in the workdir. None where there is no pool, or the classifier cannot be made.
    """
    path = workdir.statistics("pool")
    if not path.exists():
        return None

    def judged(config: ConfigDict) -> Figures:
        return _out_of_fold(config, name, _readable(path))

    try:
        return _once(workdir, name, (path,), judged)
    except UserError as error:
        print(f"{workdir.root}: no figures of {name}: {error}")
        return None


def of_columns(workdir: Workdir, pattern: str) -> Figures:
    """Figures of the run's classifier without the columns of a pattern, as "deep_*" is one.

    It is calibrated anew, by the images that calibrated the run. They are kept in the workdir.

    Raises:
        UserError: no column is left.
    """
    pool = workdir.statistics("pool")
    if pool.exists():
        return _once(workdir, pattern, (pool,), partial(_pool_without, pool, pattern))
    paths = workdir.statistics("calibration"), workdir.statistics("test")
    return _once(workdir, pattern, paths, partial(_without, paths, pattern))


def _once(
    workdir: Workdir, name: str, paths: Sequence[Path], judged: Callable[[ConfigDict], Figures]
) -> Figures:
    """Figures by the run's configuration, computed once for the same tables and configuration."""
    words = re.sub(r"[^\w.-]", "_", name)
    kept = workdir.root / "classifiers" / f"{words}.json"
    content = [path.read_bytes() for path in (*paths, workdir.config)]
    of = hashlib.sha256(b"".join(content)).hexdigest()
    if kept.is_file() and (found := json.loads(kept.read_text("utf-8")))["of"] == of:
        return found["figures"]
    figures = judged(from_json(workdir.config.read_text("utf-8")))
    write_json(kept, {"of": of, "figures": figures})
    return figures


def _without(paths: tuple[Path, Path], pattern: str, config: ConfigDict) -> Figures:
    known, test = (_leaving_out(_readable(path), pattern) for path in paths)
    calibration = calibrate(known, config.decision, split="calibration", seed=config.seed)
    scores = anomaly_score(calibration.classifier, test.values)
    figures: Figures = dict(oracle(test.label, scores))
    for rule, prefix in (("zfn", "zfn"), ("miss_bound", "bound")):
        line = calibration.thresholds.get(rule)
        flags = None if line is None else line.flags(scores)
        figures |= _held_out({} if flags is None else confusion(test.label, flags), prefix)
    return figures


def _pool_without(path: Path, pattern: str, config: ConfigDict) -> Figures:
    pool = _leaving_out(_readable(path), pattern)
    found = cross_fit(pool, config.decision, seed=config.seed)
    held = confusion(pool.label, found.flags["zfn"])
    return {**oracle(pool.label, found.scores), **_held_out(held, "zfn")}


def _leaving_out(table: StatisticsTable, pattern: str) -> StatisticsTable:
    kept = [k for k, name in enumerate(table.names) if not fnmatchcase(name, pattern)]
    if not kept:
        raise UserError(f"Without the columns {pattern!r} none of {len(table.names)} is left.")
    names = tuple(table.names[k] for k in kept)
    return table._replace(names=names, values=table.values[:, kept])


def _out_of_fold(config: ConfigDict, name: str, pool: StatisticsTable) -> Figures:
    decision = ConfigDict(config.decision.to_dict())
    decision.classifier = name
    scores = out_of_fold_scores(
        lambda: make_by(decision, name, seed=config.seed, names=pool.names),
        pool.values,
        pool.label,
        np.array(pool.group),
        folds=decision.folds,
        seed=config.seed,
    )
    held = cross_fit(pool, decision, seed=config.seed).flags["zfn"]
    return {**oracle(pool.label, scores), **_held_out(confusion(pool.label, held), "zfn")}


def _readable(path: Path) -> StatisticsTable:
    table = read_table(path)
    return select(table, table.readable)


def _column(table: StatisticsTable, name: str) -> Float64[np.ndarray, " n"]:
    values: Float[np.ndarray, "n k"] = table.values
    return values[:, table.names.index(name)].astype(np.float64)
