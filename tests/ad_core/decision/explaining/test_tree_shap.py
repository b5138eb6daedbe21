"""Shapley values against their definition, shap's own and XGBoost's.

golden/tree_shap.npz: shap 0.54.1, scikit-learn 1.9.1, NumPy 2.5.5, Python 3.13:
`shap.TreeExplainer(forest, feature_perturbation="tree_path_dependent").shap_values(rows)[..., 1]`
of RandomForestClassifier(5, min_samples_leaf=2, class_weight="balanced", random_state=0) on 120
rows of six normal columns, the last rounded (seed 0); beside it the five trees.
"""

import json
from itertools import combinations
from math import factorial
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from ad_core.decision.explaining.tree_shap import Forest, Tree

GOLDEN = Path(__file__).parents[3] / "golden" / "tree_shap.npz"


def tree_of(fitted):
    tree = fitted.tree_
    return Tree(
        tree.children_left,
        tree.children_right,
        tree.feature,
        tree.threshold,
        tree.weighted_n_node_samples,
        tree.value[:, 0, 1],
    )


def forest(n_columns, *, trees=3, depth=None, seed=0, n=80):
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(n, n_columns)).astype(np.float32).round(1)
    labels = (table[:, 0] * table[:, 1] + 0.5 * rng.normal(size=n) > 0).astype(int)
    model = ExtraTreesClassifier(trees, max_depth=depth, random_state=seed, class_weight="balanced")
    return model.fit(table, labels), table


def expected_leaf(tree, row, known, node=0):
    """The tree's value where only the columns in `known` may be asked."""
    if tree.left[node] < 0:
        return tree.value[node]
    left, right = tree.left[node], tree.right[node]
    column = tree.feature[node]
    if column in known:
        child = left if row[column] <= tree.threshold[node] else right
        return expected_leaf(tree, row, known, child)
    parts = [tree.cover[child] * expected_leaf(tree, row, known, child) for child in (left, right)]
    return sum(parts) / tree.cover[node]


def by_definition(tree, row):
    k = len(row)
    values = np.zeros(k)
    for column in range(k):
        others = [c for c in range(k) if c != column]
        for size in range(k):
            weight = factorial(size) * factorial(k - size - 1) / factorial(k)
            for subset in combinations(others, size):
                with_it = expected_leaf(tree, row, {*subset, column})
                values[column] += weight * (with_it - expected_leaf(tree, row, {*subset}))
    return values


@pytest.mark.parametrize("n_columns, depth", [(2, None), (3, 1), (5, 3), (5, None)])
def test_the_values_are_those_of_the_definition_over_all_subsets(n_columns, depth):
    model, table = forest(n_columns, depth=depth)
    trees = [tree_of(estimator) for estimator in model.estimators_]
    found = Forest(trees).shapley_values(table[:5])
    expected = [sum(by_definition(tree, row) for tree in trees) for row in table[:5]]
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_the_values_are_those_of_shap():
    with np.load(GOLDEN) as golden:
        fields = ("children_left", "children_right", "feature", "threshold")
        fields += ("weighted_n_node_samples", "value")
        trees = [Tree(*(golden[f"{i}_{field}"] for field in fields)) for i in range(5)]
        found = Forest(trees)
        assert found.base == pytest.approx(float(golden["base"]))
        values = found.shapley_values(golden["rows"])
        np.testing.assert_allclose(values, golden["values"], atol=1e-6)


@pytest.mark.parametrize("n_columns, n", [(4, 80), (60, 400)])
def test_values_and_base_sum_to_the_forests_score(n_columns, n):
    model, table = forest(n_columns, trees=20, n=n)
    found = Forest([tree_of(estimator) for estimator in model.estimators_])
    sums = found.shapley_values(table).sum(axis=1) + found.base
    np.testing.assert_allclose(sums / 20, model.predict_proba(table)[:, 1], atol=1e-6)


def test_the_values_are_those_of_xgboost():
    xgboost = pytest.importorskip("xgboost")
    rng = np.random.default_rng(0)
    table = rng.normal(size=(300, 8)).astype(np.float32).round(1)
    labels = (table[:, 0] * table[:, 1] + table[:, 2] > 0).astype(int)
    data = xgboost.DMatrix(table, label=labels)
    booster = xgboost.train({"max_depth": 5, "eta": 0.3, "verbosity": 0}, data, 12)
    dumped = booster.get_dump(dump_format="json", with_stats=True)
    found = Forest([from_json(json.loads(text)) for text in dumped])
    expected = booster.predict(data, pred_contribs=True)
    np.testing.assert_allclose(found.shapley_values(table), expected[:, :-1], atol=1e-5)


def from_json(root):
    """A dumped tree; XGBoost goes left where x < threshold, so ours is the next number below."""
    nodes, rows = [root], []
    for node in nodes:
        below = {child["nodeid"]: child for child in node.get("children", [])}
        if not below:
            rows.append((-1, -1, -2, 0.0, node["cover"], node["leaf"]))
            continue
        rows.append(
            (
                len(nodes),
                len(nodes) + 1,
                int(node["split"][1:]),
                np.nextafter(np.float32(node["split_condition"]), np.float32(-np.inf)),
                node["cover"],
                0.0,
            )
        )
        nodes += [below[node["yes"]], below[node["no"]]]
    left, right, feature, threshold, cover, value = zip(*rows, strict=True)
    return Tree(
        *(np.array(column) for column in (left, right, feature)),
        *(np.array(column, np.float64) for column in (threshold, cover, value)),
    )


def test_a_tree_that_asks_nothing_explains_nothing():
    leaf = np.array([-1])
    alone = Tree(leaf, leaf, leaf, np.zeros(1), np.ones(1), np.full(1, 0.7))
    found = Forest([alone])
    assert found.base == 0.7 and not found.shapley_values(np.zeros((3, 2))).any()
    with pytest.raises(ValueError, match="needs a tree"):
        Forest([])
