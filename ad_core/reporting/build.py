"""The report of a run, gathered from what was judged and from the files of its workdir."""

import shlex
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, UInt8
from PIL import Image

from ad_core.decision import important_statistics
from ad_core.decision.table import StatisticsTable
from ad_core.reporting.contents import Example, Report
from ad_core.reporting.gallery import HIGHEST, Gallery
from ad_core.reporting.promise import BOUND
from ad_core.reporting.report import write_report
from ad_core.runtime.config import to_json
from ad_core.runtime.invocation import script, shown
from ad_core.runtime.workdir import Workdir
from ad_core.scoring.detector import Detector
from ad_core.training.writers import read_metrics

Curves = Mapping[str, tuple[str, ...]]


def build_report(
    workdir: Workdir,
    detector: Detector,
    table: StatisticsTable,
    *,
    scores: Float64[np.ndarray, " n"],
    inspected: Bool[np.ndarray, " n"],
    gallery: Gallery,
    curves: Curves,
    results: Mapping[str, Any],
    pictures: Mapping[str, UInt8[np.ndarray, "_ _ 3"]],
) -> None:
    """Writes WORKDIR/report/index.html.

    Args:
        table: of the split that judges. scores: NaN where unreadable. inspected: by the
            deciding rule. gallery: what to show of it.
        curves: method -> its metrics that are worth showing.
        pictures: path -> picture of an image that results["lowest"] names.
    """
    parts = detector.parts
    examples: dict[str, Any] = {kind: _examples(detector, table, gallery, kind) for kind in HIGHEST}
    report = Report(
        title=f"{parts.config.name}: normal or inspect",
        results=results,
        rule=parts.rule,
        labels=table.label,
        scores=scores,
        inspected=inspected,
        defects=table.defect,
        scale=parts.scale,
        importances=dict(important_statistics(parts.classifier, detector.names, parts.reference)),
        curves=_curves(workdir, curves),
        samples=_samples(workdir, curves),
        pictures=pictures,
        command=_command(workdir),
        config_json=to_json(parts.config),
        **examples,
    )
    write_report(workdir.report, report)


def _command(workdir: Workdir) -> str:
    """Two commands: calibrate with another bound, and judge what came of it."""
    folder = f"--workdir={shlex.quote(shown(workdir.root))}"
    rule = f"--config.decision.miss_rate={BOUND} --config.decision.rule=miss_bound"
    return f"{script('calibrate')} {folder} {rule}\n{script('evaluate')} {folder}"


def _examples(
    detector: Detector, table: StatisticsTable, gallery: Gallery, kind: str
) -> list[Example]:
    kept = gallery.shown(kind)
    if not kept:
        return []
    inspected = np.full(len(kept), kind in ("false_alarms", "hits"))
    reasons = detector.explain(table.values[[one.row for one in kept]], inspected=inspected)
    return [
        Example(
            path=table.path[one.row],
            defect=table.defect[one.row] if table.label[one.row] else "normal",
            score=one.score,
            panels=one.drawn.panels,
            reasons=tuple(map(str, why)),
            places=one.drawn.places,
        )
        for one, why in zip(kept, reasons, strict=True)
    ]


def _trainings(workdir: Workdir, methods: Collection[str]) -> dict[str, Path]:
    """Folder of each method's training, by the method's name in captions."""
    several = len(methods) > 1
    return {
        f"{method}: " if several else "": workdir.training(method, several=several)
        for method in methods
    }


def _curves(workdir: Workdir, curves: Curves) -> dict[str, tuple[list[float], list[float]]]:
    """The training metrics that the methods find worth showing, where there are any."""
    found = {}
    trainings = _trainings(workdir, curves).items()
    for (prefix, folder), names in zip(trainings, curves.values(), strict=True):
        rows = read_metrics(folder / "metrics.jsonl")
        for name in names:
            points = [(float(r["step"]), float(r[name])) for r in rows if r.get(name) is not None]
            if points:
                found[prefix + name] = tuple(list(column) for column in zip(*points, strict=True))
    return found


def _samples(workdir: Workdir, methods: Collection[str]) -> list[tuple[str, Any]]:
    """The newest picture of normal versions that each training wrote."""
    return [
        (f"{prefix}image left, normal version right, {path.stem.replace('_', ' ')}", _pixels(path))
        for prefix, folder in _trainings(workdir, methods).items()
        for path in sorted((folder / "samples").glob("*.png"))[-1:]
    ]


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
