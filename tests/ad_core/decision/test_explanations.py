import numpy as np
import pytest

from ad_core.decision import (
    contributions,
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


@pytest.mark.parametrize("name", ["extra_trees", "random_forest", "logistic_regression"])
def test_the_statistic_that_tells_the_classes_apart_weighs_most(name, case):
    weights = important_statistics(fit_classifier(make_classifier(name), *case), NAMES)
    assert weights[0][0] == "signal" and weights[0][1] > 0.6
    assert sum(weight for _, weight in weights) == pytest.approx(1.0)
    assert dict(weights)["constant"] == dict(weights)["signal_again"] == 0.0
    assert sorted(name for name, _ in weights) == sorted(NAMES)


def test_independent_statistics_weigh_alike_in_one_class():
    table = np.random.default_rng(1).normal(size=(400, 3)) * [1.0, 50.0, 0.01]
    fitted = fit_classifier(make_classifier("one_class"), table, np.zeros(400, int))
    weights = dict(important_statistics(fitted, ("a", "b", "c")))
    assert list(weights.values()) == pytest.approx([1 / 3] * 3, abs=0.02)


def test_contributions_follow_the_formula(case):
    table, labels = case
    fitted = fit_classifier(make_classifier("extra_trees"), table, labels)
    weight = dict(important_statistics(fitted, NAMES))
    normals = table[labels == 0]
    centre = np.median(normals, axis=0)
    sigma = 1.4826 * np.median(np.abs(normals - centre), axis=0)
    rows = contributions(fitted, table, NAMES, normals, top=3)
    for x, row in zip(table, rows, strict=True):
        z = {n: abs(x[j] - centre[j]) / sigma[j] for j, n in enumerate(NAMES) if j}
        values = [weight[name] * z[name] for name in row]
        assert values == sorted(values, reverse=True) and len(row) == 3
        assert values[0] == max(weight[n] * z[n] for n in z)
    assert all(row[0] == "signal" for row in rows[80:])


def test_a_value_that_is_not_finite_comes_first(case):
    table, labels = case
    fitted = fit_classifier(make_classifier("extra_trees"), table, labels)
    rows = table[80:83].copy()
    rows[0, 1], rows[1, 3], rows[2, 0] = np.nan, np.inf, np.nan
    firsts = [row[0] for row in contributions(fitted, rows, NAMES, table[labels == 0])]
    assert firsts == ["noise", "noise_again", "signal"]  # a dropped column never counts


def test_a_classifier_without_weights_counts_what_cleaning_kept_alike(case):
    weights = dict(important_statistics(fit_classifier(make_classifier("svm"), *case), NAMES))
    third = pytest.approx(1 / 3)
    assert weights == {"constant": 0, "signal_again": 0} | dict.fromkeys(
        ("noise", "signal", "noise_again"), third
    )


def test_a_wrong_number_of_names_is_refused(case):
    with pytest.raises(UserError, match="2 names for a classifier of 5"):
        important_statistics(fit_classifier(make_classifier("extra_trees"), *case), ("a", "b"))
