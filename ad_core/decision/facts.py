"""Facts of a calibration that its detector keeps: price, lowest scores, what was left out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64

from ad_core.decision.left_out import LeftOut
from ad_core.decision.table import StatisticsTable
from ad_core.decision.thresholds.price import price
from ad_core.decision.thresholds.threshold import Threshold

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
    """Plain data: {"price", "lowest", "left_out", "defects"}.

    price: see `price`. lowest: the abnormal images with the lowest scores, lowest first. left_out:
    the log. defects: type -> figures of its images, as `by_defect`.

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
    }


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
