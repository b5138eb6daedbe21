from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import check_estimator

from ad_core.decision import FullSensitivityClassifier, losses
from ad_core.decision.classifiers.full_sensitivity import _left_out
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


@pytest.fixture(scope="module")
def wide():
    """By loss, networks with room for a ring; each loss is a program to compile."""
    return {
        loss: FullSensitivityClassifier(loss, hidden=(16, 16), members=3).fit(*rings())
        for loss in ("two_way_kl", "bottom_push", "tapauc")
    }


@pytest.fixture(scope="module")
def small():
    """Few rows; other fits of as many steps take the program that is compiled here."""
    return FullSensitivityClassifier(steps=200).fit(*rings(60, 12))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_it_is_a_scikit_learn_estimator():
    check_estimator(FullSensitivityClassifier(steps=60, members=2, hidden=(8,)))


@pytest.mark.parametrize("loss", ["two_way_kl", "bottom_push", "tapauc"])
def test_it_learns_what_no_line_can_part(loss, wide):
    table, labels = rings(seed=1)
    assert oracle(labels, wide[loss].decision_function(table))["auc"] > 0.97


def test_predict_flags_above_zero_and_misses_few(wide):
    table, labels = rings()
    fitted = wide["two_way_kl"]
    np.testing.assert_array_equal(fitted.predict(table), fitted.decision_function(table) > 0)
    assert fitted.predict(table)[labels == 1].mean() > 0.95
    proba = fitted.predict_proba(table)
    np.testing.assert_array_equal(proba[:, 1].argsort(), fitted.decision_function(table).argsort())
    np.testing.assert_allclose(proba.sum(1), 1.0)


def test_the_result_depends_on_the_seed_alone(small):
    table, labels = rings(60, 12)
    make = partial(FullSensitivityClassifier, steps=200)
    same, other = (make(random_state=seed).fit(table, labels) for seed in (0, 1))
    scores = [fitted.decision_function(table) for fitted in (small, same, other)]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


def test_the_score_of_a_row_does_not_depend_on_its_company(small):
    table, _ = rings(60, 12)
    alone = np.concatenate([small.decision_function(row[None]) for row in table])
    np.testing.assert_array_equal(alone, small.decision_function(table))


def test_the_score_is_the_mean_logit_of_the_networks(small):
    table, _ = rings(60, 12)
    quartiles = np.percentile(table, (25, 50, 75), axis=0)
    squashed = np.arcsinh(1.349 * (table - quartiles[1]) / (quartiles[2] - quartiles[0]))
    rows = jnp.asarray((squashed - squashed.mean(0)) / squashed.std(0), jnp.float32)
    members = [jax.tree.map(lambda a, m=m: a[m], small.parameters_) for m in range(5)]
    logits = [ScoreNetwork((8,)).apply(member, rows) for member in members]
    mean = np.mean(logits, 0)
    normal, abnormal = np.median(mean[:60]), np.median(mean[60:])
    # The medians of the classes lie at -1 and 1.
    expected = (2 * mean - normal - abnormal) / (abnormal - normal)
    np.testing.assert_allclose(small.comparable_score(table), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(
        small.decision_function(table), small.comparable_score(table) - small.offset_
    )


def test_fits_on_parts_of_few_normals_score_on_one_scale():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], [26, 200])
    table = rng.normal(size=(226, 6))
    table[:, :2] += 1.2 * labels[:, None]
    later = rng.normal(size=(400, 6)) + 0.6
    fits = [
        FullSensitivityClassifier(steps=200).fit(table[kept], labels[kept])
        for kept in (np.arange(226) % 4 != left_out for left_out in range(4))
    ]

    def moved(scores):
        """How far the fits disagree on the mean of the same rows, in spreads of their scores."""
        return np.std([s.mean() for s in scores]) / np.mean([s.std() for s in scores])

    assert moved([fitted.comparable_score(later) for fitted in fits]) < 0.3
    assert moved([fitted.decision_function(later) for fitted in fits]) > 1.0


@pytest.mark.parametrize("name", ["two_way_kl", "bottom_push"])
def test_training_lowers_the_loss_that_is_named(name, wide):
    table, labels = rings()
    loss = jax.jit(losses.LOSSES[name])
    logits = wide[name].comparable_score(table) * wide[name].unit_ + wide[name].centre_
    alike = loss(jnp.full(labels.size, 0.5), labels)
    assert alike == pytest.approx(1.0)  # gamma squared, where no score differs
    assert loss(jax.nn.sigmoid(jnp.asarray(logits)), labels) < 0.5 * alike


def test_one_extreme_row_leaves_the_scores_of_the_others(small):
    table, labels = rings(60, 12)
    extreme = np.concatenate([table, [[0.0, 1e9]]]), np.append(labels, 0)
    plain = small.decision_function(table)
    with_extreme = FullSensitivityClassifier(steps=200).fit(*extreme).decision_function(table)
    assert roc_auc_score(labels, with_extreme) > roc_auc_score(labels, plain) - 0.05


def test_each_member_leaves_a_stratified_fold_out():
    labels = np.repeat([0, 1], [40, 10])
    left_out = _left_out(labels, np.arange(labels.size), 7, 0)
    assert (left_out[:5].sum(0) == 1).all()
    assert (left_out[:, labels == 1].sum(1) == 2).all() and (left_out[5] == left_out[0]).all()
    assert not _left_out(np.array([0, 0, 0, 1]), np.arange(4), 3, 0).any()


def test_a_single_abnormal_row_can_be_learnt():
    table, labels = rings(60, 1)
    scores = FullSensitivityClassifier(steps=200).fit(table, labels).decision_function(table)
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


def test_integrated_gradients_sum_to_the_difference_of_the_scores(small):
    table, labels = rings(60, 12)
    start = table[labels == 0].mean(axis=0)
    shares = small.integrated_gradients(table, start, points=512)
    difference = small.decision_function(table) - small.decision_function(start[None])
    np.testing.assert_allclose(shares.sum(1), difference, atol=2e-3 * np.ptp(difference))
    assert np.abs(shares).max() > 0.1 * np.ptp(difference)
    same = small.integrated_gradients(start[None], start)
    np.testing.assert_array_equal(same, 0.0)
