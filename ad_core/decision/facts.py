"""Facts of a calibration that its detector keeps: price, lowest scores, what was left out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from ad_core.decision.left_out import LeftOut
from ad_core.decision.table import StatisticsTable
from ad_core.decision.thresholds.price import price
from ad_core.decision.thresholds.threshold import Threshold
from ad_core.errors import UserError

# Abnormal images shown before they count: one wrong label among them sets the price.
SHOWN = 5


def facts_of(
    table: StatisticsTable,
    scores: Float64[np.ndarray, " n"],
    threshold: Threshold,
    *,
    left_out: Sequence[LeftOut],
    confidence: float,
) -> dict[str, Any]:
    """Plain data: {"price", "lowest", "left_out", "defects", "scored"}.

    price: see `price`. lowest: the abnormal images with the lowest scores, lowest first. left_out:
    the log. defects: type -> figures of its images, as `by_defect`. scored: see `scored`.

    Args:
        table: of the images that calibrated. scores: of each, out-of-fold.
        threshold: the one that decides. confidence: of the bounds in the price, see
            `guarantees.level`.
    """
    groups = np.array(table.group)
    return {
        "price": price(scores, table.label, groups, confidence=confidence),
        "lowest": lowest(table, scores),
        "left_out": [entry.to_dict() for entry in left_out],
        "defects": by_defect(table, scores, threshold),
        "scored": scored(table, scores),
    }


def scored(table: StatisticsTable, scores: Float64[np.ndarray, " n"]) -> dict[str, list[Any]]:
    """Every image that calibrated, by columns: {path, label, defect, group, score}.

    score: None where it is not finite.
    """
    return {
        "path": list(table.path),
        "label": table.label.tolist(),
        "defect": list(table.defect),
        "group": list(table.group),
        "score": [float(score) if np.isfinite(score) else None for score in scores],
    }


def read_scored(
    facts: Mapping[str, Any],
) -> tuple[StatisticsTable, Float64[np.ndarray, " n"]]:
    """The images that calibrated, without their statistics, and the score of each.

    Args:
        facts: as `facts_of` gives them.

    Raises:
        UserError: the facts were written by a version that did not keep the scores.
    """
    if "scored" not in facts:
        raise UserError(
            "The detector does not hold the scores of its calibration images; calibrate its "
            "workdir again with launch/calibrate.py."
        )
    rows = facts["scored"]
    count = len(rows["path"])
    table = StatisticsTable(
        path=tuple(rows["path"]),
        label=np.array(rows["label"], np.int64),
        defect=tuple(rows["defect"]),
        group=tuple(rows["group"]),
        error=("",) * count,
        names=(),
        values=np.zeros((count, 0), np.float32),
    )
    return table, np.array([np.nan if s is None else s for s in rows["score"]], np.float64)


def lowest(
    table: StatisticsTable, scores: Float64[np.ndarray, " n"], *, count: int = SHOWN
) -> list[dict[str, Any]]:
    """The `count` abnormal images with the lowest scores: {path, defect, group, score} each."""
    rows = np.flatnonzero((table.label == 1) & np.isfinite(scores))
    rows = rows[np.argsort(scores[rows], kind="stable")][:count]
    return [
        {
            "path": table.path[row],
            "defect": table.defect[row],
            "group": table.group[row],
            "score": float(scores[row]),
        }
        for row in rows
    ]


def by_defect(
    table: StatisticsTable, scores: Float64[np.ndarray, " n"], threshold: Threshold
) -> dict[str, dict[str, Any]]:
    """Figures of each type of defect: {images, groups, missed, missed_groups, lowest}.

    missed: images below the threshold; missed_groups: groups with such an image. lowest: the
    lowest finite score, None where no image has one.
    """
    found = {}
    for defect in sorted({table.defect[row] for row in np.flatnonzero(table.label == 1)}):
        rows = np.array([one == defect for one in table.defect]) & (table.label == 1)
        missed, groups = rows & ~threshold.flags(scores), np.array(table.group)
        finite = scores[rows & np.isfinite(scores)]
        found[defect] = {
            "images": int(rows.sum()),
            "groups": int(np.unique(groups[rows]).size),
            "missed": int(missed.sum()),
            "missed_groups": int(np.unique(groups[missed]).size),
            "lowest": float(finite.min()) if finite.size else None,
        }
    return found
