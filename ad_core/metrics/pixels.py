"""Figures of how well maps find what masks mark, pixel by pixel, region by region.

A pixel is flagged if its map >= threshold. Every figure is a fraction in [0, 1]; ties are exact,
and nothing is quantised: each figure looks at every distinct value of the maps.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from ad_core.errors import UserError
from ad_core.metrics.checks import Images, pairs
from ad_core.metrics.ranking import Classes

# Regions touch by an edge or a corner, and never across images.
_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)

Masks = Sequence[Bool[np.ndarray, "_ _"]]
Maps = Sequence[Float[np.ndarray, "_ _"]]


def pixel_figures(masks: Images, maps: Images) -> dict[str, float | None]:
    """All figures of maps against masks, with one sort of the pixels.

    Returns:
        auroc, ap (average precision) and f1_max, of all pixels together;
        aupro: up to a FPR of 0.3; aupimo: the mean over abnormal images, None where there is no
        normal image; pointing.

    Raises:
        UserError: as `aupro`.
    """
    abnormal, values = pairs(masks, maps)
    classes = _sorted_pixels(abnormal, values)
    whole = all(mask.any() for mask in abnormal)
    return {
        "auroc": classes.auroc(),
        "aupro": _aupro(abnormal, values, classes.normal, 0.3),
        "ap": classes.average_precision(),
        "aupimo": None if whole else float(np.nanmean(_aupimo(abnormal, values, _BOUNDS))),
        "f1_max": classes.f1_max(),
        "pointing": pointing(abnormal, values),
    }


def _sorted_pixels(abnormal: Masks, values: Maps) -> Classes:
    """The map's values at normal and at abnormal pixels, each ascending."""
    if not any(m.any() for m in abnormal) or all(m.all() for m in abnormal):
        raise UserError("AUPRO needs abnormal and normal pixels; the masks hold only one kind.")
    both = [
        np.concatenate([v[m == kind] for m, v in zip(abnormal, values, strict=True)])
        for kind in (False, True)
    ]
    for part in both:
        part.sort()
    return Classes(*both)


def aupro(
    masks: Images,
    maps: Images,
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
    abnormal, values = pairs(masks, maps)
    if not 0 < max_fpr <= 1:
        raise UserError(f"`max_fpr` (={max_fpr}) must lie in (0, 1].")
    return _aupro(abnormal, values, _sorted_pixels(abnormal, values).normal, max_fpr)


def _aupro(
    abnormal: Masks, values: Maps, normal: Float[np.ndarray, "q"], max_fpr: float | int
) -> float:
    scores, weights = _region_pixels(abnormal, values)
    fpr, pro = _pro_curve(normal, scores, weights)
    return _area_up_to(fpr, pro, max_fpr) / max_fpr


_BOUNDS = (1e-5, 1e-4)  # of AUPIMO's false positive rates


def aupimo(
    masks: Images, maps: Images, *, bounds: tuple[float | int, float | int] = _BOUNDS
) -> Float[np.ndarray, "m"]:
    """Area under each image's overlap, over the logarithm of the normal images' FPR in `bounds`.

    FPR(t) is the mean over the normal images (those without an abnormal pixel) of the share of
    their pixels with map >= t: what is marked decides nothing on it. Of an abnormal image the
    overlap at an FPR z is the share of its abnormal pixels that are flagged by the lowest
    threshold whose FPR is at most z. The area is divided by log(high / low), so that 1 is an image
    whose every abnormal pixel is hotter than all but `low` of the normal images' pixels. Where
    these have fewer than 1 / low pixels, the low end asks for no false positive at all.

    Args:
        masks, maps: as `aupro` takes them. bounds: low and high, 0 < low < high <= 1.

    Returns:
        [m], NaN of normal images. Its mean over the abnormal ones is the usual summary.

    Raises:
        UserError: shapes differ, no normal or no abnormal image, a map not finite, or wrong bounds.

    Source: Bertoldo et al., AUPIMO: Redefining Visual Anomaly Detection Benchmarks with High Speed
    and Low Tolerance, 2024, section 3. Theirs joins a grid of thresholds by straight lines; this is
    the integral of the steps.
    """
    abnormal, values = pairs(masks, maps)
    low, high = bounds
    if not 0 < low < high <= 1:
        raise UserError(f"`bounds` (={low}, {high}) must be two rates, 0 < low < high <= 1.")
    marked = sum(bool(mask.any()) for mask in abnormal)
    if marked in (0, len(abnormal)):
        raise UserError(
            f"{len(abnormal) - marked} images without and {marked} with abnormal pixels; AUPIMO "
            "needs both kinds."
        )
    return _aupimo(abnormal, values, (low, high))


def _aupimo(
    abnormal: Masks, values: Maps, bounds: tuple[float | int, float | int]
) -> Float[np.ndarray, "m"]:
    both = list(zip(abnormal, values, strict=True))
    levels, weights = _steps(_highest([v for m, v in both if not m.any()], bounds[1]), bounds)
    areas = np.full(len(both), np.nan)
    for place, (mask, found) in enumerate(both):
        if mask.any():
            marked = np.sort(found[mask])
            above = marked.size - np.searchsorted(marked, levels, side="right")
            areas[place] = min(1.0, float(np.sum(weights * above) / marked.size))
    return areas


def _highest(
    normal: Maps, most: float | int
) -> tuple[Float[np.ndarray, "p"], Float[np.ndarray, "p"]]:
    """Of normal images the values that thresholds up to an FPR of `most` can flag.

    Descending, each with its share of the FPR: 1 / (its image's pixels x images). One value that
    goes beyond is among them.
    """
    kept, shares = [], []
    for found in normal:
        n = found.size
        # A pixel of rank r in its own image alone makes an FPR of r / (n x images).
        count = min(n, int(most * len(normal) * n) + 1)
        kept.append(np.partition(found, n - count, axis=None)[n - count :])
        shares.append(np.full(count, 1.0 / (n * len(normal))))
    scores, weights = np.concatenate(kept), np.concatenate(shares)
    order = np.argsort(scores)[::-1]
    return scores[order], weights[order]


def _steps(
    highest: tuple[Float[np.ndarray, "p"], Float[np.ndarray, "p"]],
    bounds: tuple[float | int, float | int],
) -> tuple[Float[np.ndarray, "s"], Float[np.ndarray, "s"]]:
    """Distinct values of normal pixels, and the share of the logarithmic axis that each rules.

    While the FPR allowed lies between that above a value and that from it on, the lowest threshold
    that keeps it is just above the value.
    """
    scores, weights = highest
    last = np.flatnonzero(np.concatenate([scores[1:] != scores[:-1], [True]]))
    fpr = np.concatenate([[0.0], np.cumsum(weights)[last]])
    ends = np.log(np.clip(fpr, *bounds))
    ruled = np.diff(ends) / np.log(bounds[1] / bounds[0])
    inside = ruled > 0
    return scores[last][inside], ruled[inside]


def pointing(
    masks: Images,
    maps: Images,
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
    abnormal, values = pairs(masks, maps)
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
    abnormal: Masks, values: Maps
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
