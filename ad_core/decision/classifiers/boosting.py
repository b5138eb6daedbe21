"""XGBoost and LightGBM, kept as the text that each library writes itself: no pickle, no binary."""

import importlib
from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.validation import check_is_fitted, validate_data

from ad_core.errors import UserError

# Small tables with few abnormal rows: shallow trees, leaves of a few rows, a slow rate.
_ROUNDS = 200
_XGBOOST = {
    "objective": "binary:logistic",
    "max_depth": 4,
    "eta": 0.05,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "verbosity": 0,
}
_LIGHTGBM = {
    "objective": "binary",
    "num_leaves": 15,
    "learning_rate": 0.05,
    "min_data_in_leaf": 5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "feature_fraction": 0.8,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


class BoostedTrees(ClassifierMixin, BaseEstimator):
    """Trees boosted by the library named; "balanced" classes have the same total weight.

    Attributes: `model_` the library's own text (JSON for xgboost), exact to the last bit.
    """

    rows_apart = True

    def __init__(
        self,
        library: str = "xgboost",
        class_weight: str = "balanced",
        random_state: int = 0,
    ):
        self.library = library
        self.class_weight = class_weight
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "BoostedTrees":
        """Fit on X [n, k] and y [n] with two classes, the second of which is "abnormal"."""
        table, kinds = validate_data(self, X, y, ensure_all_finite="allow-nan")
        self.classes_, labels = np.unique(kinds, return_inverse=True)
        if self.classes_.size != 2:
            raise UserError(f"{self.library} needs two classes; the labels hold {self.classes_}.")
        kind = None if self.class_weight == "none" else self.class_weight
        weight = compute_sample_weight(kind, labels)
        self.model_ = _LIBRARIES[self.library][0](table, labels, weight, self.random_state)
        return self

    def decision_function(self, X: Any) -> Float64[np.ndarray, "n"]:
        """Log-odds of "abnormal": unlike a probability they do not tie near 0 and 1."""
        check_is_fitted(self)
        table = validate_data(self, X, reset=False, ensure_all_finite="allow-nan")
        return np.asarray(_LIBRARIES[self.library][1](self.model_, table), dtype=np.float64)

    def predict_proba(self, X: Any) -> Float64[np.ndarray, "n 2"]:
        """Probability of each class, of which the second is "abnormal"."""
        abnormal = 0.5 * (1.0 + np.tanh(0.5 * self.decision_function(X)))
        return np.stack([1.0 - abnormal, abnormal], axis=1)

    def predict(self, X: Any) -> np.ndarray:
        """The likelier class."""
        return self.classes_[(self.decision_function(X) > 0).astype(int)]

    @property
    def feature_importances_(self) -> Float64[np.ndarray, "k"]:
        """Total gain of the splits on each column, with sum 1 where there is any split."""
        n_columns = int(getattr(self, "n_features_in_"))  # noqa: B009 (set by validate_data)
        gain = _LIBRARIES[self.library][2](self.model_, n_columns)
        return gain / gain.sum() if gain.sum() > 0 else gain

    def contributions(self, X: Any) -> Float64[np.ndarray, "n k"]:
        """Shapley values of the log-odds of "abnormal", by the library's own exact method."""
        check_is_fitted(self)
        table = validate_data(self, X, reset=False, ensure_all_finite="allow-nan")
        found = _LIBRARIES[self.library][3](self.model_, table)
        return np.asarray(found, dtype=np.float64)[:, :-1]


def require_library(name: str) -> ModuleType:
    """The boosting library `name`. Raises UserError, with the mend, if it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UserError(
            f"Classifier {name!r} needs a library that is not installed: pip install "
            "'zfn-ad[boosting]', or use another classifier."
        ) from error


def _fit_xgboost(table, labels, weight, seed) -> str:
    xgboost: Any = require_library("xgboost")
    data = xgboost.DMatrix(table, label=labels, weight=weight)
    booster = xgboost.train({**_XGBOOST, "seed": seed}, data, num_boost_round=_ROUNDS)
    return booster.save_raw("json").decode()


# Reading the text again for every batch would take longer than the trees themselves.
@lru_cache(maxsize=4)
def _load_xgboost(model: str) -> Any:
    xgboost: Any = require_library("xgboost")
    booster = xgboost.Booster()
    booster.load_model(bytearray(model.encode()))
    return booster


def _predict_xgboost(model, table) -> Float[np.ndarray, "n"]:
    xgboost: Any = require_library("xgboost")
    return _load_xgboost(model).predict(xgboost.DMatrix(table), output_margin=True)


def _gain_xgboost(model, n_columns) -> Float64[np.ndarray, "k"]:
    gain = _load_xgboost(model).get_score(importance_type="total_gain")
    return np.array([gain.get(f"f{column}", 0.0) for column in range(n_columns)], dtype=np.float64)


def _contributions_xgboost(model, table) -> Float[np.ndarray, "n _"]:
    xgboost: Any = require_library("xgboost")
    return _load_xgboost(model).predict(xgboost.DMatrix(table), pred_contribs=True)


def _fit_lightgbm(table, labels, weight, seed) -> str:
    lightgbm: Any = require_library("lightgbm")
    data = lightgbm.Dataset(table, label=labels, weight=weight)
    booster = lightgbm.train({**_LIGHTGBM, "seed": seed}, data, num_boost_round=_ROUNDS)
    return booster.model_to_string()


@lru_cache(maxsize=4)
def _load_lightgbm(model: str) -> Any:
    lightgbm: Any = require_library("lightgbm")
    return lightgbm.Booster(model_str=model)


def _predict_lightgbm(model, table) -> Float[np.ndarray, "n"]:
    return _load_lightgbm(model).predict(table, raw_score=True)


def _contributions_lightgbm(model, table) -> Float[np.ndarray, "n _"]:
    return _load_lightgbm(model).predict(table, pred_contrib=True)


def _gain_lightgbm(model, n_columns) -> Float64[np.ndarray, "k"]:
    gain = _load_lightgbm(model).feature_importance("gain")
    return np.asarray(gain, dtype=np.float64)


_LIBRARIES = {
    "xgboost": (_fit_xgboost, _predict_xgboost, _gain_xgboost, _contributions_xgboost),
    "lightgbm": (_fit_lightgbm, _predict_lightgbm, _gain_lightgbm, _contributions_lightgbm),
}
