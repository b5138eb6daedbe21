import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

import ad_core.decision.classifiers.deep_head as deep_head
from ad_core.decision import (
    Explainer,
    anomaly_score,
    fit_classifier,
    important_statistics,
    load_classifier,
    make_classifier,
    out_of_fold_scores,
    save_classifier,
)
from ad_core.decision.classifiers.deep_head import (
    APART,
    HEAD,
    DeepHead,
    WithoutFeatures,
    inner_folds,
    linear_heads,
    tail_alarms,
)
from ad_core.decision.classifiers.grouped_folds import grouped_folds
from ad_core.errors import UserError

WIDTH = 400
NAMES = ("mse", "padim.loss_top", *(f"features.deep_stage3_{i:04d}" for i in range(WIDTH)))
COLUMNS = np.arange(2, 2 + WIDTH)


def table_of(normal=60, abnormal=40, *, shift=0.35, seed=0):
    """Two columns of noise, then features that each tell a little; two rows a group."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [normal, abnormal])
    features = rng.normal(size=(labels.size, WIDTH))
    features[:, :80] += shift * labels[:, None]
    scales = np.random.default_rng(99).uniform(0.1, 30.0, WIDTH)
    noise = rng.normal(size=(labels.size, 2))
    return np.column_stack([noise, features * scales + 5.0]), labels, np.arange(labels.size) // 2


class Standardised(LogisticRegression):
    """scikit-learn's regression on all columns, standardised as the head does."""

    def fit(self, X, y):
        self.mean_ = X.mean(axis=0)
        self.spread_ = np.sqrt(X.var(axis=0) + 0.01 * X.var(axis=0).mean())
        return super().fit((X - self.mean_) / self.spread_, y)

    def decision_function(self, X):
        return super().decision_function((X - self.mean_) / self.spread_)


def whole(strength, weight="balanced"):
    return Standardised(C=strength, class_weight=weight, tol=1e-9, max_iter=5000)


@pytest.mark.parametrize("strength", deep_head.STRENGTHS)
@pytest.mark.parametrize("rows", [slice(None), slice(40, 80)])
def test_the_fit_in_the_basis_of_the_rows_is_that_of_the_whole_matrix(strength, rows):
    table, labels, _ = table_of()
    features, kinds = table[rows, 2:], labels[rows]
    slopes, offsets = linear_heads(features, kinds, [strength], class_weight="balanced")
    expected = whole(strength).fit(features, kinds)
    later = table_of(seed=5)[0][:, 2:]
    found = later @ slopes[0] + offsets[0]
    np.testing.assert_allclose(found, expected.decision_function(later), atol=1e-6)


def test_more_rows_than_columns_are_fitted_as_they_are():
    table, labels, _ = table_of()
    features = table[:, 2:22]
    slopes, offsets = linear_heads(features, labels, [0.01], class_weight=None)
    expected = whole(0.01, None).fit(features, labels).decision_function(features)
    np.testing.assert_allclose(features @ slopes[0] + offsets[0], expected, atol=1e-6)


def test_the_column_at_fitting_is_what_cross_validation_predicts():
    table, labels, groups = table_of()
    head = DeepHead(COLUMNS, random_state=3)
    reduced = head.fit_transform(table, labels, groups)
    folds = grouped_folds(labels, groups, folds=5, seed=3)
    expected = cross_val_predict(
        whole(head.strength_), table[:, 2:], labels, cv=folds, method="decision_function"
    )
    np.testing.assert_allclose(reduced[:, -1], expected, atol=1e-6)
    np.testing.assert_array_equal(reduced[:, :2], table[:, :2])
    np.testing.assert_array_equal(head.normals_, reduced[labels == 0, -1])
    again = whole(head.strength_).fit(table[:, 2:], labels).decision_function(table[:, 2:])
    np.testing.assert_allclose(head.transform(table)[:, -1], again, atol=1e-6)
    # What was seen looks better than it is.
    assert roc_auc_score(labels, again) > roc_auc_score(labels, expected) > 0.8


