import importlib.util
import sys

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf
from sklearn.datasets import load_breast_cancer

from ad_core.decision import (
    anomaly_score,
    choose_classifier,
    fit_classifier,
    make_classifier,
    out_of_fold_scores,
)
from ad_core.decision.classifiers.choices import CLASSIFIERS
from ad_core.errors import UserError
from ad_core.metrics import auroc


def installed(names):
    absent = pytest.mark.skip(reason="the `boosting` extra is not installed")
    missing = [n for n in ("xgboost", "lightgbm") if importlib.util.find_spec(n) is None]
    return [pytest.param(name, marks=[absent] * (name in missing)) for name in names]


def columns(name, table):
    """What the classifier of that name takes."""
    return table[:, 27:28] if name == "single" else table  # concave points of the worst cells


@pytest.fixture(scope="module")
def tumours():
    """Benign = normal, one malignant kept for every third benign; 30 measurements each."""
    table, benign = load_breast_cancer(return_X_y=True)
    rows = np.concatenate([np.flatnonzero(benign)[:240], np.flatnonzero(benign == 0)[:80]])
    return table[rows], 1 - benign[rows]


@pytest.mark.parametrize("name", installed(CLASSIFIERS))
def test_the_score_rises_with_abnormality_on_unseen_rows(name, tumours):
    table, labels = columns(name, tumours[0]), tumours[1]
    fitted = fit_classifier(make_classifier(name), table[::2], labels[::2])
    assert auroc(labels[1::2], anomaly_score(fitted, table[1::2])) > 0.9


@pytest.mark.parametrize("name", installed(CLASSIFIERS))
def test_scores_depend_on_the_seed_alone_and_on_no_other_row(name, tumours):
    table, labels = columns(name, tumours[0]), tumours[1]
    first, second = (fit_classifier(make_classifier(name, seed=7), table, labels) for _ in "ab")
    scores = anomaly_score(first, table)
    np.testing.assert_array_equal(scores, anomaly_score(second, table))
    # To rounding: a product of matrices may sum in another order for another number of rows.
    np.testing.assert_allclose(scores[5:6], anomaly_score(first, table[5:6]), rtol=1e-4)
    assert scores.dtype == np.float64 and scores.shape == labels.shape


def test_one_class_is_the_mahalanobis_distance_from_normals():
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(60, 4)).astype(np.float32) * np.float32([1, 10, 100, 0.1])
    others = normals[:10] + np.float32([1, 0, 200, 0])
    table, labels = np.concatenate([normals, others]), np.repeat([0, 1], [60, 10])
    fitted = fit_classifier(make_classifier("one_class"), table, labels)
    centre, spread = normals.mean(0), normals.std(0)
    inverse = np.linalg.inv(ledoit_wolf((normals - centre) / spread)[0])
    expected = [mahalanobis(row, np.zeros(4), inverse) ** 2 for row in (table - centre) / spread]
    np.testing.assert_allclose(anomaly_score(fitted, table), expected, rtol=1e-3)


@pytest.mark.parametrize("name", installed(CLASSIFIERS))
def test_a_table_in_bad_condition_still_gives_finite_scores(name, tumours):
    table, labels = tumours[0].copy(), tumours[1]
    table[3, 2], table[4, 5], table[:, 7], table[8, :] = np.inf, np.nan, 1.0, np.nan
    table = columns(name, table)
    fitted = fit_classifier(make_classifier(name), table, labels)
    assert np.isfinite(anomaly_score(fitted, table)).all()


def test_every_classifier_bears_a_first_split_that_flags_most_normals():
    # Balanced, the best split flags 70 of 100 normal rows: wrong for most rows, unweighted.
    table = np.repeat([[0.0], [1.0], [0.0]], [70, 30, 20], axis=0)
    labels = np.repeat([0, 0, 1], [70, 30, 20])
    for name in ("ada_boost", "extra_trees", "gradient_boosting"):
        fitted = fit_classifier(make_classifier(name), table, labels)
        low, high = anomaly_score(fitted, np.array([[1.0], [0.0]]))
        assert low < high, name


def test_a_boosting_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(UserError, match=r"'xgboost'.*zfn-ad\[boosting\]"):
        make_classifier("xgboost")


@pytest.mark.parametrize("name", installed(CLASSIFIERS))
def test_a_measurement_that_failed_is_no_score(name, tumours):
    table, labels = columns(name, tumours[0]), tumours[1]
    fitted = fit_classifier(make_classifier(name), table, labels)
    new = table[:4].copy()
    new[1, fitted[0].kept_[-1]] = np.nan
    assert np.isnan(anomaly_score(fitted, new)).tolist() == [False, True, False, False]


def test_auto_depends_on_the_abnormal_images():
    assert choose_classifier("auto", np.array([0, 0, 1, 1])) == "extra_trees"
    assert choose_classifier("auto", np.array([0, 0, 0])) == "one_class"
    assert choose_classifier("auto", np.array([0, 0, 1])) == "one_class"
    one_patient = np.array(["a", "b", "c", "c"])
    assert choose_classifier("auto", np.array([0, 0, 1, 1]), one_patient) == "one_class"
    assert choose_classifier("one_class", np.array([0, 0, 1, 1])) == "one_class"


def test_a_supervised_classifier_without_abnormal_images_is_refused():
    with pytest.raises(UserError, match="'extra_trees' learns from abnormal.*0 calibrate.*one_cla"):
        choose_classifier("extra_trees", np.zeros(5, int))


def test_too_few_normal_images_are_refused():
    with pytest.raises(UserError, match="1 normal images calibrate"):
        choose_classifier("auto", np.array([0, 1, 1]))


def test_an_unknown_classifier_lists_the_known():
    for call in (make_classifier, lambda name: choose_classifier(name, np.array([0, 0, 1, 1]))):
        with pytest.raises(UserError, match="'extra_tree'; known: auto, extra_trees"):
            call("extra_tree")


def test_out_of_fold_scores_of_noise_carry_no_knowledge_of_the_labels():
    rng = np.random.default_rng(0)
    table, labels = rng.normal(size=(120, 10)), np.repeat([0, 1], 60)
    args = (lambda: make_classifier("extra_trees"), table, labels, np.arange(120))
    # Three standard deviations of the AUROC of chance are 0.16; in-sample it is near 1.
    assert abs(auroc(labels, out_of_fold_scores(*args, folds=5, seed=0)) - 0.5) < 0.16
    fitted = fit_classifier(make_classifier("extra_trees"), table, labels)
    assert auroc(labels, anomaly_score(fitted, table)) > 0.95


def test_single_gives_back_its_statistic_and_needs_no_abnormal_image(tumours):
    sse = tumours[0][:, 3:4].astype(np.float32)
    fitted = fit_classifier(make_classifier("single"), sse[:40], np.zeros(40, int))
    np.testing.assert_array_equal(anomaly_score(fitted, sse), sse[:, 0])
    assert choose_classifier("single", np.zeros(5)) == "single"
    labels, groups = np.repeat([0, 1], [8, 3]), np.arange(11)
    held_out = out_of_fold_scores(
        lambda: make_classifier("single"), sse[:11], labels, groups, folds=5, seed=0
    )
    np.testing.assert_array_equal(held_out, sse[:11, 0])


def test_single_refuses_more_than_one_statistic(tumours):
    with pytest.raises(UserError, match="takes one statistic, not"):
        fit_classifier(make_classifier("single"), *tumours)
