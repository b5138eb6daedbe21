"""The report of a run, gathered from what was judged and from the files of its workdir."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int
from PIL import Image

from ad_core.data.batches import contents
from ad_core.data.source import DataSource, printable
from ad_core.decision import important_statistics
from ad_core.reporting.pictures import triptych
from ad_core.reporting.report import Example, Report, write_report
from ad_core.runtime.config import to_json
from ad_core.runtime.workdir import Workdir
from ad_core.scoring.detector import Detector
from ad_core.training.writers import read_metrics

SHOWN = 6  # examples of each kind
CURVES = (
    ("loss", "reconstruction"),
    ("quantisation",),
    ("adversarial", "discriminator"),
    ("codebook_use",),
)


class Judgement(NamedTuple):
    """Images of the split that judges: all of a length.

    indices: of the data source. scores: NaN where unreadable. inspected: by the deciding rule.
    """

    indices: Int[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]
    defects: tuple[str, ...]
    scores: Float64[np.ndarray, " n"]
    inspected: Bool[np.ndarray, " n"]


def build_report(
    workdir: Workdir,
    source: DataSource,
    detector: Detector,
    judgement: Judgement,
    results: Mapping[str, Any],
) -> None:
    """Writes WORKDIR/report/index.html."""
    parts = detector.parts
    abnormal, flagged = judgement.labels == 1, judgement.inspected

    def show(rows: Bool[np.ndarray, " n"], *, highest: bool) -> list[Example]:
        order = _ordered(judgement.scores, rows, highest=highest)[:SHOWN]
        return _examples(source, detector, judgement, order)

    report = Report(
        title=f"{parts.config.name}: normal or inspect",
        results=results,
        rule=parts.rule,
        labels=judgement.labels,
        scores=judgement.scores,
        inspected=judgement.inspected,
        defects=judgement.defects,
        misses=show(abnormal & ~flagged, highest=False),
        false_alarms=show(~abnormal & flagged, highest=True),
        hits=show(abnormal & flagged, highest=True),
        passed=show(~abnormal & ~flagged, highest=False),
        scale=parts.scale,
        importances=dict(important_statistics(parts.classifier, detector.names, parts.reference)),
        curves=_curves(workdir),
        samples=_samples(workdir.root / "samples"),
        config_json=to_json(parts.config),
    )
    write_report(workdir.report, report)


def _ordered(
    scores: Float64[np.ndarray, " n"], rows: Bool[np.ndarray, " n"], *, highest: bool
) -> Int[np.ndarray, "_"]:
    """The marked rows with a finite score, by it."""
    chosen = np.flatnonzero(rows & np.isfinite(scores))
    order = np.argsort(scores[chosen], kind="stable")
    return chosen[order[::-1] if highest else order]


def _examples(
    source: DataSource, detector: Detector, judgement: Judgement, rows: Int[np.ndarray, "_"]
) -> list[Example]:
    if not len(rows):
        return []
    indices = judgement.indices[rows]
    samples = [source.read(int(index)) for index in indices]
    images = np.stack([sample.image for sample in samples])
    drawn = detector.score(images, contents(source, samples))
    reasons = detector.explain(drawn.statistics)
    return [
        Example(
            path=printable(source.records[int(judgement.indices[row])].path),
            defect=judgement.defects[row],
            score=float(judgement.scores[row]),
            picture=triptych(
                image, drawn.reconstruction[k], drawn.anomaly_map[k], detector.parts.scale
            ),
            reasons=tuple(map(str, reasons[k])),
        )
        for k, (row, image) in enumerate(zip(rows, images, strict=True))
    ]


def _curves(workdir: Workdir) -> dict[str, tuple[list[float], list[float]]]:
    """The training metrics that CURVES names, where the method has them."""
    rows = read_metrics(workdir.root / "metrics.jsonl")
    names = [name for group in CURVES for name in group]
    curves = {}
    for name in names:
        points = [
            (float(row["step"]), float(row[name])) for row in rows if row.get(name) is not None
        ]
        if points:
            curves[name] = tuple(list(column) for column in zip(*points, strict=True))
    return curves


def _samples(folder: Path) -> list[tuple[str, Any]]:
    """The newest picture of reconstructions that the training wrote."""
    newest = sorted(folder.glob("*.png"))[-1:]
    return [
        (f"image above, reconstruction below, {path.stem.replace('_', ' ')}", _pixels(path))
        for path in newest
    ]


def _pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
