"""Stacking: classifiers below, and above them a logistic regression on their unseen scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import check_is_fitted, validate_data

from ad_core.decision.classifiers.fitting import fit_classifier, row_scores
from ad_core.decision.classifiers.out_of_fold import out_of_fold_scores
from ad_core.errors import UserError


class StackedScores(ClassifierMixin, BaseEstimator):
    """A weighted sum of classifiers' scores, each standardised.

    The weights come from scores that each classifier gave to rows it had not seen, nor any of
    their group; then each is fitted on all rows. Being a sum, it is explained by the explanations
    of what it sums. A weight below 0 is set to 0: more abnormal below is never less above.

    Args:
        below: unfitted pipelines from a table to a score.
        folds: at most, of the inner partition.

    Attributes: `below_` as fitted, `mean_` and `scale_` of the unseen scores, `weights_`.
    """

    rows_apart = True

    def __init__(
        self,
        below: Sequence[Any] = (),
        *,
        folds: int = 5,
        class_weight: str = "balanced",
        random_state: int = 0,
    ):
        self.below = below
        self.folds = folds
        self.class_weight = class_weight
        self.random_state = random_state

    def fit(self, X: Any, y: Any, groups: Any = None) -> "StackedScores":
        """Fit on X [n, k] and y [n] with classes 0 and 1; `groups` [n] stay together."""
        given: Any = validate_data(self, X, y, ensure_all_finite="allow-nan")
        table, kinds = given
        self.classes_, labels = np.unique(kinds, return_inverse=True)
        if self.classes_.size != 2 or not len(self.below):
            raise UserError(
                f"Stacking needs two classes and a classifier below; it got {self.classes_.size} "
                f"and {len(self.below)}."
            )
        names = np.arange(labels.size) if groups is None else np.asarray(groups)
        unseen = np.stack([self._unseen(one, table, labels, names) for one in self.below], axis=1)
        self.mean_, self.scale_ = unseen.mean(axis=0), unseen.std(axis=0)
        self.scale_ = np.where(self.scale_ > 0, self.scale_, 1.0)
        weight: Any = None if self.class_weight == "none" else self.class_weight
        above = LogisticRegression(class_weight=weight).fit(
            (unseen - self.mean_) / self.scale_, labels
        )
        self.weights_ = np.maximum(above.coef_[0], 0.0)
        self.offset_ = float(above.intercept_[0])
        self.below_ = [
            fit_classifier(clone(one), table, labels, groups=names) for one in self.below
        ]
        return self

    def decision_function(self, X: Any) -> Float64[np.ndarray, "n"]:
        """The weighted sum and the intercept."""
        check_is_fitted(self)
        table: Any = validate_data(self, X, reset=False, ensure_all_finite="allow-nan")
        terms = zip(self.below_, self.mean_, self.scale_, self.weights_, strict=True)
        total = np.full(len(table), self.offset_)
        for one, mean, scale, weight in terms:
            total += weight * ((row_scores(one, table) - mean) / scale)
        return total

    def predict(self, X: Any) -> np.ndarray:
        """The likelier class."""
        return self.classes_[(self.decision_function(X) > 0).astype(int)]

    def _unseen(self, one: Any, table: Any, labels: Any, groups: Any) -> Float64[np.ndarray, "n"]:
        return out_of_fold_scores(
            lambda: clone(one), table, labels, groups, folds=self.folds, seed=self.random_state
        )