def test_a_row_and_its_group_teach_nothing_of_their_own_value(monkeypatch):
    table, labels, groups = table_of()
    folds = grouped_folds(labels, groups, folds=5, seed=0)
    # The folds are drawn by label: they are held still while labels change.
    monkeypatch.setattr(deep_head, "grouped_folds", lambda *given, **options: folds)
    head = DeepHead(COLUMNS, strengths=(1e-2,))
    before = head.fit_transform(table, labels, groups)[:, -1]
    _, held_out = folds[0]
    moved = labels.copy()
    moved[held_out] = moved[held_out][::-1]
    assert (moved != labels).any()
    after = head.fit_transform(table, moved, groups)[:, -1]
    np.testing.assert_array_equal(after[held_out], before[held_out])
    rest = np.setdiff1d(np.arange(labels.size), held_out)
    assert (after[rest] != before[rest]).all()
    features = table.copy()
    features[held_out[0], 2:] = 70.0
    spoilt = head.fit_transform(features, labels, groups)[:, -1]
    np.testing.assert_allclose(spoilt[held_out[1:]], before[held_out[1:]], rtol=1e-9)
    assert spoilt[held_out[0]] != before[held_out[0]]


def test_labels_without_meaning_give_a_column_without_meaning():
    """A head of 400 features tells any labels of 100 rows apart, once it has seen them."""
    areas, seen = [], []
    for seed in range(6):
        table, labels, groups = table_of(shift=0.0, seed=seed)
        head = DeepHead(COLUMNS, strengths=(1e-1,))
        areas.append(roc_auc_score(labels, head.fit_transform(table, labels, groups)[:, -1]))
        seen.append(roc_auc_score(labels, head.transform(table)[:, -1]))
    assert min(seen) == 1.0 and 0.4 < np.mean(areas) < 0.6


def test_strength_is_chosen_by_false_alarms_where_hardly_a_row_is_missed():
    labels = np.repeat([0, 1], [4, 10])
    scores = np.array([0.0, 1.5, 2.5, 9.0, *np.arange(1.0, 11.0)])
    # Thresholds 1 and 2: three, then two of four normal rows.
    assert tail_alarms(labels, scores) == pytest.approx((3 + 2) / 2 / 4)
    assert tail_alarms(labels, np.exp(scores)) == tail_alarms(labels, scores)
    given = table_of()

    def alarms(strength):
        alone = DeepHead(COLUMNS, strengths=(strength,)).fit_transform(*given)
        return tail_alarms(given[1], alone[:, -1])

    head = DeepHead(COLUMNS).fit(*given)
    assert head.strength_ == min(head.strengths, key=alarms)


def test_with_a_single_abnormal_group_the_head_is_the_most_regularised():
    table, labels, groups = table_of(60, 2)
    assert inner_folds(labels, groups, folds=5, seed=0) == []
    head = DeepHead(COLUMNS)
    column = head.fit_transform(table, labels, groups)[:, -1]
    assert head.strength_ == min(deep_head.STRENGTHS)
    np.testing.assert_array_equal(column, head.transform(table)[:, -1])


def test_a_feature_that_is_not_finite_is_no_measurement():
    table, labels, groups = table_of()
    made = make_classifier("logistic_regression", names=NAMES)
    fitted = fit_classifier(made, table, labels, groups=groups)
    rows = table[:4].copy()
    rows[1, 10], rows[2, 11] = np.nan, np.inf
    assert np.isnan(anomaly_score(fitted, rows)).tolist() == [False, True, True, False]
    spoilt = table.copy()
    spoilt[0, 5] = np.nan
    head = DeepHead(COLUMNS)
    column = head.fit_transform(spoilt, labels, groups)[:, -1]
    without = DeepHead(COLUMNS).fit(table[1:], labels[1:], groups[1:])
    assert np.isnan(column[0]) and np.isfinite(column[1:]).all()
    np.testing.assert_array_equal(head.slope_, without.slope_)


def test_a_feature_that_is_dead_at_fitting_may_wake_up_later():
    table, labels, groups = table_of()
    table[:, 2:50] = 0.0
    table[7, 50:60] = 1e-3
    head = DeepHead(COLUMNS).fit(table, labels, groups)
    later = table[[0]].copy()
    later[0, 2:60] += 1.0
    change = head.transform(later)[0, -1] - head.transform(table[[0]])[0, -1]
    assert abs(change) < 0.1 * np.ptp(head.transform(table)[:, -1])
    same = np.tile(table[:1], (8, 1))
    flat = DeepHead(COLUMNS).fit_transform(same, np.tile([0, 1], 4), np.arange(8))[:, -1]
    assert np.isfinite(flat).all()


