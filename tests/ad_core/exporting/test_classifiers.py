"""Scores of classifiers in a program against those of the fitted pipelines themselves."""

import functools
import importlib.util
import io

import jax
import numpy as np
import pytest

from ad_core.decision import make_classifier
from ad_core.decision.classifiers.catalogue import CLASSIFIERS
from ad_core.decision.classifiers.fitting import anomaly_score, fit_classifier, raised_by
from ad_core.errors import UserError
from ad_core.exporting.classifiers import MODELS, score_function
from ad_core.exporting.libraries import require
from ad_core.exporting.trees import (
    largest_float32_below,
    leaf_values,
    make_grove,
    sum_in_order,
)
from tests.onnx_function import model_of

FEATURES = [f"deep_{level}_{i:04d}" for level in ("stem", "head") for i in range(3)]
NAMES = ("loss_score", "loss_top", "mse", *FEATURES)
SCALES = np.logspace(-2, 3, len(NAMES))
# Of the range of the scores. Trees add float64 in scikit-learn's order: not a bit is another one.
# Others round to float32 once or more, or multiply matrices in another order.
EXACT = {"extra_trees", "random_forest", "gradient_boosting", "ada_boost", "single"}
CLOSE = 1e-6


def table(seed, count):
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % 3 == 0).astype(int)
    values = rng.standard_normal((count, len(NAMES))) + 0.8 * labels[:, None]
    return (values * SCALES).astype(np.float32), labels


def slow_but(*fast):
    """All classifiers, those but `fast` marked as slow: their forests are, or all they stack."""
    return [name if name in fast else pytest.param(name, marks=pytest.mark.slow) for name in MODELS]


@functools.cache
def fitted(name):
    values, labels = table(0, 90)
    columns = slice(0, 1) if CLASSIFIERS[name].one_statistic else slice(None)
    model = make_classifier(name, names=NAMES[columns])
    return fit_classifier(model, values[:, columns], labels), columns


@pytest.mark.parametrize("name", slow_but(*(name for name in MODELS if name != "stacking")))
def test_a_classifier_scores_in_a_program_as_by_itself(name):
    model, columns = fitted(name)
    rows = 1.5 * table(1, 40)[0][:, columns]
    expected = anomaly_score(model, rows)
    with jax.enable_x64(True):
        score = jax.jit(score_function(model))
        found = np.array([float(score(row)) for row in rows])
    if name in EXACT:
        own = raised_by(model, rows) == 0  # else by a distance, a sum in another order
        np.testing.assert_array_equal(found[own], expected[own])
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE * np.ptp(expected))


@pytest.mark.parametrize("name", slow_but("extra_trees", "full_sensitivity", "one_class"))
def test_a_classifier_scores_without_jax_as_by_itself(name):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    model, columns = fitted(name)
    rows = 1.5 * table(1, 40)[0][:, columns]
    expected = anomaly_score(model, rows)
    with jax.enable_x64(True):
        content = model_of(score_function(model), rows[0])
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found = np.array([float(session.run(None, {"x0": row})[0]) for row in rows])
    if name in EXACT:
        own = raised_by(model, rows) == 0  # else by a distance, a sum in another order
        np.testing.assert_array_equal(found[own], expected[own])
    np.testing.assert_allclose(found, expected, rtol=0, atol=CLOSE * np.ptp(expected))
    if not importlib.util.find_spec("openvino"):
        pytest.skip("needs openvino")
    openvino = require("openvino")
    read = openvino.Core().read_model(io.BytesIO(content))
    compiled = openvino.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = np.array([float(compiled([row])[0]) for row in rows])
    np.testing.assert_allclose(found, expected, rtol=0, atol=10 * CLOSE * np.ptp(expected))


def test_classifiers_without_a_form_are_refused_by_name():
    model, _ = fitted("conformal_ridge")
    with pytest.raises(UserError, match=r"Classifier 'conformal_ridge' has no form .* extra_trees"):
        score_function(model)
    left = set(CLASSIFIERS) - set(MODELS)
    assert left == {"conformal_ridge", "k_nn", "xgboost", "lightgbm"}


def test_a_float32_threshold_answers_as_the_float64_one():
    rng = np.random.default_rng(0)
    near = np.float32(rng.standard_normal(2000) * 10.0 ** rng.integers(-30, 30, 2000))
    below, above = (np.nextafter(near, np.float32(end)) for end in (-np.inf, np.inf))
    thresholds = np.concatenate(
        [near, (near.astype(float) + above) / 2, near.astype(float) * (1 - 1e-15)]
    )
    stored = largest_float32_below(thresholds.astype(np.float64))
    assert stored.dtype == np.float32
    for values in (below, near, above):
        x = np.tile(values, 3)
        np.testing.assert_array_equal(x <= stored, x.astype(np.float64) <= thresholds)


def test_a_rounded_threshold_would_answer_otherwise():
    # What is proved above is no matter of course: the nearest float32 fails it.
    threshold = np.array([float(np.float32(0.1)) - 1e-12])
    x = np.float32(0.1)
    assert not x <= threshold[0] and x <= np.float32(threshold[0])
    assert not x <= largest_float32_below(threshold)[0]


def test_a_tree_drawn_by_hand_leads_to_its_leaves():
    class Tree:  # x0 <= 1 ? 10 : (x1 <= 2 ? 20 : 30)
        node_count, max_depth = 5, 2
        children_left = np.array([1, -1, 3, -1, -1])
        children_right = np.array([2, -1, 4, -1, -1])
        feature = np.array([0, -2, 1, -2, -2])
        threshold = np.array([1.0, -2.0, 2.0, -2.0, -2.0])

    grove = make_grove([Tree, Tree], lambda tree: np.array([0.0, 10.0, 0.0, 20.0, 30.0]))
    with jax.enable_x64(True):
        for row, leaf in (([1.0, 9.0], 10), ([1.5, 2.0], 20), ([1.5, 2.5], 30)):
            found = leaf_values(grove, jax.numpy.asarray(row, np.float32))
            assert found.tolist() == [leaf, leaf]
            assert float(sum_in_order(found, 1.0)) == 2 * leaf + 1
