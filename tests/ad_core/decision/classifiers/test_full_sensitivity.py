import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import check_estimator

from ad_core.decision import FullSensitivityClassifier, losses
from ad_core.decision.classifiers.full_sensitivity import _left_out, fit_many
from ad_core.decision.classifiers.network import ScoreNetwork
from ad_core.errors import UserError
from ad_core.metrics import oracle


def rings(n_normal=150, n_abnormal=30, seed=0):
    """Abnormal rows lie outside a circle that holds the normal ones: no line parts them."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [n_normal, n_abnormal])
    radius = np.where(
        labels == 1, rng.uniform(1.6, 2.2, labels.size), rng.uniform(0, 1.4, labels.size)
    )
    angle = rng.uniform(0, 2 * np.pi, labels.size)
    return np.stack([radius * np.cos(angle), 100 * radius * np.sin(angle)], axis=1), labels


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_it_is_a_scikit_learn_estimator():
    check_estimator(FullSensitivityClassifier(steps=60, members=2, hidden=(8,)))


@pytest.mark.parametrize("loss", ["two_way_kl", "bottom_push", "tapauc"])
def test_it_learns_what_no_line_can_part(loss):
    train, test = rings(), rings(seed=1)
    fitted = FullSensitivityClassifier(loss, hidden=(16, 16)).fit(*train)
    assert oracle(test[1], fitted.decision_function(test[0]))["auc"] > 0.97


def test_predict_flags_above_zero_and_misses_few():
    table, labels = rings()
    fitted = FullSensitivityClassifier(hidden=(16, 16), members=3).fit(table, labels)
    np.testing.assert_array_equal(fitted.predict(table), fitted.decision_function(table) > 0)
    assert fitted.predict(table)[labels == 1].mean() > 0.95
    proba = fitted.predict_proba(table)
    np.testing.assert_array_equal(proba[:, 1].argsort(), fitted.decision_function(table).argsort())
    np.testing.assert_allclose(proba.sum(1), 1.0)


def test_the_result_depends_on_the_seed_alone():
    table, labels = rings(60, 12)
    make = lambda seed: FullSensitivityClassifier(steps=20, hidden=(8,), random_state=seed)  # noqa: E731
    scores = [make(seed).fit(table, labels).decision_function(table) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


def test_the_score_of_a_row_does_not_depend_on_its_company():
    table, labels = rings(60, 12)
    fitted = FullSensitivityClassifier(steps=20, hidden=(8,)).fit(table, labels)
    alone = np.concatenate([fitted.decision_function(row[None]) for row in table])
    np.testing.assert_array_equal(alone, fitted.decision_function(table))


def test_the_score_is_the_mean_logit_of_the_networks():
    table, labels = rings(60, 12)
    fitted = FullSensitivityClassifier(steps=20, hidden=(8,), members=3).fit(table, labels)
    quartiles = np.percentile(table, (25, 50, 75), axis=0)
    squashed = np.arcsinh(1.349 * (table - quartiles[1]) / (quartiles[2] - quartiles[0]))
    rows = jnp.asarray((squashed - squashed.mean(0)) / squashed.std(0), jnp.float32)
    logits = [
        ScoreNetwork((8,)).apply(jax.tree.map(lambda a, m=member: a[m], fitted.parameters_), rows)
        for member in range(3)
    ]
    np.testing.assert_allclose(
        fitted.decision_function(table), np.mean(logits, 0) - fitted.offset_, rtol=1e-4, atol=1e-5
    )


def test_training_lowers_the_loss_that_is_named():
    table, labels = rings(60, 12)
    fits = [FullSensitivityClassifier("wmw", steps=steps).fit(table, labels) for steps in (1, 200)]
    logits = [fitted.decision_function(table) + fitted.offset_ for fitted in fits]
    before, after = (losses.wmw(jax.nn.sigmoid(jnp.asarray(x)), labels) for x in logits)
    assert after < 0.5 * before


def test_one_extreme_row_leaves_the_scores_of_the_others():
    table, labels = rings(60, 12)
    extreme = np.concatenate([table, [[0.0, 1e9]]]), np.append(labels, 0)
    plain, with_extreme = (
        FullSensitivityClassifier(steps=200).fit(*rows).decision_function(table)
        for rows in ((table, labels), extreme)
    )
    assert roc_auc_score(labels, with_extreme) > roc_auc_score(labels, plain) - 0.05


def test_each_member_leaves_a_stratified_fold_out():
    labels = np.repeat([0, 1], [40, 10])
    left_out = _left_out(labels, np.arange(labels.size), 7, 0)
    assert (left_out[:5].sum(0) == 1).all()
    assert (left_out[:, labels == 1].sum(1) == 2).all() and (left_out[5] == left_out[0]).all()
    assert not _left_out(np.array([0, 0, 0, 1]), np.arange(4), 3, 0).any()


def test_a_single_abnormal_row_can_be_learnt():
    table, labels = rings(60, 1)
    scores = FullSensitivityClassifier(steps=100).fit(table, labels).decision_function(table)
    assert scores.argmax() == 60


def test_wrong_settings_are_refused():
    table, labels = rings(20, 5)
    with pytest.raises(UserError, match="Unknown loss 'auc'; known: wmw"):
        FullSensitivityClassifier("auc").fit(table, labels)
    with pytest.raises(UserError, match="`members`"):
        FullSensitivityClassifier(members=0).fit(table, labels)
    with pytest.raises(UserError, match="found 1 class"):
        FullSensitivityClassifier().fit(table, np.zeros(25))


def test_the_inner_fold_keeps_groups_together():
    labels, groups = np.repeat([0, 1], [40, 20]), np.arange(60) // 4
    for member in _left_out(labels, groups, 5, 0):
        assert member.any() and not set(groups[member]) & set(groups[~member])


def test_many_fits_in_one_call_equal_each_fit_alone():
    table, labels = rings(60, 15)
    fitted_on = np.random.default_rng(0).random((4, labels.size)) < 0.8
    make = FullSensitivityClassifier(steps=30, hidden=(8,), members=2)
    together = fit_many(make, table, labels, fitted_on, seeds=range(4))
    for seed, (one, rows) in enumerate(zip(together, fitted_on, strict=True)):
        alone = FullSensitivityClassifier(steps=30, hidden=(8,), members=2, random_state=seed)
        alone.fit(table[rows], labels[rows])
        expected = alone.decision_function(table)
        # Sums of another number of padded rows, grown over 30 steps.
        close = np.abs(one.decision_function(table) - expected).max()
        assert close < 1e-3 * np.ptp(expected)
        np.testing.assert_array_equal(one.predict(table[:3]), alone.predict(table[:3]))


def test_integrated_gradients_sum_to_the_difference_of_the_scores():
    table, labels = rings(60, 15)
    fitted = FullSensitivityClassifier(steps=30, hidden=(8,), members=2).fit(table, labels)
    start = table[labels == 0].mean(axis=0)
    shares = fitted.integrated_gradients(table, start, points=512)
    difference = fitted.decision_function(table) - fitted.decision_function(start[None])
    np.testing.assert_allclose(shares.sum(1), difference, atol=2e-3 * np.ptp(difference))
    assert np.abs(shares).max() > 0.1 * np.ptp(difference)
    same = fitted.integrated_gradients(start[None], start)
    np.testing.assert_array_equal(same, 0.0)
