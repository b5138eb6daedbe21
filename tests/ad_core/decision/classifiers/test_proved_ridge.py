"""Closed forms against fitting again, and the proofs by simulation."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from ad_core.decision import fit_classifier, make_classifier
from ad_core.decision.classifiers.fitting import imputed_score
from ad_core.decision.classifiers.proofs import proof_of
from ad_core.decision.classifiers.proved_ridge import (
    CleanByNormals,
    ConformalRidge,
    JackknifeRidge,
    bystanders,
)
from ad_core.errors import UserError


def drawn(rng, normal, abnormal, *, k=4, shift=1.0):
    labels = np.repeat([0, 1], [normal, abnormal])
    return rng.normal(size=(normal + abnormal, k)) + shift * labels[:, None], labels


def value(rows, labels, row, penalty, scaled):
    """Value of a row by scikit-learn's ridge; the column of ones is the intercept."""
    k = rows.shape[1]
    design = np.column_stack([np.ones(len(rows)), scaled(rows) / np.sqrt(k)])
    given = np.append(1.0, scaled(row) / np.sqrt(k))
    fitted = Ridge(alpha=penalty, fit_intercept=False, solver="cholesky")
    return float(fitted.fit(design, 2.0 * labels - 1).predict(given[None])[0])


def by_normals(rows):
    variance = rows.var(axis=0)
    scale = np.sqrt(variance + 0.01 * variance.mean())
    return lambda table: (table - rows.mean(axis=0)) / scale


def test_the_rank_of_full_conformal_prediction_is_that_of_fitting_again():
    rng = np.random.default_rng(0)
    rows, labels = drawn(rng, 15, 9)
    later = rng.normal(0.5, size=(12, 4))
    fitted = ConformalRidge(penalties=(0.3,)).fit(rows, labels)
    scaled = by_normals(rows[labels == 0])
    for row, score in zip(later, fitted.decision_function(later), strict=True):
        with_row, kinds = np.vstack([rows, row]), np.append(labels, 1)
        values = [
            value(np.delete(with_row, i, 0), np.delete(kinds, i), with_row[i], 0.3, scaled)
            for i in np.flatnonzero(kinds)
        ]
        below = sum(one <= values[-1] for one in values[:-1])
        assert np.floor(score * 10) == below
        assert score * 10 - below == pytest.approx(1 / (1 + np.exp(-values[-1])))


def test_the_rank_of_the_jackknife_is_that_of_fitting_again_without_each_group():
    rng = np.random.default_rng(1)
    rows, labels = drawn(rng, 15, 9)
    # Patients of 1 to 4 images; the last has a normal one too.
    groups = np.array([*range(14), 99, 50, 51, 51, 52, 52, 52, 99, 99, 99])
    later = rng.normal(0.5, size=(12, 4))
    fitted = JackknifeRidge(penalties=(0.3,)).fit(rows, labels, groups)
    scaled = by_normals(rows[:14])
    assert fitted.n_groups_ == 4
    for row, score in zip(later, fitted.decision_function(later), strict=True):
        below, values = 0, []
        for group in (50, 51, 52, 99):
            rest = groups != group
            lowest = min(
                value(rows[rest], labels[rest], one, 0.3, scaled)
                for one in rows[~rest & (labels == 1)]
            )
            values.append(value(rows[rest], labels[rest], row, 0.3, scaled))
            below += lowest <= values[-1]
        assert np.floor(score * 5) == below
        assert score * 5 - below == pytest.approx(1 / (1 + np.exp(-np.mean(values))))


@pytest.mark.parametrize("make", [ConformalRidge, JackknifeRidge])
@pytest.mark.parametrize("n", [5, 20])
def test_abnormal_rows_fall_below_no_more_often_than_proved(make, n):
    rng, draws, later = np.random.default_rng(n), 500, 5
    ranks = np.arange(1, 4)
    missed = np.zeros((draws, ranks.size))
    for draw in range(draws):
        rows, labels = drawn(rng, 12, n + later, k=3, shift=0.7)
        # Rounded, so that scores tie.
        fitted = make(penalties=(0.1, 3.0)).fit(rows[:-later].round(1), labels[:-later])
        scores = fitted.decision_function(rows[-later:].round(1))
        missed[draw] = (scores[:, None] < ranks / (n + 1)).mean(axis=0)
    error = missed.std(axis=0) / np.sqrt(draws)
    factor = fitted.proof(n).factor
    assert (missed.mean(axis=0) <= factor * ranks / (n + 1) + 3 * error).all()
    # And no more is given away than ties cost: both come near k / (n + 1).
    assert (missed.mean(axis=0) > 0.6 * ranks / (n + 1)).all()


def test_one_image_stands_for_a_patient_and_normals_beside_it_are_left_out():
    rng = np.random.default_rng(2)
    rows, labels = drawn(rng, 10, 6)
    groups = np.array([*range(8), 30, 31, 30, 30, 31, 32, 32, 33])
    fitted = ConformalRidge().fit(rows, labels, groups)
    assert fitted.n_groups_ == 4 and len(fitted.rows_) == 8 + 4
    assert bystanders(labels, groups).sum() == 8
    assert proof_of([fitted], labels, groups).n_groups == 4
    with pytest.raises(UserError, match="Every normal image belongs to a group"):
        ConformalRidge().fit(rows, labels, np.zeros(16, int))


def test_cleaning_learns_from_no_abnormal_row():
    rng = np.random.default_rng(3)
    rows, labels = drawn(rng, 20, 10)
    moved = np.where(labels[:, None] == 1, 1e6, rows)
    for one in (rows, moved):
        fitted = CleanByNormals().fit(one, labels)
        np.testing.assert_allclose(fitted.median_, np.median(rows[:20], axis=0), rtol=1e-6)


@pytest.mark.parametrize("name", ["conformal_ridge", "jackknife_ridge"])
def test_it_is_as_good_as_a_linear_classifier_and_ranks_all(name):
    rng = np.random.default_rng(4)
    rows, labels = drawn(rng, 60, 40, k=6, shift=1.2)
    later, kinds = drawn(rng, 300, 300, k=6, shift=1.2)
    fitted = fit_classifier(make_classifier(name), rows, labels)
    linear = fit_classifier(make_classifier("logistic_regression"), rows, labels)

    def alarms(score):
        line = np.quantile(score[kinds == 1], 0.05)
        return np.mean(score[kinds == 0] >= line)

    ours, theirs = (alarms(imputed_score(one, later)) for one in (fitted, linear))
    assert ours <= theirs + 0.05
