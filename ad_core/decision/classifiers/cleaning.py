"""Tables of statistics as classifiers can read them: finite, varying, not repeated."""

from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Shaped
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted, validate_data

from ad_core.errors import UserError

Table = Shaped[Array | np.ndarray, "n k"]


class CleanTable(TransformerMixin, BaseEstimator):
    """A scikit-learn step that learns from the rows it is fitted on, and from no other.

    Everything is float32, at fitting and at scoring, so that a tree compares the same numbers
    with its thresholds. Then, column by column:
    - +inf becomes one range beyond the largest finite value seen (max + (max - min)), -inf one
      range beyond the smallest: still beyond all others, yet on the column's scale;
    - a missing value becomes the median;
    - what lies on the side of the median that is not abnormal becomes the median, where `ends` says
      which side is: an image that is more normal than most is no anomaly;
    - a constant column is dropped;
    - of two columns with |Spearman's rank correlation| > `max_correlation` the later is dropped.
      Ranks, because one extreme image can make Pearson's correlation of two columns 1.

    Args:
        ends: of each column 1 where high values are abnormal, -1 where low ones are, 0 where either
            may be; None: nothing is known, and nothing changes.

    Attributes: `kept_` the columns that remain, `missing_` which columns missed values at fitting.
    """

    def __init__(self, max_correlation: float = 0.95, ends: Any = None):
        self.max_correlation = max_correlation
        self.ends = ends

    def fit(self, X: Table, y: object = None) -> "CleanTable":
        """Learn ranges, medians and the columns to keep. `y` is not read."""
        table = self._validated(X, reset=True)
        self.missing_ = np.isnan(table).any(axis=0)
        self.low_, self.median_, self.high_ = _finite_range(table)
        cleaned = self._replace(table)
        varying = np.flatnonzero((cleaned != cleaned[:1]).any(axis=0))
        if not varying.size:
            raise UserError(
                f"None of the {table.shape[1]} statistics varies over {table.shape[0]} images; "
                "a classifier has nothing to learn. Check the images and the statistics' names."
            )
        self.kept_ = varying[_first_of_kind(cleaned[:, varying], self.max_correlation)]
        return self

    def transform(self, X: Table) -> Float32[np.ndarray, "n _"]:
        """The columns kept, all finite."""
        check_is_fitted(self)
        return self._replace(self._validated(X, reset=False))[:, self.kept_]

    def unmeasured(self, X: Table) -> Bool[np.ndarray, "n"]:
        """Rows that miss a value in a column which was always there at fitting."""
        missing = np.isnan(np.asarray(X, dtype=np.float64))
        return (missing & ~self.missing_)[:, self.kept_].any(axis=1)

    def _validated(self, X: Table, *, reset: bool) -> Float32[np.ndarray, "n k"]:
        # A float64 beyond float32 becomes infinite, and is then replaced as such.
        with np.errstate(over="ignore"):
            table: Any = np.asarray(X).astype(np.float32)
        table = validate_data(self, table, ensure_all_finite=False, dtype=np.float32, reset=reset)
        return cast(np.ndarray, table)

    def _replace(self, table: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n k"]:
        table = np.where(np.isnan(table), self.median_, table)
        table = np.where(np.isposinf(table), self.high_, table)
        table = np.where(np.isneginf(table), self.low_, table)
        if self.ends is None:
            return table
        ends = np.asarray(self.ends)
        table = np.where(ends > 0, np.maximum(table, self.median_), table)
        return np.where(ends < 0, np.minimum(table, self.median_), table)


def _finite_range(
    table: Float32[np.ndarray, "n k"],
) -> tuple[Float32[np.ndarray, "k"], Float32[np.ndarray, "k"], Float32[np.ndarray, "k"]]:
    """(one range below the least, median, one range above the most) of the finite values."""
    finite = np.isfinite(table)
    wide = table.astype(np.float64)
    low = np.where(finite, wide, np.inf).min(axis=0)
    high = np.where(finite, wide, -np.inf).max(axis=0)
    empty = ~finite.any(axis=0)
    low, high = np.where(empty, 0.0, low), np.where(empty, 0.0, high)
    median = np.array(
        [
            np.median(column[is_finite]) if is_finite.any() else 0.0
            for column, is_finite in zip(wide.T, finite.T, strict=True)
        ]
    )
    largest = float(np.finfo(np.float32).max)
    below = np.clip(low - (high - low), -largest, largest)
    above = np.clip(high + (high - low), -largest, largest)
    return below.astype(np.float32), median.astype(np.float32), above.astype(np.float32)


def _first_of_kind(
    table: Float32[np.ndarray, "n k"], max_correlation: float
) -> Int[np.ndarray, "_"]:
    """Columns that no earlier kept column repeats."""
    ranks = rankdata(table, axis=0)
    ranks -= ranks.mean(axis=0)
    ranks /= np.linalg.norm(ranks, axis=0)
    repeats: Float[np.ndarray, "k k"] = np.abs(ranks.T @ ranks) > max_correlation
    kept: list[int] = []
    for column in range(table.shape[1]):
        if not repeats[column, kept].any():
            kept.append(column)
    return np.array(kept, dtype=np.int64)


class Chain(NamedTuple):
    """The steps of a fitted classifier: what comes before cleaning, if anything, and after."""

    before: Any
    cleaning: CleanTable
    model: Pipeline

    def reduce(self, table: Table) -> Shaped[Array | np.ndarray, "n _"]:
        """The table as cleaning takes it."""
        return table if self.before is None else self.before.transform(table)


def chain_of(classifier: Pipeline) -> Chain:
    """The steps of a pipeline with a CleanTable in its first or second place."""
    place = next(i for i, (_, step) in enumerate(classifier.steps) if isinstance(step, CleanTable))
    cleaning: Any = classifier[place]
    return Chain(classifier[0] if place else None, cleaning, classifier[place + 1 :])