@pytest.mark.parametrize("name", ["extra_trees", "logistic_regression"])
def test_features_of_any_method_become_one_column_that_tells_the_classes_apart(name, tmp_path):
    table, labels, groups = table_of()
    fitted = fit_classifier(make_classifier(name, names=NAMES), table, labels, groups=groups)
    later, kinds, _ = table_of(seed=9)
    scores = anomaly_score(fitted, later)
    assert roc_auc_score(kinds, scores) > 0.85
    save_classifier(fitted, tmp_path / "classifier.skops")
    loaded = load_classifier(tmp_path / "classifier.skops")
    np.testing.assert_array_equal(anomaly_score(loaded, later), scores)
    normals = table[labels == 0]
    explainer = Explainer(loaded, NAMES, normals)
    assert explainer.names == ("mse", "padim.loss_top", HEAD, APART)
    assert important_statistics(loaded, NAMES, normals)[0][0] == HEAD
    own_kind = loaded[0].apart(later) <= loaded[0].limit_
    reason = explainer.reasons(later[[np.argmax(np.where(own_kind, scores, -np.inf))]])[0][0]
    assert reason.name == HEAD and reason.push > 0
    assert str(reason).startswith("it looks like the abnormal images that calibrated (deep_head ")
    low = str(reason._replace(value=reason.low - 1, push=-1.0))
    assert low.startswith("the likeness to the abnormal images that calibrated is lower than in")
    unseen = np.quantile(loaded[0].normals_, [0.05, 0.95])
    assert (reason.low, reason.high) == pytest.approx(tuple(unseen))


def by_hand(rows, fitted_on):
    """Distances of rows from those fitted on by the first 100 features, and by the others."""
    features = fitted_on[:, COLUMNS]
    spread = np.sqrt(features.var(axis=0) + 0.01 * features.var(axis=0).mean())
    z = (rows[:, COLUMNS] - features.mean(axis=0)) / spread
    parts = z[:, :100], z[:, 100:]
    return np.column_stack([np.sqrt((part**2).mean(axis=1)) for part in parts])


def test_how_far_apart_a_row_lies_is_counted_by_hand():
    table, labels, groups = table_of()
    levels = np.repeat([0, 1], [100, WIDTH - 100])
    head = DeepHead(COLUMNS, levels, folds=4, random_state=3).fit(table, labels, groups)
    far = np.full((len(labels), 2), np.nan)
    for fit, held_out in grouped_folds(labels, groups, folds=4, seed=3):
        far[held_out] = by_hand(table[held_out], table[fit])
    farthest = far[labels == 0].max(axis=0)
    np.testing.assert_allclose(head.farthest_, farthest, rtol=1e-12)
    np.testing.assert_allclose(head.usual_, (far[labels == 0] / farthest).max(axis=1), rtol=1e-12)
    later = table_of(seed=1)[0]
    np.testing.assert_allclose(head.apart(later), (by_hand(later, table) / farthest).max(axis=1))
    assert head.limit_ == 1.6 and head.usual_.max() == pytest.approx(1.0)


def test_a_row_that_is_strange_at_one_small_level_alone_is_raised():
    table, labels, groups = table_of()
    names = [name.replace("stage3", "stem") if n < 22 else name for n, name in enumerate(NAMES)]
    later = table_of(seed=7)[0][:4]
    strange = later.copy()
    strange[:, 2:22] += 3.0 * table[:, 2:22].std(axis=0)
    for given, raised in ((names, True), (NAMES, False)):
        fitted = fit_classifier(
            make_classifier("monotone", names=given), table, labels, groups=groups
        )
        beyond = fitted[0].apart(strange) > fitted[0].limit_
        assert (beyond == raised).all() and (fitted[0].apart(later) <= fitted[0].limit_).all()
        assert ((anomaly_score(fitted, strange) > fitted[0].top_) == raised).all()


def test_a_level_that_is_the_same_in_all_rows_sets_no_row_apart():
    table, labels, groups = table_of()
    table[:, 2:22] = 7.0
    levels = np.repeat([0, 1], [20, WIDTH - 20])
    head = DeepHead(COLUMNS, levels).fit(table, labels, groups)
    assert head.farthest_[0] == 1.0 and (head.apart(table) <= head.limit_).all()


