import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import IsolationForest

from ad_core.decision import anomaly_score, fit_classifier, make_classifier
from ad_core.decision.classifiers.fitting import resampled
from ad_core.errors import UserError
from ad_core.metrics import auroc

LABELS = np.repeat([0, 1], [40, 9])


def test_resampling_makes_both_classes_as_many():
    over, under = (resampled(LABELS, how, seed=0) for how in ("over", "under"))
    assert np.bincount(LABELS[over]).tolist() == [40, 40]
    assert np.bincount(LABELS[under]).tolist() == [9, 9]
    repeats = np.bincount(over, minlength=49)
    assert set(repeats[:40]) == {1} and set(repeats[40:]) == {4, 5}  # evenly
    assert np.unique(under).size == 18
    np.testing.assert_array_equal(resampled(LABELS, "none", seed=0), np.arange(49))


def test_resampling_follows_the_seed():
    assert (resampled(LABELS, "under", seed=0) == resampled(LABELS, "under", seed=0)).all()
    assert (resampled(LABELS, "under", seed=0) != resampled(LABELS, "under", seed=1)).any()
    with pytest.raises(UserError, match="must be one of none, over, under"):
        resampled(LABELS, "smote", seed=0)
    with pytest.raises(UserError, match="both classes"):
        resampled(np.zeros(4, int), "over", seed=0)


def case(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(49, 4)) + LABELS[:, None], LABELS


def test_a_repeated_row_weighs_as_a_heavier_one():
    """Logistic regression: oversampling 40 to 10 by 4 is the same as balanced weights."""
    table, labels = case()
    table, labels = np.concatenate([table, table[-1:] + 0.1]), np.append(labels, 1)
    heavier = make_classifier("logistic_regression")
    repeated = make_classifier("logistic_regression", class_weight="none")
    # The scaler sees repeated rows too, so that only the ranking can be compared.
    one = anomaly_score(fit_classifier(heavier, table, labels), table)
    other = anomaly_score(fit_classifier(repeated, table, labels, resample="over"), table)
    assert np.corrcoef(one, other)[0, 1] > 0.999


@pytest.mark.parametrize(
    "name", ["extra_trees", "random_forest", "logistic_regression", "ada_boost", "svm"]
)
def test_class_weights_can_be_left_out(name):
    table, labels = case()
    balanced, none = (
        fit_classifier(make_classifier(name, class_weight=weight), table, labels)
        for weight in ("balanced", "none")
    )
    assert anomaly_score(balanced, table).mean() > anomaly_score(none, table).mean()


def test_stacking_keeps_groups_together_and_ranks_unseen_rows():
    (table, labels), (new, _) = case(), case(1)
    groups = np.arange(49) // 2
    stacked = make_classifier("stacking", stacked=("ada_boost", "logistic_regression"))
    fitted = fit_classifier(clone(stacked), table, labels, groups=groups)
    assert auroc(LABELS, anomaly_score(fitted, new)) > 0.85
    assert (fitted[-1].weights_ >= 0).all() and fitted[-1].weights_.any()
    apart = fit_classifier(clone(stacked), table, labels, groups=np.arange(49))
    assert (apart[-1].mean_ != fitted[-1].mean_).any()  # another partition


def test_the_score_of_an_outlier_detector_is_turned_round():
    table, labels = case()
    normals = table[labels == 0]
    fitted = fit_classifier(IsolationForest(n_estimators=10, random_state=0), table, labels)
    far = anomaly_score(fitted, normals.mean(axis=0, keepdims=True) + 9.0)
    assert far[0] > anomaly_score(fitted, normals).max()
