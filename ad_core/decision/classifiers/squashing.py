"""Columns whose far values count by their logarithm, so that a few extreme images set no scale."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

NORMAL_IQR = 1.349  # interquartile range of the standard normal distribution


class Squashing(NamedTuple):
    """Numbers of each column: of the arcsinh, and of the standardisation that follows it."""

    median: Float64[np.ndarray, "k"]
    spread: Float64[np.ndarray, "k"]
    mean: Float64[np.ndarray, "k"]
    scale: Float64[np.ndarray, "k"]


def learn_squashing(table: Float64[np.ndarray, "n k"]) -> Squashing:
    """The numbers by which these rows have mean 0 and standard deviation 1 in each column.

    `spread` is the interquartile range, or the standard deviation where that is 0.
    """
    low, median, high = np.percentile(table, (25, 50, 75), axis=0)
    spread = _positive(np.where(high > low, high - low, table.std(axis=0)))
    bent = _bend(table, median, spread)
    return Squashing(median, spread, bent.mean(axis=0), _positive(bent.std(axis=0)))


def squash(table: Float64[np.ndarray, "n k"], by: Squashing) -> Float64[np.ndarray, "n k"]:
    """The standardised arcsinh: linear within the middle half of the rows, logarithmic far away."""
    return (_bend(table, by.median, by.spread) - by.mean) / by.scale


class SquashedColumns(TransformerMixin, BaseEstimator):
    """A scikit-learn step that squashes each column as the rows which it is fitted on lie.

    Attributes: those of `Squashing`, with an underscore behind.
    """

    def fit(self, X: Any, y: object = None) -> "SquashedColumns":
        """Learn the numbers of each column. `y` is not read."""
        table = np.asarray(validate_data(self, X), np.float64)
        self.median_, self.spread_, self.mean_, self.scale_ = learn_squashing(table)
        return self

    def transform(self, X: Any) -> Float64[np.ndarray, "n k"]:
        """The squashed columns."""
        check_is_fitted(self)
        table = np.asarray(validate_data(self, X, reset=False), np.float64)
        return squash(table, Squashing(self.median_, self.spread_, self.mean_, self.scale_))


def _bend(
    table: Float64[np.ndarray, "n k"],
    median: Float64[np.ndarray, "k"],
    spread: Float64[np.ndarray, "k"],
) -> Float64[np.ndarray, "n k"]:
    return np.arcsinh(NORMAL_IQR * (table - median) / spread)


def _positive(scale: Float[np.ndarray, "k"]) -> Float64[np.ndarray, "k"]:
    """1 in place of 0, for columns that do not vary."""
    return np.where(scale > 0, scale, 1.0)
