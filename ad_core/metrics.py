"""Figures of merit: how well scores rank images or pixels, and what a threshold does.

Labels are 0 (normal) and 1 (abnormal); a score rises with abnormality; an image or pixel is
flagged if score >= threshold. Every figure is a fraction in [0, 1]. Ties are exact: scores that
are equal can only be flagged together.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Bool, Float, Shaped
from scipy import ndimage

from ad_core.errors import UserError

Labels = Shaped[Array | np.ndarray, "n"]
Scores = Shaped[Array | np.ndarray, "n"]

# Regions touch by an edge or a corner, and never across images.
_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def auroc(labels: Labels, scores: Scores) -> float:
    """Area under the ROC curve.

    P(abnormal score > normal score) + P(equal) / 2 over all pairs, by sorting each class once:
    pixels of a whole data set may be given, ravelled, and float32 stays float32.

    Raises:
        UserError: a class is absent, lengths differ, or a score is not finite.
    """
    normal, abnormal = _sorted_classes(labels, scores)
    below = int(np.searchsorted(normal, abnormal, side="left").sum())
    not_above = int(np.searchsorted(normal, abnormal, side="right").sum())
    return (below + not_above) / (2 * normal.size * abnormal.size)


def average_precision(labels: Labels, scores: Scores) -> float:
    """Area under the precision-recall curve as a step function, not interpolated.

    Sum over distinct thresholds of (recall gained) x (precision there).

    Raises:
        UserError: as `auroc`.
    """
    normal, abnormal = _sorted_classes(labels, scores)
    thresholds, counts = np.unique(abnormal, return_counts=True)
    tp = counts[::-1].cumsum()[::-1]
    fp = normal.size - np.searchsorted(normal, thresholds, side="left")
    return float(np.sum(counts * (tp / (tp + fp))) / abnormal.size)


def oracle(labels: Labels, scores: Scores) -> dict[str, float]:
    """The best that thresholds chosen on these very scores could do: an upper bound.

    Returns:
        zfn: accuracy with threshold = lowest score of an abnormal image (no abnormal one passes);
        acc: best accuracy over all thresholds, flagging nothing included;
        auc: area under the ROC curve;
        fpr_at_tpr1: share of normal images flagged at the zfn threshold.

    Raises:
        UserError: as `auroc`.
    """
    normal, abnormal = _sorted_classes(labels, scores)
    n = normal.size + abnormal.size
    # Accuracy can only peak where an abnormal image starts to be flagged, or nowhere at all.
    passed = np.searchsorted(normal, abnormal, side="left")
    flagged = abnormal.size - np.searchsorted(abnormal, abnormal, side="left")
    correct = max(int((passed + flagged).max()), normal.size)
    return {
        "zfn": (abnormal.size + int(passed[0])) / n,
        "acc": correct / n,
        "auc": auroc(labels, scores),
        "fpr_at_tpr1": (normal.size - int(passed[0])) / normal.size,
    }


def confusion(
    labels: Labels, flags: Shaped[Array | np.ndarray, "n"]
) -> dict[str, int | float | None]:
    """Counts and rates of decisions; `flags` is true where an image is to be inspected.

    Returns:
        tp, fn, fp, tn; tpr = tp / (tp + fn), fpr = fp / (fp + tn), accuracy. A rate without a
        single image behind it is None.
    """
    abnormal, flagged = _binary("labels", labels), _binary("flags", flags)
    if abnormal.shape != flagged.shape:
        raise UserError(f"{flagged.size} flags for {abnormal.size} labels; give one each.")
    tp, fp = int((abnormal & flagged).sum()), int((~abnormal & flagged).sum())
    fn, tn = int((abnormal & ~flagged).sum()), int((~abnormal & ~flagged).sum())
    return {
        "tp": tp,
        "fn": fn,
        "fp": fp,
        "tn": tn,
        "tpr": _ratio(tp, tp + fn),
        "fpr": _ratio(fp, fp + tn),
        "accuracy": _ratio(tp + tn, tp + fn + fp + tn),
    }


def aupro(
    masks: Shaped[Array | np.ndarray, "m h w"] | Sequence[Shaped[np.ndarray, "_ _"]],
    maps: Shaped[Array | np.ndarray, "m h w"] | Sequence[Shaped[np.ndarray, "_ _"]],
    *,
    max_fpr: float | int = 0.3,
) -> float:
    """Area under the per-region-overlap curve up to `max_fpr`, divided by `max_fpr`.

    PRO(t) is the mean over abnormal regions of the share of their pixels with map >= t; FPR(t)
    the share of all normal pixels, those of abnormal images included. Regions are connected
    components of each mask (8 neighbours). The curve joins its points by straight lines, over
    every distinct value of the maps; nothing is quantised.

    Args:
        masks: true (non-zero) where abnormal. maps: higher is more abnormal. Either as an array, or
            image by image where they differ in size.

    Raises:
        UserError: shapes differ, no abnormal or no normal pixel, a map not finite, or
            `max_fpr` outside (0, 1].

    Source: Bergmann et al., The MVTec Anomaly Detection Dataset, IJCV 2021, section 5.
    """
    abnormal, values = _pairs(masks, maps)
    if not 0 < max_fpr <= 1:
        raise UserError(f"`max_fpr` (={max_fpr}) must lie in (0, 1].")
    if not any(m.any() for m in abnormal) or all(m.all() for m in abnormal):
        raise UserError("AUPRO needs abnormal and normal pixels; the masks hold only one kind.")
    scores, weights = _region_pixels(abnormal, values)
    normal = np.concatenate([v[~m] for m, v in zip(abnormal, values, strict=True)])
    normal.sort()
    fpr, pro = _pro_curve(normal, scores, weights)
    return _area_up_to(fpr, pro, max_fpr) / max_fpr


def _pairs(
    masks: Shaped[Array | np.ndarray, "m h w"] | Sequence[Shaped[np.ndarray, "_ _"]],
    maps: Shaped[Array | np.ndarray, "m h w"] | Sequence[Shaped[np.ndarray, "_ _"]],
) -> tuple[list[Bool[np.ndarray, "_ _"]], list[Float[np.ndarray, "_ _"]]]:
    """What is abnormal and the map of each image; UserError unless their shapes agree."""
    if [np.shape(mask) for mask in masks] != [np.shape(found) for found in maps]:
        shapes = [np.shape(x) if hasattr(x, "shape") else len(x) for x in (masks, maps)]
        raise UserError(f"Masks {shapes[0]} and maps {shapes[1]} must have one shape.")
    return [np.asarray(mask) != 0 for mask in masks], [_finite(found) for found in maps]


def pointing(
    masks: Shaped[Array | np.ndarray, "m h w"] | Sequence[Shaped[np.ndarray, "_ _"]],
    maps: Shaped[Array | np.ndarray, "m h w"] | Sequence[Shaped[np.ndarray, "_ _"]],
    *,
    tolerance: float = 1 / 32,
) -> float:
    """Share of the abnormal images whose hottest place lies in the abnormal area, or near it.

    Near is at most `tolerance` times the image's longer side (8 of 256 pixels) from an abnormal
    pixel. Of several hottest pixels each counts in part, so that a flat map is as good as chance.
    Images without an abnormal pixel are left out.

    Args:
        masks, maps: as `aupro` takes them. tolerance: at least 0.

    Raises:
        UserError: shapes differ, no abnormal pixel, a map not finite, or a negative `tolerance`.

    Source: the pointing game of Zhang et al., Top-Down Neural Attention by Excitation Backprop,
    IJCV 2018, section 4.2.
    """
    abnormal, values = _pairs(masks, maps)
    if tolerance < 0:
        raise UserError(f"`tolerance` (={tolerance}) must be 0 or more.")
    hits = [
        _hit(mask, found, tolerance * max(mask.shape))
        for mask, found in zip(abnormal, values, strict=True)
        if mask.any()
    ]
    if not hits:
        raise UserError("Pointing needs abnormal pixels; the masks hold none.")
    return float(np.mean(hits))


def _hit(
    mask: Bool[np.ndarray, "h w"], found: Float[np.ndarray, "h w"], near_px: float | int
) -> float:
    """Share of the hottest pixels that lie at most `near_px` from an abnormal one."""
    rows, columns = np.nonzero(found == found.max())
    reach = int(near_px)
    top, left = max(0, rows.min() - reach), max(0, columns.min() - reach)
    around = mask[top : rows.max() + reach + 1, left : columns.max() + reach + 1]
    if not around.any():
        return 0.0
    distance = np.asarray(ndimage.distance_transform_edt(~around))
    return float(np.mean(distance[rows - top, columns - left] <= near_px))


def _region_pixels(
    abnormal: Sequence[Bool[np.ndarray, "_ _"]], values: Sequence[Float[np.ndarray, "_ _"]]
) -> tuple[Float[np.ndarray, "p"], Float[np.ndarray, "p"]]:
    """Value of every abnormal pixel and its weight 1 / (its region's size x regions)."""
    scores, weights, regions = [], [], 0
    for mask, found in zip(abnormal, values, strict=True):
        if not mask.any():
            continue
        labelled = np.zeros(mask.shape, np.int32)
        ndimage.label(mask, structure=_EIGHT_NEIGHBOURS, output=labelled)
        regions += int(labelled.max())
        region = labelled[mask]
        scores.append(found[mask])
        weights.append(1.0 / np.bincount(region)[region])
    return np.concatenate(scores), np.concatenate(weights) / regions


def _pro_curve(
    normal: Float[np.ndarray, "q"], scores: Float[np.ndarray, "p"], weights: Float[np.ndarray, "p"]
) -> tuple[Float[np.ndarray, "c"], Float[np.ndarray, "c"]]:
    """Corners of the curve, from (0, 0) to (1, 1); `normal` ascends.

    PRO changes only at values of abnormal pixels: between two of them the curve is flat, and at
    each it rises along the normal pixels that share the value. So two corners a value suffice.
    """
    thresholds, which = np.unique(scores, return_inverse=True)
    thresholds = thresholds[::-1]
    rise = np.bincount(which, weights=weights)[::-1].cumsum()
    above = normal.size - np.searchsorted(normal, thresholds, side="right")
    not_below = normal.size - np.searchsorted(normal, thresholds, side="left")
    fpr = np.stack([above, not_below], axis=1).ravel() / normal.size
    pro = np.stack([np.concatenate([[0.0], rise[:-1]]), rise], axis=1).ravel()
    return np.concatenate([[0.0], fpr, [1.0]]), np.concatenate([[0.0], pro, [1.0]])


def _area_up_to(x: Float[np.ndarray, "c"], y: Float[np.ndarray, "c"], limit: float) -> float:
    """Trapezoidal area under a curve with ascending x, cut at x = limit."""
    inside = int(np.searchsorted(x, limit, side="right"))
    if inside < x.size:
        share = (limit - x[inside - 1]) / (x[inside] - x[inside - 1])
        cut = y[inside - 1] + share * (y[inside] - y[inside - 1])
        x, y = np.append(x[:inside], limit), np.append(y[:inside], cut)
    return float(np.trapezoid(y, x))


def _sorted_classes(
    labels: Labels, scores: Scores
) -> tuple[Float[np.ndarray, "q"], Float[np.ndarray, "p"]]:
    """Scores of the normal and of the abnormal, each ascending."""
    abnormal, values = _binary("labels", labels), _finite(scores)
    if abnormal.shape != values.shape or abnormal.ndim != 1:
        raise UserError(
            f"Labels {abnormal.shape} and scores {values.shape} must be two vectors of one length."
        )
    positives, negatives = values[abnormal], values[~abnormal]
    if not positives.size or not negatives.size:
        raise UserError(
            f"{negatives.size} normal and {positives.size} abnormal scores; both kinds are needed."
        )
    positives.sort()
    negatives.sort()
    return negatives, positives


def _binary(name: str, values: Shaped[Array | np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    array = np.asarray(values)
    if array.dtype == np.bool_:
        return array
    if array.size and not np.isin(array, (0, 1)).all():
        raise UserError(f"`{name}` must be 0 or 1; found {np.setdiff1d(array, (0, 1))[:3]}.")
    return array.astype(bool)


def _finite(scores: Shaped[Array | np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    array = np.asarray(scores)
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise UserError(f"{bad} of {array.size} scores are not finite; they cannot be ranked.")
    return array


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
