"""What holds of every classifier and of every threshold rule: a new line is picked up here.

Classifiers see tumours of scikit-learn (benign = normal), eight columns of which one tells most of
the classes apart, one is constant and one repeats another; some values are infinite or missing.
Each is fitted once for all tests here, and once with columns of pooled features beside them, which
tell nothing.
"""

import importlib.util
import json
from typing import NamedTuple

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from ad_core.decision import (
    Explainer,
    Threshold,
    anomaly_score,
    choose_classifier,
    fit_classifier,
    fit_threshold,
    important_statistics,
    load_classifier,
    make_classifier,
    save_classifier,
)
from ad_core.decision.classifiers.catalogue import CLASSIFIERS, Line, line_of
from ad_core.decision.classifiers.deep_head import APART, HEAD
from ad_core.decision.classifiers.fitting import imputed_score, learns_from_normals
from ad_core.decision.thresholds.given import Proof
from ad_core.decision.thresholds.guarantees import images_needed
from ad_core.decision.thresholds.rules import RULES
from ad_core.errors import UserError
from ad_core.metrics import auroc

NAMES = ("concave", "constant", "texture", "smooth", "fractal", "rough", "concave_again", "error")
DEEP = tuple(f"deep_stem_{i:04d}" for i in range(300))
DROPPED = [1, 6]
MIXED = [27, 27, 1, 4, 9, 11, 27, 14]  # some tell tumours, some do not
TELLING = [27, 27, 1, 4, 6, 28, 27, 8]  # each tells tumours
STACKED = ("extra_trees", "logistic_regression")
CASES = [(name, False) for name in CLASSIFIERS]
CASES += [(name, True) for name, line in CLASSIFIERS.items() if not line.one_statistic]


def tumours(columns=MIXED):
    """A table [256, 8] and its labels, 64 of them abnormal."""
    table, benign = load_breast_cancer(return_X_y=True)
    rows = np.concatenate([np.flatnonzero(benign)[:192], np.flatnonzero(benign == 0)[:64]])
    table = table[rows][:, columns]
    table[:, 1], table[:, 6] = 3.0, 2 * table[:, 0]
    table[6, 0], table[6, 6], table[10, 4], table[12, 3] = np.inf, np.inf, -np.inf, np.nan
    table[8, 1:] = np.nan
    return table, (1 - benign)[rows]


class Case(NamedTuple):
    """A classifier fitted on every second row, and all rows. told: the names it explains."""

    name: str
    line: Line
    classifier: object
    table: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    told: tuple[str, ...]

    @property
    def normals(self):
        return self.table[::2][self.labels[::2] == 0]

    def fit(self):
        table, labels = self.table[::2], self.labels[::2]
        groups = np.arange(len(labels)) // 2
        made = make_classifier(self.name, seed=7, names=self.names, stacked=STACKED)
        return fit_classifier(made, table, labels, groups=groups)

    def explainer(self, classifier=None):
        return Explainer(classifier or self.classifier, self.names, self.normals)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case[0] + "+deep" * case[1])
def case(request):
    name, deep = request.param
    line = CLASSIFIERS[name]
    if line.library and importlib.util.find_spec(line.library) is None:
        pytest.skip(f"{line.library} is not installed")
    # `average` weighs all alike, so it is for scores.
    table, labels = tumours(TELLING if name == "average" else MIXED)
    width = 1 if line.one_statistic else len(NAMES)
    table, names, told = table[:, :width], NAMES[:width], NAMES[:width]
    if deep:
        noise = np.random.default_rng(4).normal(size=(len(table), len(DEEP)))
        table, names = np.column_stack([table, noise]), (*NAMES, *DEEP)
        headed = (*NAMES, HEAD, APART) if line.needs_abnormals else NAMES
        told = names if line.proved else headed
    bare = Case(name, line, None, table, labels, names, told)
    return bare._replace(classifier=bare.fit())


@pytest.fixture(scope="module")
def scores(case):
    return anomaly_score(case.classifier, case.table)


@pytest.fixture(scope="module")
def explainer(case):
    return case.explainer()


@pytest.fixture(scope="module")
def pushes(case, explainer):
    return explainer.pushes(case.table)


def test_the_score_rises_with_abnormality_on_unseen_rows(case, scores):
    assert scores.dtype == np.float64 and scores.shape == case.labels.shape
    assert auroc(case.labels[1::2], scores[1::2]) > 0.9


def test_infinite_and_missing_values_that_were_fitted_on_still_give_finite_scores(case, scores):
    assert not np.isfinite(case.table).all() and np.isfinite(scores).all()


