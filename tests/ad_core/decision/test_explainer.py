import numpy as np
import pytest

from ad_core.decision import (
    Explainer,
    Reason,
    anomaly_score,
    fit_classifier,
    important_statistics,
    make_classifier,
)
from ad_core.errors import UserError

NAMES = ("constant", "noise", "signal", "noise_again", "signal_again")


@pytest.fixture(scope="module")
def case():
    """Only `signal` tells the classes apart; `signal_again` repeats it, `constant` is dropped."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [80, 40])
    signal = rng.normal(4.0 * labels)
    noise = rng.normal(size=(120, 2))
    table = np.column_stack([np.ones(120), noise[:, 0], signal, noise[:, 1], 2 * signal])
    return table, labels


@pytest.fixture(scope="module")
def forest(case):
    return fit_classifier(make_classifier("extra_trees"), *case)


@pytest.fixture(scope="module")
def explainer(forest, case):
    return Explainer(forest, NAMES, case[0][case[1] == 0])


@pytest.mark.parametrize("name", ["extra_trees", "random_forest", "logistic_regression", "svm"])
def test_the_statistic_that_tells_the_classes_apart_weighs_most(name, case):
    normals = case[0][case[1] == 0]
    weights = important_statistics(fit_classifier(make_classifier(name), *case), NAMES, normals)
    assert weights[0][0] == "signal" and weights[0][1] > (0.4 if name == "svm" else 0.6)


def test_independent_statistics_weigh_alike_in_one_class():
    table = np.random.default_rng(1).normal(size=(400, 3)) * [1.0, 50.0, 0.01]
    fitted = fit_classifier(make_classifier("one_class"), table, np.zeros(400, int))
    weights = dict(important_statistics(fitted, ("a", "b", "c"), table))
    assert list(weights.values()) == pytest.approx([1 / 3] * 3, abs=0.02)


def test_stacking_weighs_the_pushes_of_what_lies_below(case):
    table, labels = case
    stacked = ("logistic_regression", "svm")
    fitted = fit_classifier(make_classifier("stacking", stacked=stacked), table, labels)
    whole = Explainer(fitted, NAMES, table[labels == 0])
    inside = [NAMES[column] for column in fitted[0].kept_]
    cleaned = fitted[0].transform(table)
    below = [Explainer(one, inside, cleaned[labels == 0]) for one in fitted[-1].below_]
    weights = fitted[-1].weights_ / fitted[-1].scale_
    expected = sum(w * one.pushes(cleaned) for w, one in zip(weights, below, strict=True))
    np.testing.assert_allclose(whole.pushes(table)[:, fitted[0].kept_], expected, atol=1e-9)
    assert whole.method == "weighted sum of coefficients, occlusion by the normals' median"
    assert below[0].sums and not below[1].sums and not whole.sums


@pytest.mark.parametrize("name", ["svm", "k_nn"])
def test_occlusion_is_the_fall_of_the_score_at_the_normals_median(name, case):
    table, labels = case
    fitted = fit_classifier(make_classifier(name), table, labels)
    explainer = Explainer(fitted, NAMES, table[labels == 0])
    covered = table.astype(np.float32).copy()
    covered[:, 2] = np.median(covered[labels == 0, 2])
    fall = anomaly_score(fitted, table) - anomaly_score(fitted, covered)
    np.testing.assert_allclose(explainer.pushes(table)[:, 2], fall, atol=1e-6)
    assert "occlusion" in explainer.method


def test_the_push_of_a_single_statistic_is_its_distance_from_the_normals_median(case):
    table, labels = case
    one = table[:, 2:3].astype(np.float32)
    fitted = fit_classifier(make_classifier("single"), one, labels)
    pushes = Explainer(fitted, NAMES[2:3], one[labels == 0]).pushes(one)
    np.testing.assert_allclose(pushes, one - np.median(one[labels == 0]), atol=1e-6)


def test_a_linear_push_is_the_coefficient_times_the_distance(case):
    table, labels = case
    fitted = fit_classifier(make_classifier("logistic_regression"), table, labels)
    normals = table[labels == 0]
    slope = fitted[-1].coef_[0] / fitted[1].scale_
    expected = (table - normals.mean(axis=0))[:, 1:4] * slope
    pushes = Explainer(fitted, NAMES, normals).pushes(table)
    np.testing.assert_allclose(pushes[:, 1:4], expected, atol=1e-5)


def test_a_reason_says_value_range_and_sign_in_words(case, explainer):
    table, labels = case
    low, high = np.quantile(table[labels == 0, 2], [0.05, 0.95])
    row = table[80:81].copy()
    row[0, 2] = 4.25
    reason = explainer.reasons(row)[0][0]
    push = explainer.pushes(row)[0, 2]
    numbers = f"(signal 4.25, normals {low:.3g} to {high:.3g}, {push:+.2g})"
    assert str(reason) == f"signal is higher than in normal images {numbers}"
    assert push > 0.2 and explainer.reasons(table[:1])[0][0].push < 0
    assert [len(reasons) for reasons in explainer.reasons(table[:4], top=2)] == [2] * 4


def test_a_value_that_is_not_finite_comes_first(case, explainer):
    rows = case[0][80:83].copy()
    rows[0, 1], rows[1, 3], rows[2, 0] = np.nan, np.inf, np.nan
    found = explainer.reasons(rows)
    assert [reasons[0].name for reasons in found] == ["noise", "noise_again", "signal"]
    told = "noise could not be measured (noise not measured, normals "
    assert str(found[0][0]).startswith(told)


def test_a_reason_tells_what_is_unlike_normal_images_and_where():
    reason = Reason("window_ssim_min", 0.41, 0.83, 0.97, 0.123, "the map is highest at x 3, y 4")
    assert str(reason) == (
        "in the worst patch the structure differs from the normal version, the map is highest at "
        "x 3, y 4 (window_ssim_min 0.41, normals 0.83 to 0.97, +0.12)"
    )
    inside = reason._replace(value=0.9, place="", push=-0.1)
    assert str(inside).startswith("the likeness of the structure to the normal version, in the")
    assert " is as in normal images (" in str(inside)


def test_reasons_push_towards_the_decision_the_strongest_first(case, explainer):
    table, labels = case
    pushes = explainer.pushes(table)
    for inspected, sign in ((True, 1), (False, -1)):
        found = explainer.reasons(table, inspected=np.full(len(table), inspected))
        for values, row, reasons in zip(table, sign * pushes, found, strict=True):
            usual = (values >= explainer.low) & (values <= explainer.high)
            speaking = row[~usual & (row > 0)] if inspected else row[row > 0]
            speaking = speaking if len(speaking) else row[row > 0]
            strongest = sorted(speaking, reverse=True)[:3]
            assert [sign * reason.push for reason in reasons] == pytest.approx(strongest)


def test_an_inspected_image_is_not_told_what_is_as_in_normal_images(case, explainer):
    pushes = explainer.pushes(case[0])
    usual = (case[0] >= explainer.low) & (case[0] <= explainer.high)
    both = (usual & (pushes > 0)).any(axis=1) & (~usual & (pushes > 0)).any(axis=1)
    assert both.any()
    found = explainer.reasons(case[0][both], inspected=np.ones(both.sum(), bool))
    assert not any("as in normal images" in str(reason) for row in found for reason in row)


def test_a_decision_that_nothing_pushed_to_has_no_reason(case, explainer):
    rows = case[0][:80]
    without = [row for row in rows if explainer.pushes(row[None]).max() <= 0]
    assert (
        without
        and explainer.reasons(np.stack(without), inspected=np.ones(len(without), bool))[0] == []
    )


def test_pushes_do_not_depend_on_the_block_that_a_row_falls_in(case, explainer):
    together = explainer.pushes(case[0])  # more rows than a block has
    alone = np.concatenate([explainer.pushes(row[None]) for row in case[0][:70]])
    np.testing.assert_allclose(alone, together[:70], atol=1e-6)


def test_a_wrong_number_of_names_is_refused(case, forest):
    with pytest.raises(UserError, match="2 names for a classifier of 5"):
        important_statistics(forest, ("a", "b"), case[0])
    with pytest.raises(UserError, match="2 names for a classifier of 5"):
        Explainer(forest, ("a", "b"), case[0])


def test_the_likeness_of_any_method_is_told_in_words():
    told = [
        str(Reason(name, value, -3.0, -1.0, 0.4))
        for name, value in (("loss_likeness", 1.5), ("fine_tuned.loss_likeness", -5.0))
    ]
    assert told == [
        "it looks like the abnormal images that calibrated "
        "(loss_likeness 1.5, normals -3 to -1, +0.4)",
        "the likeness to the abnormal images that calibrated is lower than in normal images "
        "(fine_tuned.loss_likeness -5, normals -3 to -1, +0.4)",
    ]
