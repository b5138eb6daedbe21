import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin

from ad_core.decision.selection import choose_classifier, select_classifier
from ad_core.errors import UserError


class Guess(ClassifierMixin, BaseEstimator):
    """Scores that depend on nothing but the row and the candidate: luck, not skill."""

    def __init__(self, luck=0):
        self.luck = luck

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X):
        return np.sin(1e4 * (self.luck + 1) * X[:, 0])


class Recall(Guess):
    """Knows the label of every row of a group that it was fitted on."""

    def fit(self, X, y):
        self.known_ = dict(zip(X[:, 0].tolist(), y.tolist(), strict=True))
        return super().fit(X, y)

    def decision_function(self, X):
        return np.array([self.known_.get(x, 0.5) for x in X[:, 0].tolist()])


def choose(make, candidates, table, labels, groups, **options):
    options = {"criterion": "auc", "folds": 4, "seed": 0} | options
    return select_classifier(make, candidates, table, labels, groups, **options)


def test_among_guesses_the_choice_is_luck_and_the_outer_figure_says_so():
    candidates = tuple(f"{i}" for i in range(12))
    optimism = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        table, labels = rng.normal(size=(80, 1)), rng.permutation(np.repeat([0, 1], 40))
        found = choose(lambda name: Guess(int(name)), candidates, table, labels, np.arange(80))
        assert found.inside[found.name] == max(found.inside.values())
        assert found.optimism == pytest.approx(found.inside[found.name] - found.outside)
        optimism.append(found.optimism)
    assert np.mean(optimism) > 0.05 and len(found.chosen) == 4


def test_no_fold_knows_the_groups_that_judge_it():
    groups = np.arange(60) // 3
    labels = (groups % 2 == 0).astype(int)
    found = choose(lambda name: Recall(), ("recall",), groups[:, None] * 1.0, labels, groups)
    assert found.inside == {"recall": 0.5} and found.outside == 0.5


def test_fewer_false_alarms_are_better_and_equals_go_to_the_first():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 30)
    table = labels[:, None] + 0.1 * rng.normal(size=(60, 1))

    class Direct(Guess):
        def decision_function(self, X):
            return X[:, 0]

    makers = {"guess": Guess, "good": Direct, "also good": Direct}
    found = choose(
        lambda name: makers[name](), tuple(makers), table, labels, np.arange(60),
        criterion="fpr_at_tpr1",
    )  # fmt: skip
    assert found.name == "good" and found.inside["good"] == found.outside == found.optimism == 0
    assert found.inside["guess"] > 0.3


def test_nothing_to_choose_from_and_too_few_images_are_refused():
    with pytest.raises(UserError, match="`candidates` is empty"):
        choose(lambda name: Guess(), (), np.zeros((6, 1)), np.arange(6) % 2, np.arange(6))
    with pytest.raises(UserError, match="at least 2 of each"):
        choose(lambda name: Guess(), ("a",), np.zeros((5, 1)), np.arange(5) == 4, np.arange(5))


def test_auto_depends_on_the_abnormal_images():
    assert choose_classifier("auto", np.array([0, 0, 1, 1])) == "extra_trees"
    assert choose_classifier("auto", np.array([0, 0, 0])) == "one_class"
    assert choose_classifier("auto", np.array([0, 0, 1])) == "one_class"
    one_patient = np.array(["a", "b", "c", "c"])
    assert choose_classifier("auto", np.array([0, 0, 1, 1]), one_patient) == "one_class"
    assert choose_classifier("one_class", np.array([0, 0, 1, 1])) == "one_class"


def test_auto_is_the_network_where_pooled_features_are_among_the_columns():
    with_features = ["sse", "features.deep_head_0000"]
    kinds = np.array([0, 0, 1, 1])
    assert choose_classifier("auto", kinds, names=with_features) == "monotone"
    assert choose_classifier("auto", kinds, names=["sse"]) == "extra_trees"
    assert choose_classifier("auto", np.array([0, 0, 0]), names=with_features) == "one_class"


def test_choosing_by_cross_validation_takes_three_groups_with_abnormal_images():
    assert choose_classifier("select", np.array([0, 0, 1, 1, 1])) == "select"
    with pytest.raises(UserError, match="'select' learns from abnormal.*at least 3.*2 calibrate"):
        choose_classifier("select", np.array([0, 0, 1, 1]))


def test_a_supervised_classifier_without_abnormal_images_names_what_can_do_without():
    with pytest.raises(UserError, match="'extra_trees' learns from abnormal.*0 calibrate.*one_cla"):
        choose_classifier("extra_trees", np.zeros(5, int))


def test_too_few_normal_images_are_refused():
    with pytest.raises(UserError, match="1 normal images calibrate"):
        choose_classifier("auto", np.array([0, 1, 1]))


def test_an_unknown_classifier_lists_the_known():
    with pytest.raises(UserError, match="'extra_tree'; known: auto, extra_trees"):
        choose_classifier("extra_tree", np.array([0, 0, 1, 1]))
