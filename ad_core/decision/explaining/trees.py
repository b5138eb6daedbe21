"""Shapley values of fitted trees, by how each ensemble adds its leaves up to a score.

They start from the training rows' average; the values themselves come from `tree_shap`.
"""

from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.pipeline import Pipeline

from ad_core.decision.explaining.attribution import Attribution, Rows
from ad_core.decision.explaining.tree_shap import Forest, Tree

_METHOD = "Shapley values of the trees"


def forest(model: Pipeline, normals: Rows) -> Attribution:
    """Attribution of a forest's score, the mean share of abnormal rows in the leaves."""
    grown: Any = model[-1]
    count = len(grown.estimators_)
    return _of([_tree(e.tree_, _abnormal_share(e.tree_) / count) for e in grown.estimators_])


def ada_boost(model: Pipeline, normals: Rows) -> Attribution:
    """Attribution of AdaBoost's score, the trees' weighted votes."""
    boosted: Any = model[-1]
    shares = boosted.estimator_weights_ / boosted.estimator_weights_.sum()
    pairs = zip(boosted.estimators_, shares, strict=False)  # a tree for each weight that is used
    return _of([_tree(e.tree_, _vote(e.tree_) * share) for e, share in pairs])


def gradient_boosting(model: Pipeline, normals: Rows) -> Attribution:
    """Attribution of scikit-learn's gradient boosting: its score sums the leaves at its rate."""
    boosted: Any = model[-1]
    grown = [estimator.tree_ for estimator in boosted.estimators_[:, 0]]
    return _of([_tree(tree, boosted.learning_rate * tree.value[:, 0, 0]) for tree in grown])


def boosted_elsewhere(model: Pipeline, normals: Rows) -> Attribution:
    """Attribution of XGBoost's and LightGBM's trees: the library's own values."""
    boosted: Any = model[-1]
    return Attribution(_METHOD, boosted.contributions)


def _of(trees: list[Tree]) -> Attribution:
    return Attribution(_METHOD, Forest(trees).shapley_values)


def _tree(tree: Any, value: Float[np.ndarray, "m"]) -> Tree:
    return Tree(
        tree.children_left,
        tree.children_right,
        tree.feature,
        tree.threshold,
        tree.weighted_n_node_samples,
        value,
    )


def _abnormal_share(tree: Any) -> Float[np.ndarray, "m"]:
    return tree.value[:, 0, 1] / tree.value[:, 0].sum(axis=1)


def _vote(tree: Any) -> Float[np.ndarray, "m"]:
    """AdaBoost's decision function has both classes' votes, hence 2."""
    return np.where(tree.value[:, 0].argmax(axis=1) == 1, 2.0, -2.0)
