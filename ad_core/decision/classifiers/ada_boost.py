"""AdaBoost that starts from balanced classes."""

from typing import Any

from sklearn.ensemble import AdaBoostClassifier
from sklearn.utils.class_weight import compute_sample_weight


class BalancedAdaBoost(AdaBoostClassifier):
    """AdaBoost whose first weights give both classes the same total; None: every row the same.

    Weights on the trees instead would be unknown to the boosting, which counts their errors with
    its own and refuses a first tree that is wrong for half of them.
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        n_estimators: int = 50,
        learning_rate: float = 1.0,
        random_state: int | None = None,
        class_weight: str | None = "balanced",
    ):
        super().__init__(
            estimator,
            n_estimators=n_estimators,
            learning_rate=learning_rate,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "BalancedAdaBoost":
        """Fits as scikit-learn does; the classes' weights multiply `sample_weight` [n]."""
        weight = compute_sample_weight(self.class_weight, y)
        super().fit(X, y, weight if sample_weight is None else weight * sample_weight)
        return self
