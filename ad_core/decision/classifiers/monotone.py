"""A logistic regression that no statistic can make think an image normal by being stranger."""

from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from ad_core.decision.classifiers.cleaning import CleanTable, Table
from ad_core.decision.classifiers.two_classes import two_classes


class CleanUpwards(CleanTable):
    """A CleanTable whose columns all rise with abnormality.

    A column of which low values are abnormal changes its sign. Where neither end is known to be the
    abnormal one, it is the one on which the abnormal rows lie more often: to which side the area
    under the column's ROC curve lies of one half.

    Args:
        directions: of each column 1 where high values are abnormal, -1 where low ones are, 0 where
            either may be; None: nothing is known of any.

    Attributes: `signs_` of the columns that remain, beside those of CleanTable.
    """

    ends = None  # nothing is levelled

    def __init__(self, directions: Any = None, *, max_correlation: float = 0.95):
        # Without CleanTable's own, whose `ends` is no parameter here.
        self.directions = directions
        self.max_correlation = max_correlation

    def fit(self, X: Table, y: Any = None) -> "CleanUpwards":
        """Learn what CleanTable does, and the signs from y [n] with classes 0 and 1."""
        super().fit(X)
        unknown = np.zeros(np.shape(X)[1], int)
        known = unknown if self.directions is None else np.asarray(self.directions)
        given = known[self.kept_]
        found = _sides(super().transform(X), np.asarray(y).astype(int))
        self.signs_ = np.where(given == 0, found, given).astype(np.float32)
        return self

    def transform(self, X: Table) -> Float32[np.ndarray, "n _"]:
        """The columns kept, all finite and rising with abnormality."""
        return super().transform(X) * self.signs_


class MonotoneRegression(ClassifierMixin, BaseEstimator):
    """Logistic regression with an L2 penalty and no weight below 0.

    It is the one of scikit-learn with the same C wherever that has no negative weight. Of columns
    that rise with abnormality it makes a score that no statistic lowers by being stranger; and
    with few abnormal rows it learns less of what is chance than one whose weights may have any
    sign.

    So that scores of several fits can be compared, weights and intercept are divided so that the
    median normal and the median abnormal row lie at -1 and 1, as in FullSensitivityClassifier.

    Args:
        C: inverse of the penalty's strength. class_weight: as scikit-learn's.

    Attributes: `classes_` (the second is "abnormal"), `coef_` [1, k], `intercept_` [1].
    """

    def __init__(self, C: Any = 1.0, *, class_weight: Any = "balanced"):
        # scikit-learn's rule: nothing is checked before `fit`.
        self.C = C
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any) -> "MonotoneRegression":
        """Fit on X [n, k] and y [n] with two classes, the second of which is "abnormal".

        Raises:
            UserError: another number of classes.
        """
        given: Any = validate_data(self, X, y, ensure_min_samples=2)
        table, kinds = np.asarray(given[0], np.float64), given[1]
        self.classes_, labels = two_classes(kinds)
        weights = self.C * compute_sample_weight(self.class_weight, labels)
        with threadpool_limits(1, user_api="blas"):
            slope, intercept = _fit(table, labels, weights)
        values = table @ slope + intercept
        normal, abnormal = (float(np.median(values[labels == kind])) for kind in (0, 1))
        centre, unit = (normal + abnormal) / 2, abs(abnormal - normal) / 2 or 1.0
        self.coef_ = slope[None] / unit
        self.intercept_ = np.array([(intercept - centre) / unit])
        return self

    def decision_function(self, X: Any) -> Float64[np.ndarray, "n"]:
        """The weighted sum: -1 for the median normal row, 1 for the median abnormal one."""
        check_is_fitted(self)
        table = np.asarray(validate_data(self, X, reset=False), np.float64)
        return table @ self.coef_[0] + self.intercept_[0]

    def predict_proba(self, X: Any) -> Float64[np.ndarray, "n 2"]:
        """The logistic function of the score. It ranks; it is no calibrated probability."""
        abnormal = expit(self.decision_function(X))
        return np.stack([1.0 - abnormal, abnormal], axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """The class of each row: abnormal wherever the score is above 0."""
        abnormal = self.decision_function(X) > 0  # which refuses, if nothing is fitted yet
        return self.classes_[abnormal.astype(int)]

    def __sklearn_tags__(self) -> Any:
        """Two classes only, of which it may know nothing by columns that fall."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        tags.classifier_tags.poor_score = True
        return tags


def _fit(
    table: Float64[np.ndarray, "n k"],
    labels: Int[np.ndarray, "n"],
    weights: Float64[np.ndarray, "n"],
) -> tuple[Float64[np.ndarray, "k"], float]:
    """Slope and intercept with the least weighted log loss and half of the slope's squared length.

    It is one: the loss is strictly convex, where rows of both classes hold the intercept.
    """
    signs = 2.0 * labels - 1.0

    def loss(parameters: Float64[np.ndarray, "_"]) -> tuple[float, Float64[np.ndarray, "_"]]:
        slope, margin = parameters[:-1], signs * (table @ parameters[:-1] + parameters[-1])
        pull = -signs * weights * expit(-margin)
        value = weights @ np.logaddexp(0.0, -margin) + slope @ slope / 2.0
        return float(value), np.append(table.T @ pull + slope, pull.sum())

    free = [(0.0, None)] * table.shape[1] + [(None, None)]
    options = {"maxiter": 10_000, "maxfun": 100_000, "ftol": 1e-14, "gtol": 1e-9}
    start = np.zeros(table.shape[1] + 1)
    found = minimize(loss, start, jac=True, bounds=free, method="L-BFGS-B", options=options).x
    return found[:-1], float(found[-1])


def _sides(table: Float32[np.ndarray, "n k"], labels: Int[np.ndarray, "n"]) -> Int[np.ndarray, "k"]:
    """1 for each column whose abnormal rows have the higher mean rank, or an equal one; else -1."""
    ranks = rankdata(table, axis=0)
    if len(np.unique(labels)) < 2:
        return np.ones(table.shape[1], int)
    higher = ranks[labels == 1].mean(axis=0) >= ranks[labels == 0].mean(axis=0)
    return np.where(higher, 1, -1)
