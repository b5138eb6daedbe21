"""Mean of several statistics as the score: no learning, so nothing to learn from abnormal rows."""

import numpy as np
from jaxtyping import Float64
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ad_core.decision.classifiers.cleaning import Table


class AverageScore(BaseEstimator):
    """The last step of a pipeline whose score is the mean of the columns that it gets.

    The pipeline brings them to the same spread among normal rows first. All must rise with
    abnormality, as the distances of memories do. It is no scikit-learn classifier: like a one-class
    method it is fitted on normal rows, of which it only counts the columns.
    """

    rows_apart = True

    def fit(self, X: Table, y: object = None) -> "AverageScore":
        """Give each column the same weight. `y` is not read."""
        self.n_features_in_ = np.asarray(X).shape[1]
        self.coef_ = np.full((1, self.n_features_in_), 1.0 / self.n_features_in_)
        self.intercept_ = np.zeros(1)
        return self

    def decision_function(self, X: Table) -> Float64[np.ndarray, "n"]:
        """The mean of the columns."""
        check_is_fitted(self, "coef_")
        # Not by BLAS, which adds in another order in other company.
        return np.sum(np.ascontiguousarray(X, np.float64) * self.coef_[0], axis=1)
