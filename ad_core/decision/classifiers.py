"""Classifiers by name: pipelines from a table of statistics to one score per image.

A classifier is one function and one line in CLASSIFIERS. Whatever it is inside, `anomaly_score`
rises with abnormality. Everything that is learnt from the table is inside the pipeline.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Float64, Shaped
from sklearn.base import BaseEstimator, is_classifier, is_outlier_detector
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from ad_core.decision.boosting import BoostedTrees, require_library
from ad_core.decision.cleaning import CleanTable, Table
from ad_core.decision.full_sensitivity import FullSensitivityClassifier
from ad_core.decision.single import SingleStatistic
from ad_core.errors import UserError

Labels = Shaped[Array | np.ndarray, "n"]

# Leaves of 2 images: fully grown trees vote 0 or 1 and tie often where zfn draws its line, larger
# leaves lose what sets the rare abnormal images apart. Among 1, 2, 3, 5 and 8, the AUROC with 25
# abnormal images (four tables, four seeds) is within 0.003 of the best at 2 and falls from 3 on.
_FOREST: dict[str, Any] = {
    "n_estimators": 400,
    "min_samples_leaf": 2,
    "class_weight": "balanced",
}


def _extra_trees(seed: int) -> list[BaseEstimator]:
    return [ExtraTreesClassifier(**_FOREST, random_state=seed)]


def _random_forest(seed: int) -> list[BaseEstimator]:
    return [RandomForestClassifier(**_FOREST, random_state=seed)]


def _logistic_regression(seed: int) -> list[BaseEstimator]:
    model = LogisticRegression(class_weight="balanced", max_iter=2000, random_state=seed)
    return [StandardScaler(), model]


def _ada_boost(seed: int) -> list[BaseEstimator]:
    stump = DecisionTreeClassifier(max_depth=2, class_weight="balanced")
    return [AdaBoostClassifier(stump, n_estimators=100, random_state=seed)]


def _gradient_boosting(seed: int) -> list[BaseEstimator]:
    # Not the histogram variant: its leaves want more abnormal rows than there usually are.
    model = GradientBoostingClassifier(
        n_estimators=200, learning_rate=0.05, subsample=0.8, random_state=seed
    )
    return [model]


def _xgboost(seed: int) -> list[BaseEstimator]:
    require_library("xgboost")
    return [BoostedTrees("xgboost", random_state=seed)]


def _lightgbm(seed: int) -> list[BaseEstimator]:
    require_library("lightgbm")
    return [BoostedTrees("lightgbm", random_state=seed)]


def _svm(seed: int) -> list[BaseEstimator]:
    return [StandardScaler(), SVC(class_weight="balanced", random_state=seed)]


def _k_nn(seed: int) -> list[BaseEstimator]:
    """Five neighbours weighted by 1 / distance, so that few scores tie. `seed` is not needed."""
    model = KNeighborsClassifier(n_neighbors=5, weights="distance", algorithm="brute")
    return [StandardScaler(), model]


def _full_sensitivity(seed: int) -> list[BaseEstimator]:
    return [FullSensitivityClassifier(random_state=seed)]


def _one_class(seed: int) -> list[BaseEstimator]:
    """Squared Mahalanobis distance from the normals; Ledoit-Wolf shrinks their covariance.

    Shrinkage keeps it invertible with fewer images than statistics. `seed` is not needed.
    """
    return [StandardScaler(), LedoitWolf()]


def _single(seed: int) -> list[BaseEstimator]:
    """The one statistic that there is, such as sse, as the score. `seed` is not needed."""
    return [SingleStatistic()]


CLASSIFIERS: dict[str, Callable[[int], list[BaseEstimator]]] = {
    "extra_trees": _extra_trees,
    "random_forest": _random_forest,
    "logistic_regression": _logistic_regression,
    "ada_boost": _ada_boost,
    "gradient_boosting": _gradient_boosting,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "svm": _svm,
    "k_nn": _k_nn,
    "full_sensitivity": _full_sensitivity,
    "one_class": _one_class,
    "single": _single,
}
NEED_NO_ABNORMALS = ("one_class", "single")


def make_classifier(name: str, *, seed: int = 0) -> Pipeline:
    """The unfitted pipeline called `name`; fit it with `fit_classifier`.

    Raises:
        UserError: `name` is not in CLASSIFIERS ("auto" is for `choose_classifier`), or its library
            is not installed.
    """
    return make_pipeline(CleanTable(), *CLASSIFIERS[_known(name)](seed))


def choose_classifier(name: str, labels: Labels, groups: Labels | None = None) -> str:
    """The classifier that calibration images with these labels allow.

    "auto" is extra_trees if there are abnormal images in at least 2 groups (an image is its own
    group where `groups` is None), so that each can be scored by trees that have not seen it;
    else one_class, which learns from normal images alone.

    Raises:
        UserError: unknown name, fewer than 2 normal images, or a supervised classifier asked for
            by name without enough abnormal images.
    """
    abnormal = np.asarray(labels).astype(bool)
    kinds = np.arange(abnormal.size) if groups is None else np.asarray(groups)
    n_groups = np.unique(kinds[abnormal]).size
    if (~abnormal).sum() < 2:
        raise UserError(
            f"{(~abnormal).sum()} normal images calibrate; at least 2 are needed. Raise "
            "`config.data.calibration.normal` or add normal images."
        )
    if name == "auto":
        return "extra_trees" if n_groups >= 2 else "one_class"
    if _known(name) not in NEED_NO_ABNORMALS and n_groups < 2:
        raise UserError(
            f"Classifier {name!r} learns from abnormal images of at least 2 groups and {n_groups} "
            "calibrate. Add some, raise `config.data.calibration`, or use 'one_class' or 'auto'."
        )
    return name


def fit_classifier(classifier: Any, table: Table, labels: Labels) -> Any:
    """`classifier`, fitted in place; one that is no classifier sees the normal rows alone."""
    rows, kinds = np.asarray(table), np.asarray(labels).astype(int)
    if learns_from_normals(classifier):
        rows, kinds = rows[kinds == 0], kinds[kinds == 0]
    return classifier.fit(rows, kinds)


def anomaly_score(classifier: Any, table: Table) -> Float64[np.ndarray, "n"]:
    """One score per row, rising with abnormality.

    Squared Mahalanobis distance, decision function or probability of "abnormal", whichever the
    classifier has first. NaN, and so `inspect`, for a row that misses a statistic which no
    calibration image missed: the measurement failed and a guess might hide a defect.
    """
    rows = np.asarray(table)
    scores = imputed_score(classifier, rows)
    cleaning = classifier[0] if isinstance(classifier, Pipeline) else None
    if isinstance(cleaning, CleanTable):
        scores[cleaning.unmeasured(rows)] = np.nan
    return scores


def imputed_score(classifier: Any, table: Table) -> Float64[np.ndarray, "n"]:
    """As `anomaly_score`, but a missing statistic always counts as the median."""
    final = _final(classifier)
    if hasattr(final, "mahalanobis"):
        rows = classifier[:-1].transform(table) if isinstance(classifier, Pipeline) else table
        return np.asarray(final.mahalanobis(rows), dtype=np.float64)
    if is_outlier_detector(final):  # scikit-learn's are high for inliers
        return -np.asarray(classifier.decision_function(table), dtype=np.float64)
    if hasattr(classifier, "decision_function"):
        return np.asarray(classifier.decision_function(table), dtype=np.float64)
    return np.asarray(classifier.predict_proba(table)[:, 1], dtype=np.float64)


def learns_from_normals(classifier: Any) -> bool:
    """Whether it is fitted on normal images alone."""
    return not is_classifier(_final(classifier))


def _final(classifier: Any) -> Any:
    return classifier[-1] if isinstance(classifier, Pipeline) else classifier


def _known(name: str) -> str:
    if name not in CLASSIFIERS:
        raise UserError(f"Unknown classifier {name!r}; known: auto, {', '.join(CLASSIFIERS)}.")
    return name
