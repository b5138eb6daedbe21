"""Which statistics a classifier leans on, and which made an image stand out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Shaped
from sklearn.pipeline import Pipeline

from ad_core.decision.cleaning import CleanTable, Table
from ad_core.errors import UserError

# Median absolute deviation of a Gaussian with standard deviation 1, inverted.
_MAD_TO_SIGMA = 1.4826


def important_statistics(classifier: Any, names: Sequence[str]) -> list[tuple[str, float]]:
    """(name, weight) of every statistic, heaviest first; the weights sum to 1.

    - trees: the mean decrease of impurity;
    - linear models: |coefficient| on the standardised table;
    - one_class: the diagonal of the precision matrix, i.e. what a deviation of one standard
      deviation in this statistic alone adds to the squared distance.
    - others, which offer nothing of the kind: alike for every statistic that remains.
    A statistic that cleaning dropped, because it is constant or repeats an earlier one, weighs 0.

    Raises:
        UserError: the number of names is not that of the statistics.
    """
    final: Any = classifier[-1] if isinstance(classifier, Pipeline) else classifier
    if hasattr(final, "feature_importances_"):
        kept = final.feature_importances_
    elif hasattr(final, "coef_"):
        kept = np.abs(final.coef_[0])
    elif hasattr(final, "precision_"):
        kept = np.diag(final.precision_)
    else:
        kept = np.ones(_n_kept(classifier, len(names)))
    weights = _over_all_columns(classifier, np.asarray(kept, dtype=np.float64), len(names))
    order = np.argsort(-weights, kind="stable")
    return [(names[int(i)], float(weights[i])) for i in order]


def contributions(
    classifier: Any,
    table: Table,
    names: Sequence[str],
    reference: Shaped[Array | np.ndarray, "m k"],
    *,
    top: int = 3,
) -> list[list[str]]:
    """For each row, the `top` statistics that made it stand out, foremost first.

    contribution_j = weight_j * |x_j - median_j| / sigma_j: the weight of `important_statistics`
    times the robust z-score against calibration normals, with sigma 1.4826 times the median
    absolute deviation (the standard deviation where that is 0). It says how unusual a statistic
    that matters is; it is no exact division of the score. A value that is not finite, or that
    differs from what all normals share, comes before all others.

    Args:
        reference: the rows of normal calibration images.
    """
    weights = dict(important_statistics(classifier, names))
    weight = np.array([weights[name] for name in names])
    z = _robust_z(np.asarray(table, np.float64), np.asarray(reference, np.float64))
    with np.errstate(invalid="ignore"):
        contribution = np.where(weight > 0, weight * z, 0.0)
    order = np.argsort(-contribution, axis=1, kind="stable")[:, :top]
    return [[names[int(column)] for column in row] for row in order]


def _robust_z(
    table: Float[np.ndarray, "n k"], reference: Float[np.ndarray, "m k"]
) -> Float[np.ndarray, "n k"]:
    """|x - median| / sigma, infinite where x is not finite or sigma is 0 and x differs."""
    z = np.zeros(table.shape)
    for column in range(table.shape[1]):
        known = reference[np.isfinite(reference[:, column]), column]
        centre = np.median(known) if known.size else 0.0
        sigma = _MAD_TO_SIGMA * np.median(np.abs(known - centre)) if known.size else 0.0
        sigma = sigma or (known.std() if known.size else 0.0)
        distance = np.abs(table[:, column] - centre)
        distance = np.where(np.isfinite(distance), distance, np.inf)
        z[:, column] = distance / sigma if sigma else np.where(distance > 0, np.inf, 0.0)
    return z


def _n_kept(classifier: Any, n_columns: int) -> int:
    cleaning = classifier[0] if isinstance(classifier, Pipeline) else None
    return cleaning.kept_.size if isinstance(cleaning, CleanTable) else n_columns


def _over_all_columns(
    classifier: Any, kept: Float[np.ndarray, "_"], n_columns: int
) -> Float[np.ndarray, "k"]:
    """Weights of the columns kept, spread over all, with sum 1."""
    cleaning: Any = classifier[0] if isinstance(classifier, Pipeline) else None
    columns = cleaning.kept_ if isinstance(cleaning, CleanTable) else np.arange(kept.size)
    expected = cleaning.missing_.size if isinstance(cleaning, CleanTable) else kept.size
    if n_columns != expected:
        raise UserError(f"{n_columns} names for a classifier of {expected} statistics.")
    weights = np.zeros(n_columns)
    weights[columns] = kept / kept.sum() if kept.sum() > 0 else 1.0 / kept.size
    return weights
