"""One statistic as the score itself: no learning, so nothing to learn from abnormal images."""

import numpy as np
from jaxtyping import Float64
from sklearn.base import BaseEstimator

from ad_core.decision.classifiers.cleaning import Table
from ad_core.errors import UserError


class SingleStatistic(BaseEstimator):
    """The last step of a pipeline whose score is the one column that it gets.

    It is no scikit-learn classifier: like a one-class method it is fitted on normal rows, of
    which it only counts the columns.
    """

    rows_apart = True

    def fit(self, X: Table, y: object = None) -> "SingleStatistic":
        """Check that there is one column. `y` is not read."""
        self.n_features_in_ = np.asarray(X).shape[1]
        if self.n_features_in_ != 1:
            raise UserError(f"Classifier 'single' takes one statistic, not {self.n_features_in_}.")
        return self

    def decision_function(self, X: Table) -> Float64[np.ndarray, "n"]:
        """The column: it must rise with abnormality, as sse and fid do."""
        return np.asarray(X, np.float64)[:, 0]