def test_a_measurement_that_failed_is_no_score(case):
    rows = case.table[:4].copy()
    rows[1, 0] = np.nan  # which no row missed at fitting
    assert np.isnan(anomaly_score(case.classifier, rows)).tolist() == [False, True, False, False]
    assert np.isfinite(imputed_score(case.classifier, rows)).all()


def test_the_same_seed_gives_the_same_bits(case, scores):
    np.testing.assert_array_equal(anomaly_score(case.fit(), case.table), scores)


def test_a_row_has_the_same_score_to_the_last_bit_in_any_company(case, scores):
    rows = np.array([0, 5, 6, 9, 77, 200, 255])
    alone = [anomaly_score(case.classifier, case.table[[row]])[0] for row in rows]
    np.testing.assert_array_equal(alone, scores[rows])
    np.testing.assert_array_equal(anomaly_score(case.classifier, case.table[rows]), scores[rows])
    backwards = np.asfortranarray(case.table[::-1])
    np.testing.assert_array_equal(anomaly_score(case.classifier, backwards), scores[::-1])


def test_pushes_do_not_depend_on_the_company_of_a_row(case, explainer, pushes):
    rows = np.array([0, 5, 6, 255])
    alone = np.concatenate([explainer.pushes(case.table[[row]]) for row in rows])
    # To rounding: a product of matrices may sum in another order for another number of rows.
    np.testing.assert_allclose(alone, pushes[rows], atol=1e-4 * np.abs(pushes[rows]).max())


def test_what_was_saved_is_loaded_bit_for_bit_and_tells_its_line(case, scores, explainer, tmp_path):
    save_classifier(case.classifier, tmp_path / "classifier.skops")
    loaded = load_classifier(tmp_path / "classifier.skops")
    np.testing.assert_array_equal(anomaly_score(loaded, case.table), scores)
    assert line_of(loaded) is case.line
    again = case.explainer(loaded)
    assert (again.method, again.sums) == (explainer.method, explainer.sums)
    some = case.table[::16]
    np.testing.assert_array_equal(again.pushes(some), explainer.pushes(some))


def test_pushes_sum_to_the_score_less_a_constant_where_they_say_so(case, scores, explainer, pushes):
    up = pushes[case.labels == 1].mean(axis=0)
    assert up.argmax() == 0 and up[0] > 0
    assert pushes.shape[1] == len(case.told)
    if len(case.names) > 1:
        assert not pushes[:, DROPPED].any()
    rest = scores - pushes.sum(axis=1)
    # Float32 within the trees; the network's 64 pieces, in some of which a unit switches.
    tolerance = 5e-3 if "integrated gradients" in explainer.method else 2e-5
    close = np.abs(rest - rest[0]).max() < tolerance * np.ptp(scores)
    # One column falls by the whole of its own score.
    assert close == (explainer.sums or case.line.one_statistic)
    # As a whole they say more than a constant would.
    assert np.ptp(scores) < 2 * np.ptp(pushes.sum(axis=1)) or not explainer.sums


def test_weights_of_statistics_sum_to_one_and_none_is_given_to_what_cleaning_dropped(case):
    weights = important_statistics(case.classifier, case.names, case.normals)
    assert sum(weight for _, weight in weights) == pytest.approx(1.0)
    assert sorted(name for name, _ in weights) == sorted(case.told)
    assert [w for _, w in weights] == sorted((w for _, w in weights), reverse=True)
    assert all(weight >= 0 for _, weight in weights)
    for dropped in DROPPED if len(case.names) > 1 else []:
        assert dict(weights)[NAMES[dropped]] == 0


def test_an_image_unlike_all_that_calibrated_scores_above_them_all(case, scores, explainer, pushes):
    """Whatever its statistics say: a head of two classes may find something else most normal."""
    if APART not in case.told:
        pytest.skip("no head on pooled features")
    strange = case.table[case.labels == 0][1:4]
    strange[:, len(NAMES) :] *= 10.0
    found = anomaly_score(case.classifier, strange)
    assert (found > scores[::2].max()).all()
    reasons = explainer.reasons(strange, inspected=np.ones(3, bool))
    assert all(APART in {reason.name for reason in own} for own in reasons)
    strangely = explainer.pushes(strange)
    assert (strangely[:, -1] > 0).all()
    if explainer.sums:
        constants = found - strangely.sum(axis=1)
        usual = scores[:1] - pushes[:1].sum()
        np.testing.assert_allclose(constants, usual.repeat(3), atol=0.02 * np.ptp(scores))


def test_a_line_says_whether_abnormal_rows_are_needed(case):
    assert learns_from_normals(case.classifier) is not case.line.needs_abnormals
    normals = np.zeros(40, int)
    if case.line.needs_abnormals:
        with pytest.raises(UserError, match=f"{case.name!r} learns from abnormal.*0 calibrate"):
            choose_classifier(case.name, normals)
    else:
        assert choose_classifier(case.name, normals) == case.name
        made = make_classifier(case.name, names=case.names)
        alone = fit_classifier(made, case.table[:40], normals)
        assert auroc(case.labels, anomaly_score(alone, case.table)) > 0.75


