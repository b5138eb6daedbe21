import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from ad_core.decision import anomaly_score, fit_classifier, make_classifier, out_of_fold_scores
from ad_core.decision.classifiers.grouped_folds import grouped_folds
from ad_core.errors import UserError
from ad_core.metrics import auroc


class Memory(ClassifierMixin, BaseEstimator):
    """Scores 1 for a row that it was fitted on, else 0."""

    def fit(self, X, y):
        self.classes_, self.seen_ = np.unique(y), set(X[:, 0])
        return self

    def decision_function(self, X):
        return np.array([float(x in self.seen_) for x in X[:, 0]])


def test_no_row_is_scored_by_a_classifier_that_saw_one_of_its_group():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 15, size=60)
    labels = (rng.random(60) < 0.3).astype(int)
    table = groups[:, None].astype(float)
    assert out_of_fold_scores(Memory, table, labels, groups, folds=5, seed=0).max() == 0.0
    assert Memory().fit(table, labels).decision_function(table).min() == 1.0


@pytest.mark.parametrize("n_abnormal", [3, 4, 7, 40])
@pytest.mark.parametrize("one_class", [False, True])
def test_every_row_is_held_out_once_and_every_part_can_be_fitted(n_abnormal, one_class):
    labels = np.repeat([0, 1], [50, n_abnormal])
    groups = np.arange(labels.size) // 2
    folds = grouped_folds(labels, groups, folds=5, seed=1, one_class=one_class)
    held_out = np.concatenate([test for _, test in folds])
    assert sorted(held_out) == list(range(labels.size))
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
        assert (labels[train] == 0).sum() >= 2 and (one_class or labels[train].any())
    if not one_class:
        assert len(folds) == min(5, -(-n_abnormal // 2))


def test_few_abnormal_groups_are_left_out_one_at_a_time():
    labels = np.repeat([0, 1], [30, 3])
    folds = grouped_folds(labels, np.arange(33), folds=5, seed=0)
    assert [labels[test].sum() for _, test in folds] == [1, 1, 1]


def test_folds_follow_the_seed():
    labels, groups = np.repeat([0, 1], [30, 10]), np.arange(40)
    scores = [
        np.concatenate([test for _, test in grouped_folds(labels, groups, folds=5, seed=s)])
        for s in (0, 0, 1)
    ]
    assert (scores[0] == scores[1]).all() and (scores[0] != scores[2]).any()


def test_one_class_scores_normals_without_any_abnormal_image():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(40, 3))
    labels, groups = np.zeros(40, int), np.array([f"part {i // 2}" for i in range(40)])
    scores = out_of_fold_scores(
        lambda: make_classifier("one_class"), table, labels, groups, folds=5, seed=0
    )
    assert np.isfinite(scores).all()
    # Held out, the mean squared distance exceeds the 3 (statistics) of the rows fitted on.
    assert scores.mean() > 3.0


def test_a_single_abnormal_group_cannot_be_held_out():
    with pytest.raises(UserError, match="10 groups with normal and 1 with abnormal"):
        grouped_folds(np.repeat([0, 1], [10, 2]), np.array([*range(10), 99, 99]), folds=5, seed=0)
    with pytest.raises(UserError, match="1 folds cannot"):
        grouped_folds(np.repeat([0, 1], 9), np.arange(18), folds=1, seed=0)


def test_out_of_fold_scores_of_noise_carry_no_knowledge_of_the_labels():
    rng = np.random.default_rng(0)
    table, labels = rng.normal(size=(120, 10)), np.repeat([0, 1], 60)
    args = (lambda: make_classifier("extra_trees"), table, labels, np.arange(120))
    # Three standard deviations of the AUROC of chance are 0.16; in-sample it is near 1.
    assert abs(auroc(labels, out_of_fold_scores(*args, folds=5, seed=0)) - 0.5) < 0.16
    fitted = fit_classifier(make_classifier("extra_trees"), table, labels)
    assert auroc(labels, anomaly_score(fitted, table)) > 0.95