def test_a_row_of_something_else_is_raised_and_one_of_the_kind_hardly_ever():
    """Of exchangeable normal rows one in their number and one lies beyond the farthest."""
    beyond = []
    for seed in range(20):
        table, labels, groups = table_of(seed=seed)
        model = make_classifier("monotone", names=NAMES)
        fitted = fit_classifier(model, table, labels, groups=groups)
        later, kinds, _ = table_of(seed=100 + seed)
        beyond.append((fitted[0].apart(later)[kinds == 0] > fitted[0].limit_).mean())
        # As normal as can be by its two statistics, and its features are of another kind.
        other = later[kinds == 0][:4].copy()
        other[:, 2::2] *= 3.0
        other[:, 3::2] *= 0.2
        top = anomaly_score(fitted, table).max()
        assert (anomaly_score(fitted, other) > top).all()
    assert np.mean(beyond) < 1 / 61


def test_rows_that_cannot_be_left_out_set_no_limit():
    table, labels, _ = table_of(normal=10, abnormal=2)
    groups = np.arange(12) // 10  # the abnormal rows are one group
    fitted = fit_classifier(make_classifier("monotone", names=NAMES), table, labels, groups=groups)
    assert fitted[0].limit_ == np.inf and np.isfinite(fitted[0].top_)
    assert anomaly_score(fitted, 50 * table).shape == (12,)


def test_a_head_of_an_older_detector_raises_nothing():
    table, labels, groups = table_of()
    fitted = fit_classifier(make_classifier("monotone", names=NAMES), table, labels, groups=groups)
    strange = 50 * table[:1]
    now = anomaly_score(fitted, strange)
    del fitted[0].top_, fitted[0].limit_
    assert anomaly_score(fitted, strange) < now


def test_a_head_of_one_level_in_an_older_detector_raises_as_it_did():
    table, labels, groups = table_of()
    fitted = fit_classifier(make_classifier("monotone", names=NAMES), table, labels, groups=groups)
    strange, now = 50 * table[:3], anomaly_score(fitted, 50 * table[:3])
    head = fitted[0]
    head.limit_ *= head.farthest_[0]  # in distances, before it was in the farthest one's
    del head.levels, head.farthest_
    np.testing.assert_allclose(anomaly_score(fitted, strange), now)
    assert (head.apart(table) <= head.limit_).all() and (head.apart(strange) > head.limit_).all()


def test_out_of_fold_scores_of_the_whole_chain_know_no_label_of_their_own():
    areas = []
    for seed in range(3):
        table, labels, groups = table_of(shift=0.0, seed=seed)
        scores = out_of_fold_scores(
            lambda: make_classifier("logistic_regression", names=NAMES),
            table,
            labels,
            groups,
            folds=3,
            seed=0,
        )
        areas.append(roc_auc_score(labels, scores))
    assert 0.3 < np.mean(areas) < 0.7


def test_groups_reach_the_head(monkeypatch):
    table, labels, groups = table_of()
    seen, real = [], deep_head.grouped_folds

    def watched(kinds, names, **options):
        seen.append(names)
        return real(kinds, names, **options)

    monkeypatch.setattr(deep_head, "grouped_folds", watched)
    made = make_classifier("logistic_regression", names=NAMES)
    fit_classifier(made, table, labels, groups=groups)
    (given,) = seen
    np.testing.assert_array_equal(given, groups)


def test_normal_images_alone_leave_the_features_out():
    table, labels, _ = table_of()
    normals, none = table[labels == 0], np.zeros(60, int)
    fitted = fit_classifier(make_classifier("one_class", names=NAMES), normals, none)
    alone = make_classifier("one_class", names=NAMES[:2])
    without = fit_classifier(alone, normals[:, :2], none)
    expected = anomaly_score(without, table[:, :2])
    np.testing.assert_array_equal(anomaly_score(fitted, table), expected)
    assert Explainer(fitted, NAMES, normals).names == NAMES[:2]
    with pytest.raises(UserError, match="All statistics are pooled features"):
        WithoutFeatures(np.arange(WIDTH)).fit(normals[:, 2:])


def test_another_number_of_columns_or_names_is_refused():
    table, labels, groups = table_of()
    head = DeepHead(COLUMNS).fit(table, labels, groups)
    with pytest.raises(UserError, match="401 statistics for 402"):
        head.transform(table[:, 1:])
    with pytest.raises(UserError, match="3 names for a classifier of 402"):
        head.reduced_names(("a", "b", "c"))
    with pytest.raises(UserError, match="both classes"):
        head.fit(table[:60], labels[:60])