ASKED = {  # what a rule cannot do without
    "np_umbrella": {"miss_rate": 0.5, "confidence": 0.8},
    "conformal_risk": {"miss_rate": 0.5},
    "conformal_p": {"target_fpr": 0.2},
    "cost": {"miss_cost": 50.0, "alarm_cost": 1.0, "prevalence": 0.02},
    "manual": {"value": 0.65},
    "miss_bound": {"miss_rate": 0.5, "confidence": 0.8},
    "proved": {"miss_rate": 0.5, "proof": Proof(20, 1, "a theorem")},
    "spi": {"miss_rate": 0.5, "synthetic": np.array([0.2, 0.35, 0.5, 0.9])},
    "review_share": {"lower": 0.2, "review_share": 0.3},
}
# Thresholds that come with the scores, and move with them.
GIVEN = ("value", "lower", "synthetic")


@pytest.fixture(params=RULES)
def rule(request):
    return request.param


def drawn(seed=3):
    """Scores with ties, and labels."""
    labels = np.repeat([0, 1], [50, 20])
    return np.random.default_rng(seed).normal(labels).round(1), labels


def fit(rule, scores, labels, **options):
    return fit_threshold(rule, scores, labels, **ASKED.get(rule, {}) | options)


def test_threshold_refuses_test_split(rule):
    with pytest.raises(UserError, match="flatters itself"):
        fit(rule, *drawn(), split="test")


def test_a_threshold_is_the_same_for_the_same_scores_in_any_order(rule):
    scores, labels = drawn()
    order = np.random.default_rng(0).permutation(len(scores))
    assert fit(rule, scores, labels) == fit(rule, scores[order], labels[order])
    if rule != "proved":  # whose threshold comes with the classifier
        assert fit(rule, scores, labels) != fit(rule, scores + 5.0, labels, value=5.65, lower=5.2)


def test_flags_rise_with_the_score_and_each_stands_alone(rule):
    threshold = fit(rule, *drawn())
    scores = np.sort(np.random.default_rng(1).normal(scale=3.0, size=200))
    flags = threshold.flags(scores)
    assert (np.diff(flags.astype(int)) >= 0).all() and flags.any() and not flags.all()
    assert [bool(threshold.flags(score[None])[0]) for score in scores] == flags.tolist()
    assert threshold.flags(np.array([np.nan, np.inf])).all()


def test_a_saved_threshold_is_the_one_that_is_loaded(rule):
    threshold = fit(rule, *drawn())
    assert Threshold.from_dict(json.loads(json.dumps(threshold.to_dict()))) == threshold


def test_a_monotone_map_changes_no_decision(rule):
    scores, labels = drawn()
    before = fit(rule, scores, labels).flags(scores)
    if rule == "proved":
        pytest.skip("its scores have a meaning of their own: shares of the abnormal groups")
    mapped = {name: np.exp(of) for name, of in ASKED.get(rule, {}).items() if name in GIVEN}
    after = fit(rule, np.exp(scores), labels, **mapped).flags(np.exp(scores))
    np.testing.assert_array_equal(before, after)


def test_a_rule_refuses_for_want_of_what_its_line_says_it_needs(rule):
    needs, scores = RULES[rule], np.arange(30.0)
    for label, needed, message in (
        (0, needs.needs_abnormal, "needs abnormal calibration images.*'normal_quantile'"),
        (1, needs.needs_normal, "needs normal"),
    ):
        if needed:
            with pytest.raises(UserError, match=message):
                fit(rule, scores, np.full(30, label))
        else:
            assert fit(rule, scores, np.full(30, label)).rule == rule


def test_every_rule_says_what_it_promises_from_how_many_and_how_many_more_it_would_take(rule):
    scores, labels = np.arange(64.0), np.repeat([0, 1], [41, 23])
    guarantee = fit(rule, scores, labels, value=50.0).guarantee
    statement = guarantee["statement"]
    assert "23 abnormal images" in statement and statement.endswith(".")
    confident = ASKED.get(rule, {}).get("confidence", 0.95)
    for bound in (0.05, 0.01):
        needed = images_needed(bound, confident)
        assert f"{needed} ({needed - 23} more) would promise {100 * bound:.3g} %" in statement
    if guarantee["miss_rate_bound"] is None:
        assert "no promise about misses" in statement.lower()
        assert "zfn would promise at most 12.2 % from the 23 abnormal images" in statement
    else:
        assert f"at most {100 * guarantee['miss_rate_bound']:.3g} %" in statement
