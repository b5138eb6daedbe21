"""The part of a report on abnormal images: each type of defect, and those that set the price."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from ad_core.decision.left_out import LeftOut
from ad_core.inspection.findings import plural
from ad_core.reporting.contents import Report, cut
from ad_core.reporting.page import Figure, Table
from ad_core.reporting.strips import Strip, strips_svg

MOST = 12  # types of defect that have a strip of their own in the figure


class Lowest(NamedTuple):
    """An abnormal calibration image that sets the price; no picture where none can be shown."""

    path: str
    defect: str
    score: float
    picture: UInt8[np.ndarray, "_ _ 3"] | None


def types(report: Report) -> dict[str, Any]:
    """Section on the types of defect: scores and misses of each."""
    if report.refused:
        return {}
    figure, table = _figure(report), _table(report)
    return {"figure": figure, "table": table} if figure or table else {}


def _figure(report: Report) -> Figure | None:
    """Scores of the images that judge, by type; the types with the most misses come first."""
    labels, inspected = np.asarray(report.labels), report.decisions()
    if not (labels == 1).any() or not report.defects:
        return None
    scores, defects = np.asarray(report.scores, np.float64), np.asarray(report.defects)
    strips = []
    if (labels == 0).any():
        normal = labels == 0
        words = f"normal: {(normal & inspected).sum()} of {normal.sum()} inspected in vain"
        strips.append(Strip(words, scores[normal], ~inspected[normal], abnormal=False))
    kinds = {str(name): (labels == 1) & (defects == name) for name in np.unique(defects)}
    missed = {name: int((kind & ~inspected).sum()) for name, kind in kinds.items() if kind.any()}
    shown = sorted(missed, key=lambda name: -missed[name])[:MOST]
    for name in shown:
        count = int(kinds[name].sum())
        words = f"{name}: {missed[name] or 'none'} of {count} slipped through"
        strips.append(Strip(words, scores[kinds[name]], ~inspected[kinds[name]], abnormal=True))
    caption = f"A stroke is an image of the {report.split}; one that slipped through has a ring."
    if len(shown) < len(missed):
        caption += f" Types with fewer misses are left out: {len(missed) - len(shown)}."
    return Figure(strips_svg(strips, cut(report.chosen)), caption)


def _table(report: Report) -> Table | None:
    """Missed images of each type of defect, of those that calibrated and of those that judge."""
    found = report.results.get("defects") or {}
    calibration, test = found.get("calibration") or {}, found.get("test") or {}
    names = sorted({*calibration, *test})
    if not names:
        return None
    head = (
        "type of defect",
        "calibrated",
        "of groups",
        "missed",
        "lowest score",
        "test images",
        "missed",
        "lowest score",
    )
    rows = []
    for name in names:
        judged = _counts(test.get(name))
        rows.append((name, *_counts(calibration.get(name)), judged[0], *judged[2:]))
    caption = "Abnormal images of each type, and how many the deciding threshold misses."
    return Table(head, rows, caption)


def _counts(of: Mapping[str, Any] | None) -> tuple[str, str, str, str]:
    if of is None:
        return ("0", "0", "\u2013", "\u2013")
    lowest = "\u2013" if of["lowest"] is None else f"{of['lowest']:.4g}"
    return str(of["images"]), str(of["groups"]), str(of["missed"]), lowest


def lowest(report: Report) -> dict[str, Any]:
    """Section on the abnormal images that set the price, and on those a person left out."""
    found = report.results.get("lowest") or []
    images = [
        Lowest(one["path"], one["defect"], one["score"], report.pictures.get(one["path"]))
        for one in found
    ]
    left_out = [str(LeftOut(**entry)) for entry in report.results.get("left_out") or []]
    if not images and not left_out:
        return {}
    return {"images": images, "number": plural(len(images), "image"), "left_out": left_out}
