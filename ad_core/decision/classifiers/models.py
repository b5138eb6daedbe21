"""The unfitted model of each classifier: what it learns with, once its table is clean.

A model's score rises with abnormality (see `fitting`). `catalogue` says which name takes which.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sklearn.covariance import LedoitWolf
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from ad_core.decision.classifiers.ada_boost import BalancedAdaBoost
from ad_core.decision.classifiers.average import AverageScore
from ad_core.decision.classifiers.boosting import BoostedTrees
from ad_core.decision.classifiers.full_sensitivity import FullSensitivityClassifier
from ad_core.decision.classifiers.monotone import MonotoneRegression
from ad_core.decision.classifiers.proved_ridge import ConformalRidge, JackknifeRidge
from ad_core.decision.classifiers.single import SingleStatistic
from ad_core.decision.classifiers.stacking import StackedScores

# Leaves of 2 images: fully grown trees vote 0 or 1 and tie often where zfn draws its line, larger
# leaves lose what sets the rare abnormal images apart. Among 1, 2, 3, 5 and 8, the AUROC with 25
# abnormal images (four tables, four seeds) is within 0.003 of the best at 2 and falls from 3 on.
_FOREST: dict[str, Any] = {
    "n_estimators": 400,
    "min_samples_leaf": 2,
}
WEIGHTS = ("balanced", "none")


class Choices(NamedTuple):
    """Settings of a classifier, beside its name.

    class_weight: "balanced" gives both classes the same total weight, "none" every row the same.
    gradient_boosting, k_nn, one_class, average and single take none, full_sensitivity's losses over
    pairs need none. loss: of full_sensitivity. stacked: names of the classifiers below stacking.
    """

    seed: int = 0
    class_weight: str = "balanced"
    loss: str = "two_way"
    stacked: tuple[str, ...] = ("extra_trees", "logistic_regression", "full_sensitivity")

    @property
    def weight(self) -> str | None:
        """Class weight in scikit-learn's words."""
        return None if self.class_weight == "none" else self.class_weight


def extra_trees(choices: Choices) -> ExtraTreesClassifier:
    """400 trees whose questions are drawn at random."""
    return ExtraTreesClassifier(**_FOREST, class_weight=choices.weight, random_state=choices.seed)


def random_forest(choices: Choices) -> RandomForestClassifier:
    """400 trees, each grown on rows drawn again."""
    return RandomForestClassifier(**_FOREST, class_weight=choices.weight, random_state=choices.seed)


def logistic_regression(choices: Choices) -> LogisticRegression:
    """A weighted sum of standardised columns."""
    return LogisticRegression(class_weight=choices.weight, max_iter=2000, random_state=choices.seed)


def ada_boost(choices: Choices) -> BalancedAdaBoost:
    """100 trees of two questions in a row."""
    return BalancedAdaBoost(
        DecisionTreeClassifier(max_depth=2),
        n_estimators=100,
        random_state=choices.seed,
        class_weight=choices.weight,
    )


def gradient_boosting(choices: Choices) -> GradientBoostingClassifier:
    """200 trees of scikit-learn, each mending the ones before."""
    # Not the histogram variant: its leaves want more abnormal rows than there usually are.
    return GradientBoostingClassifier(
        n_estimators=200, learning_rate=0.05, subsample=0.8, random_state=choices.seed
    )


def xgboost(choices: Choices) -> BoostedTrees:
    """XGBoost."""
    return BoostedTrees("xgboost", choices.class_weight, random_state=choices.seed)


def lightgbm(choices: Choices) -> BoostedTrees:
    """LightGBM."""
    return BoostedTrees("lightgbm", choices.class_weight, random_state=choices.seed)


def svm(choices: Choices) -> SVC:
    """A support vector machine with a Gaussian kernel."""
    return SVC(class_weight=choices.weight, random_state=choices.seed)


def k_nn(choices: Choices) -> KNeighborsClassifier:
    """Five neighbours weighted by 1 / distance, so that few scores tie. Nothing to choose."""
    return KNeighborsClassifier(n_neighbors=5, weights="distance", algorithm="brute")


def full_sensitivity(choices: Choices) -> FullSensitivityClassifier:
    """Perceptrons trained by a loss over pairs."""
    return FullSensitivityClassifier(choices.loss, random_state=choices.seed)


def monotone(choices: Choices) -> MonotoneRegression:
    """A weighted sum of columns that all rise with abnormality, no weight below 0."""
    return MonotoneRegression(class_weight=choices.weight)


def one_class(choices: Choices) -> LedoitWolf:
    """Squared Mahalanobis distance from the normals; Ledoit-Wolf shrinks their covariance.

    Shrinkage keeps it invertible with fewer images than statistics. Nothing to choose.
    """
    return LedoitWolf()


def conformal_ridge(choices: Choices) -> ConformalRidge:
    """A ridge that ranks an image as one more abnormal image, by full conformal prediction."""
    return ConformalRidge(random_state=choices.seed)


def jackknife_ridge(choices: Choices) -> JackknifeRidge:
    """Ridges that each leave an abnormal group out, by the jackknife+."""
    return JackknifeRidge()


def average(choices: Choices) -> AverageScore:
    """The mean of the statistics, each by its spread among normals. Nothing to choose."""
    return AverageScore()


def single(choices: Choices) -> SingleStatistic:
    """The one statistic that there is, such as sse, as the score. Nothing to choose."""
    return SingleStatistic()


def stacking(choices: Choices, below: Sequence[Pipeline]) -> StackedScores:
    """A weighted sum of the scores of the classifiers `below`."""
    return StackedScores(below, class_weight=choices.class_weight, random_state=choices.seed)
