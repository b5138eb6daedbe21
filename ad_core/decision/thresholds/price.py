"""The price of a promise: for each bound on the miss rate its threshold and its false alarms."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Shaped

from ad_core.decision.thresholds import guarantees
from ad_core.decision.thresholds.given import calibrating

BOUNDS = tuple(round(0.01 * k, 2) for k in range(1, 21))
Vector = Shaped[Array | np.ndarray, "n"]
Offer = dict[str, Any]


def price(
    scores: Vector,
    labels: Vector,
    groups: Vector | None = None,
    *,
    confidence: float,
    bounds: Sequence[float] = BOUNDS,
) -> list[Offer]:
    """Price of each bound: the highest threshold that keeps it, and its cost on these images.

    Args:
        scores: of calibration images, out-of-fold. labels: 0 normal, 1 abnormal.
        groups: see `fit_threshold`.

    Returns:
        An offer a bound: {bound, confidence, rank, threshold, calibration}, the last with counts
        and rates as `counts` gives them. Where no threshold keeps the bound, `rank` is 0,
        `threshold` and `calibration` are None, and `refused` says what it would take.
    """
    given = calibrating(scores, labels, groups, None)
    offers = []
    for bound in bounds:
        n = int(given.parts.size)
        rank = guarantees.umbrella_rank(n, bound, confidence)
        offer: Offer = {"bound": bound, "confidence": confidence, "rank": rank}
        if rank:
            threshold = float(given.parts[rank - 1])
            offer |= {"threshold": threshold, "calibration": counts(threshold, scores, labels)}
        else:
            offer |= {"threshold": None, "calibration": None}
            offer["refused"] = (
                guarantees.unreachable(n, bound, confidence)
                if n
                else "no abnormal image calibrated"
            )
        offers.append(offer)
    return offers


def counts(threshold: float, scores: Vector, labels: Vector) -> dict[str, Any]:
    """Counts of images: {fp, normal, fpr, fn, abnormal, miss_rate}; rates None without images.

    A score that is not a number is inspected.
    """
    flagged = ~(np.asarray(scores, np.float64) < threshold)
    odd = np.asarray(labels).astype(bool)
    fp, normal = int((flagged & ~odd).sum()), int((~odd).sum())
    fn, abnormal = int((~flagged & odd).sum()), int(odd.sum())
    return {
        "fp": fp,
        "normal": normal,
        "fpr": fp / normal if normal else None,
        "fn": fn,
        "abnormal": abnormal,
        "miss_rate": fn / abnormal if abnormal else None,
    }
