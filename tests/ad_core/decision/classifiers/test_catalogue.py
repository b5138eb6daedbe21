import sys

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf
from sklearn.datasets import load_breast_cancer

from ad_core.decision import anomaly_score, fit_classifier, make_classifier, out_of_fold_scores
from ad_core.errors import UserError


@pytest.fixture(scope="module")
def tumours():
    """Benign = normal, one malignant kept for every third benign; 30 measurements each."""
    table, benign = load_breast_cancer(return_X_y=True)
    rows = np.concatenate([np.flatnonzero(benign)[:240], np.flatnonzero(benign == 0)[:80]])
    return table[rows], 1 - benign[rows]


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


def test_an_unknown_classifier_lists_the_known():
    with pytest.raises(UserError, match="'extra_tree'; known: auto, extra_trees"):
        make_classifier("extra_tree")


def test_an_option_that_is_unknown_is_refused():
    with pytest.raises(UserError, match="`class_weight` \\(='heavy'\\)"):
        make_classifier("svm", class_weight="heavy")
    with pytest.raises(UserError, match="`loss` \\(='auc'\\)"):
        make_classifier("svm", loss="auc")
    for barred in ("stacking", "one_class", "conformal_ridge", "jackknife_ridge", "single"):
        with pytest.raises(UserError, match=f"other than .*{barred}"):
            make_classifier("stacking", stacked=("svm", barred))


def test_single_gives_back_its_statistic_and_needs_no_abnormal_image(tumours):
    sse = tumours[0][:, 3:4].astype(np.float32)
    fitted = fit_classifier(make_classifier("single"), sse[:40], np.zeros(40, int))
    np.testing.assert_array_equal(anomaly_score(fitted, sse), sse[:, 0])
    labels, groups = np.repeat([0, 1], [8, 3]), np.arange(11)
    held_out = out_of_fold_scores(
        lambda: make_classifier("single"), sse[:11], labels, groups, folds=5, seed=0
    )
    np.testing.assert_array_equal(held_out, sse[:11, 0])


def test_average_is_the_mean_of_standardised_statistics_and_sees_no_abnormal_image(tumours):
    table, labels = tumours
    normals = table[labels == 0].astype(np.float32)
    fitted = fit_classifier(make_classifier("average"), normals, np.zeros(len(normals), int))
    kept = fitted[0].kept_
    expected = np.mean((table[:, kept] - normals[:, kept].mean(0)) / normals[:, kept].std(0), 1)
    np.testing.assert_allclose(anomaly_score(fitted, table), expected, rtol=1e-4, atol=1e-4)
    both = fit_classifier(make_classifier("average"), table, labels)
    np.testing.assert_array_equal(anomaly_score(both, table), anomaly_score(fitted, table))


def test_single_refuses_more_than_one_statistic(tumours):
    with pytest.raises(UserError, match="takes one statistic, not"):
        fit_classifier(make_classifier("single"), *tumours)


def test_an_image_that_is_more_normal_than_most_is_no_anomaly_of_one_class():
    normals = np.random.default_rng(0).normal(10, 1, (60, 3)).astype(np.float32)
    names = ("mse", "loss_score", "psnr")  # high, high and low where abnormal
    one = fit_classifier(make_classifier("one_class", names=names), normals, np.zeros(60, int))
    usual, better, worse = anomaly_score(one, np.array([[10.0] * 3, [2, 2, 18], [14, 14, 6]]))
    assert better < usual + 1 < worse
    two = fit_classifier(make_classifier("one_class"), normals, np.zeros(60, int))
    assert anomaly_score(two, np.array([[2.0, 2, 18]]))[0] > worse / 4
