"""Classifiers by name: pipelines from a table of statistics to one score per image.

A classifier is one function and one line in CLASSIFIERS. Whatever it is inside, its
`anomaly_score` rises with abnormality. Everything that is learnt from the table is inside the
pipeline. `fitting` holds how a pipeline is fitted and read.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Shaped
from sklearn.base import BaseEstimator
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import (
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

from ad_core.decision.classifiers.ada_boost import BalancedAdaBoost
from ad_core.decision.classifiers.boosting import BoostedTrees, require_library
from ad_core.decision.classifiers.cleaning import CleanTable
from ad_core.decision.classifiers.full_sensitivity import FullSensitivityClassifier
from ad_core.decision.classifiers.pairwise_losses import LOSSES
from ad_core.decision.classifiers.single import SingleStatistic
from ad_core.decision.classifiers.stacking import StackedScores
from ad_core.errors import UserError

Labels = Shaped[Array | np.ndarray, "n"]

# Leaves of 2 images: fully grown trees vote 0 or 1 and tie often where zfn draws its line, larger
# leaves lose what sets the rare abnormal images apart. Among 1, 2, 3, 5 and 8, the AUROC with 25
# abnormal images (four tables, four seeds) is within 0.003 of the best at 2 and falls from 3 on.
_FOREST: dict[str, Any] = {
    "n_estimators": 400,
    "min_samples_leaf": 2,
}
WEIGHTS = ("balanced", "none")


class Choices(NamedTuple):
    """What a classifier may be told, beside its name.

    class_weight: "balanced" gives both classes the same total weight, "none" every row the same.
    gradient_boosting, k_nn and one_class take none, full_sensitivity's losses over pairs need
    none. loss: of full_sensitivity. stacked: names of the classifiers below stacking.
    """

    seed: int = 0
    class_weight: str = "balanced"
    loss: str = "two_way"
    stacked: tuple[str, ...] = ("extra_trees", "logistic_regression", "full_sensitivity")

    @property
    def weight(self) -> str | None:
        """In scikit-learn's words."""
        return None if self.class_weight == "none" else self.class_weight


def _extra_trees(choices: Choices) -> list[BaseEstimator]:
    return [ExtraTreesClassifier(**_FOREST, class_weight=choices.weight, random_state=choices.seed)]


def _random_forest(choices: Choices) -> list[BaseEstimator]:
    return [
        RandomForestClassifier(**_FOREST, class_weight=choices.weight, random_state=choices.seed)
    ]


def _logistic_regression(choices: Choices) -> list[BaseEstimator]:
    model = LogisticRegression(
        class_weight=choices.weight, max_iter=2000, random_state=choices.seed
    )
    return [StandardScaler(), model]


def _ada_boost(choices: Choices) -> list[BaseEstimator]:
    tree = DecisionTreeClassifier(max_depth=2)
    model = BalancedAdaBoost(
        tree, n_estimators=100, random_state=choices.seed, class_weight=choices.weight
    )
    return [model]


def _gradient_boosting(choices: Choices) -> list[BaseEstimator]:
    # Not the histogram variant: its leaves want more abnormal rows than there usually are.
    model = GradientBoostingClassifier(
        n_estimators=200, learning_rate=0.05, subsample=0.8, random_state=choices.seed
    )
    return [model]


def _xgboost(choices: Choices) -> list[BaseEstimator]:
    require_library("xgboost")
    return [BoostedTrees("xgboost", choices.class_weight, random_state=choices.seed)]


def _lightgbm(choices: Choices) -> list[BaseEstimator]:
    require_library("lightgbm")
    return [BoostedTrees("lightgbm", choices.class_weight, random_state=choices.seed)]


def _svm(choices: Choices) -> list[BaseEstimator]:
    return [StandardScaler(), SVC(class_weight=choices.weight, random_state=choices.seed)]


def _k_nn(choices: Choices) -> list[BaseEstimator]:
    """Five neighbours weighted by 1 / distance, so that few scores tie. Nothing to choose."""
    model = KNeighborsClassifier(n_neighbors=5, weights="distance", algorithm="brute")
    return [StandardScaler(), model]


def _full_sensitivity(choices: Choices) -> list[BaseEstimator]:
    return [FullSensitivityClassifier(choices.loss, random_state=choices.seed)]


def _one_class(choices: Choices) -> list[BaseEstimator]:
    """Squared Mahalanobis distance from the normals; Ledoit-Wolf shrinks their covariance.

    Shrinkage keeps it invertible with fewer images than statistics. Nothing to choose.
    """
    return [StandardScaler(), LedoitWolf()]


def _single(choices: Choices) -> list[BaseEstimator]:
    """The one statistic that there is, such as sse, as the score. Nothing to choose."""
    return [SingleStatistic()]


def _stacking(choices: Choices) -> list[BaseEstimator]:
    """Each stacked classifier cleans for itself, so that no inner fold tells another anything."""
    if not choices.stacked or {"stacking", *NEED_NO_ABNORMALS} & set(choices.stacked):
        raise UserError(
            f"`stacked` (={choices.stacked}) must name classifiers other than stacking, "
            f"{' and '.join(NEED_NO_ABNORMALS)}."
        )
    below = [make_classifier(name, **choices._asdict()) for name in choices.stacked]
    return [StackedScores(below, class_weight=choices.class_weight, random_state=choices.seed)]


CLASSIFIERS: dict[str, Callable[[Choices], list[BaseEstimator]]] = {
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
    "stacking": _stacking,
    "one_class": _one_class,
    "single": _single,
}
NEED_NO_ABNORMALS = ("one_class", "single")


def make_classifier(
    name: str,
    *,
    seed: int = 0,
    class_weight: str = "balanced",
    loss: str = "two_way",
    stacked: Sequence[str] = Choices().stacked,
) -> Pipeline:
    """The unfitted pipeline called `name`; fit it with `fit_classifier`. Options: see `Choices`.

    Raises:
        UserError: `name` is not in CLASSIFIERS ("auto" is for `choose_classifier`), its library is
            not installed, or an option is unknown.
    """
    if class_weight not in WEIGHTS:
        raise UserError(f"`class_weight` (={class_weight!r}) must be one of {', '.join(WEIGHTS)}.")
    if loss not in LOSSES:
        raise UserError(f"`loss` (={loss!r}) must be one of {', '.join(LOSSES)}.")
    choices = Choices(seed, class_weight, loss, tuple(stacked))
    return make_pipeline(CleanTable(), *CLASSIFIERS[_known(name)](choices))


def choose_classifier(name: str, labels: Labels, groups: Labels | None = None) -> str:
    """The classifier that calibration images with these labels allow.

    "auto" is extra_trees if there are abnormal images in at least 2 groups (an image is its own
    group where `groups` is None), so that each can be scored by trees that have not seen it;
    else one_class, which learns from normal images alone. "select" stays (see `selection`), given
    abnormal images in at least 3 groups.

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
    if name != "select":
        _known(name)
    # Choosing holds a group out, and one more within the rest.
    needed = 3 if name == "select" else 2
    if name not in NEED_NO_ABNORMALS and n_groups < needed:
        raise UserError(
            f"Classifier {name!r} learns from abnormal images of at least {needed} groups and "
            f"{n_groups} calibrate. Add some, raise `config.data.calibration`, or use 'one_class' "
            "or 'auto'."
        )
    return name


def _known(name: str) -> str:
    if name not in CLASSIFIERS:
        known = f"auto, {', '.join(CLASSIFIERS)}, select"
        raise UserError(f"Unknown classifier {name!r}; known: {known}.")
    return name
