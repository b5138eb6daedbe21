"""The monotone regression against scikit-learn's, SciPy's other solver, and its own promise."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import check_estimator

from ad_core.decision import anomaly_score, fit_classifier, make_classifier
from ad_core.decision.classifiers.monotone import CleanUpwards, MonotoneRegression
from ad_core.decision.classifiers.squashing import SquashedColumns
from ad_core.errors import UserError

SHIFT = (1.5, 0.8, 0.4, -0.6)  # of the abnormal rows: the last column falls


def drawn(seed=0, n_normal=120, n_abnormal=40, shift=SHIFT):
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [n_normal, n_abnormal])
    return rng.normal(size=(labels.size, len(shift))) + labels[:, None] * np.array(shift), labels


def comparable(values, labels):
    """Counted from the middle between the classes' medians, which lie at -1 and 1."""
    low, high = (np.median(values[labels == kind]) for kind in (0, 1))
    return (values - (low + high) / 2) / ((high - low) / 2)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_it_is_a_scikit_learn_estimator():
    check_estimator(MonotoneRegression())


@pytest.mark.parametrize("C", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("class_weight", ["balanced", None])
def test_it_is_scikit_learns_where_that_has_no_negative_weight(C, class_weight):
    table, labels = drawn()
    table = table[:, :3]
    theirs = LogisticRegression(C=C, class_weight=class_weight, tol=1e-10, max_iter=10_000)
    theirs.fit(table, labels)
    assert (theirs.coef_ > 0).all()
    ours = MonotoneRegression(C, class_weight=class_weight).fit(table, labels)
    expected = comparable(theirs.decision_function(table), labels)
    np.testing.assert_allclose(ours.decision_function(table), expected, atol=1e-5)


def test_it_is_the_optimum_among_weights_that_are_not_negative():
    """SLSQP finds the same weights, from another start; the falling column gets none."""
    table, labels = drawn()
    weights, signs = compute_sample_weight("balanced", labels), 2 * labels - 1

    def loss(p):
        margin = signs * (table @ p[:-1] + p[-1])
        return weights @ np.logaddexp(0, -margin) + p[:-1] @ p[:-1] / 2

    bounds = [(0, None)] * 4 + [(None, None)]
    options = {"ftol": 1e-14, "maxiter": 2000}
    found = minimize(loss, np.full(5, 0.5), bounds=bounds, method="SLSQP", options=options).x
    ours = MonotoneRegression().fit(table, labels)
    expected = comparable(table @ found[:-1], labels)
    np.testing.assert_allclose(ours.decision_function(table), expected, atol=1e-4)
    assert ours.coef_[0, 3] == 0 and (ours.coef_[0, :3] > 0).all()


def test_scores_of_any_fit_have_the_classes_medians_at_minus_one_and_one():
    for seed, scale in ((1, 1.0), (2, 1e-3)):
        table, labels = drawn(seed)
        scores = MonotoneRegression(C=10.0 * scale).fit(table, labels).decision_function(table)
        medians = [np.median(scores[labels == kind]) for kind in (0, 1)]
        np.testing.assert_allclose(medians, (-1, 1), atol=1e-9)


def test_no_statistic_makes_an_image_more_normal_by_being_stranger():
    """Of pipelines by name: a distance counts upwards, whatever the rows at fitting say."""
    names = ("loss_score", "ssim", "mse", "unknown")
    table, labels = drawn(3, shift=(1.0, -1.0, -1.0, -1.0))
    model = fit_classifier(make_classifier("monotone", names=names), table, labels)
    before = anomaly_score(model, table)
    for column, stranger in ((0, 1), (1, -1), (2, 1), (3, -1)):
        moved = table.copy()
        moved[:, column] += stranger * np.random.default_rng(4).exponential(2.0, len(table))
        assert (anomaly_score(model, moved) >= before).all(), names[column]
    # ssim falls and the one without a known end falls with abnormality: both count.
    assert (model[-1].coef_[0] > 0).tolist() == [True, True, False, True]


def test_signs_are_given_or_found():
    table, labels = drawn(shift=(2.0, -2.0, -2.0))
    found = CleanUpwards().fit(table, labels)
    assert found.signs_.tolist() == [1, -1, -1]
    given = CleanUpwards([1, 0, 1]).fit(table, labels)
    assert given.signs_.tolist() == [1, -1, 1]
    np.testing.assert_array_equal(
        given.transform(table), np.float32(table) * np.array([1, -1, 1], np.float32)
    )


def test_squashed_columns_are_linear_near_and_logarithmic_far():
    """By hand: 0, 1, ..., 8 have median 4 and interquartile range 4."""
    step = SquashedColumns().fit(np.arange(9.0)[:, None])
    assert step.median_[0] == 4 and step.spread_[0] == 4
    bent = np.arcsinh(1.349 * (np.arange(9.0) - 4) / 4)
    expected = (bent - bent.mean()) / bent.std()
    np.testing.assert_allclose(step.transform(np.arange(9.0)[:, None])[:, 0], expected)
    far = step.transform(np.array([[1e3], [1e6]]))[:, 0] * bent.std()
    assert far[1] - far[0] == pytest.approx(np.log(1e3), rel=0.01)
    assert SquashedColumns().fit_transform(np.ones((4, 1))).tolist() == [[0]] * 4


def test_one_class_alone_is_refused():
    with pytest.raises(UserError, match="two classes; found 1 class"):
        MonotoneRegression().fit(np.zeros((3, 1)), [1, 1, 1])


def test_columns_that_tell_nothing_give_one_score():
    table, labels = drawn(shift=(-1.0,))
    model = MonotoneRegression().fit(table, labels)
    assert not model.coef_.any() and np.ptp(model.decision_function(table)) == 0
