"""How far each column pushed a fitted model's score, signed, by the exact method that fits it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.covariance import LedoitWolf
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from ad_core.decision.classifiers.boosting import BoostedTrees
from ad_core.decision.classifiers.cleaning import CleanTable
from ad_core.decision.classifiers.fitting import imputed_score
from ad_core.decision.classifiers.full_sensitivity import FullSensitivityClassifier
from ad_core.decision.classifiers.stacking import StackedScores
from ad_core.decision.explaining.tree_shap import Forest, Tree

Rows = Float[np.ndarray, "n k"]


class Attribution(NamedTuple):
    """A way to divide scores among columns.

    method: in words. push: rows [n, k] -> [n, k], above 0 towards abnormal. Except for `occlusion`
    the pushes of a row sum to its score less what the method starts from.
    """

    method: str
    push: Callable[[Rows], Rows]


def attribution(model: Pipeline, normals: Float[np.ndarray, "m k"]) -> Attribution:
    """The attribution of a fitted pipeline from a table to a score.

    What cleaning dropped pushes nothing. Otherwise:
    - trees: Shapley values (see `tree_shap`), starting from the training rows' average; boosted
      ones by their library;
    - logistic regression: coefficient times distance from the normals' mean;
    - one_class: z_j (P z)_j with P the precision and z standardised, which sums to z' P z;
    - the network: integrated gradients from the normals' mean;
    - stacking: the weighted sum of what explains the classifiers below;
    - others: by how much the score falls when this column alone is set to the normals' median.

    Args:
        normals: calibration rows to start from.
    """
    if isinstance(model[0], CleanTable):
        return _cleaned(model, normals)
    final, centre = model[-1], normals.mean(axis=0, keepdims=True)
    if isinstance(final, (ExtraTreesClassifier, RandomForestClassifier)):
        return _of_trees([_vote(e.tree_, len(final.estimators_)) for e in final.estimators_])
    if isinstance(final, AdaBoostClassifier):
        shares = final.estimator_weights_ / final.estimator_weights_.sum()
        pairs = zip(final.estimators_, shares, strict=False)
        return _of_trees([_weighted_vote(e.tree_, share) for e, share in pairs])
    if isinstance(final, GradientBoostingClassifier):
        trees = [estimator.tree_ for estimator in final.estimators_[:, 0]]
        return _of_trees([_tree(t, final.learning_rate * t.value[:, 0, 0]) for t in trees])
    if isinstance(final, BoostedTrees):
        return Attribution("Shapley values of the trees", final.contributions)
    if isinstance(final, LogisticRegression):
        start, coefficients = _before(model, centre), final.coef_[0]
        return Attribution("coefficients", lambda x: (_before(model, x) - start) * coefficients)
    if isinstance(final, LedoitWolf):
        return Attribution("terms of the squared distance", lambda x: _terms(model, final, x))
    if isinstance(final, FullSensitivityClassifier):
        return Attribution(
            "integrated gradients from the mean normal image",
            lambda x: final.integrated_gradients(x, centre[0]),
        )
    if isinstance(final, StackedScores):
        return _stacked(final, normals)
    return Attribution("occlusion by the normals' median", _occlusion(model, normals))


def _cleaned(model: Pipeline, normals: Float[np.ndarray, "m k"]) -> Attribution:
    cleaning: Any = model[0]
    inside = attribution(model[1:], cleaning.transform(normals).astype(np.float64))

    def push(rows: Rows) -> Rows:
        pushes = np.zeros(rows.shape)
        pushes[:, cleaning.kept_] = inside.push(cleaning.transform(rows).astype(np.float64))
        return pushes

    return Attribution(inside.method, push)


def _stacked(final: StackedScores, normals: Float[np.ndarray, "m k"]) -> Attribution:
    below = [attribution(one, normals) for one in final.below_]
    weights = final.weights_ / final.scale_

    def push(rows: Rows) -> Rows:
        pushes = [weight * of.push(rows) for weight, of in zip(weights, below, strict=True)]
        return np.sum(pushes, axis=0)

    methods = dict.fromkeys(of.method for of in below)
    return Attribution(f"weighted sum of {', '.join(methods)}", push)


def _of_trees(trees: list[Tree]) -> Attribution:
    return Attribution("Shapley values of the trees", Forest(trees).shapley_values)


def _tree(tree: Any, value: Float[np.ndarray, "m"]) -> Tree:
    return Tree(
        tree.children_left,
        tree.children_right,
        tree.feature,
        tree.threshold,
        tree.weighted_n_node_samples,
        value,
    )


def _vote(tree: Any, count: int) -> Tree:
    """A tree of a forest: the share of abnormal rows in the leaf."""
    return _tree(tree, tree.value[:, 0, 1] / tree.value[:, 0].sum(axis=1) / count)


def _weighted_vote(tree: Any, share: float) -> Tree:
    """A tree of AdaBoost: its decision function has both classes' votes, hence 2."""
    return _tree(tree, np.where(tree.value[:, 0].argmax(axis=1) == 1, 2.0, -2.0) * share)


def _before(model: Pipeline, rows: Rows) -> Rows:
    return np.asarray(model[:-1].transform(rows), np.float64) if len(model) > 1 else rows


def _terms(model: Pipeline, final: LedoitWolf, rows: Rows) -> Rows:
    z = _before(model, rows) - final.location_
    precision: Any = final.precision_
    return z * (z @ precision)


def _occlusion(model: Pipeline, normals: Float[np.ndarray, "m k"]) -> Callable[[Rows], Rows]:
    median = np.median(normals, axis=0)

    def push(rows: Rows) -> Rows:
        whole, pushes = imputed_score(model, rows), np.zeros(rows.shape)
        for column in range(rows.shape[1]):
            covered = rows.copy()
            covered[:, column] = median[column]
            pushes[:, column] = whole - imputed_score(model, covered)
        return pushes

    return push
