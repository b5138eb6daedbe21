import json

import numpy as np
import pytest
from sklearn.metrics import f1_score

from ad_core.decision import Threshold, fit_threshold
from ad_core.decision.thresholds.given import Proof
from ad_core.decision.thresholds.guarantees import (
    binomial_bound,
    images_needed,
    lowest_score_bound,
    umbrella_rank,
)
from ad_core.decision.thresholds.rules import RULES
from ad_core.errors import UserError

ASKED = {  # what a rule cannot do without
    "np_umbrella": {"miss_rate": 0.5, "confidence": 0.8},
    "conformal_risk": {"miss_rate": 0.5},
    "conformal_p": {"target_fpr": 0.2},
    "cost": {"miss_cost": 50.0, "alarm_cost": 1.0, "prevalence": 0.02},
    "manual": {"value": 0.65},
    "miss_bound": {"miss_rate": 0.5, "confidence": 0.8},
    "proved": {"miss_rate": 0.5, "proof": Proof(3, 1, "a theorem")},
    "spi": {"miss_rate": 0.5, "synthetic": np.array([0.2, 0.35, 0.5, 0.9])},
    "review_share": {"lower": 0.3, "review_share": 0.4},
}
SCORES = np.array([0.1, 0.2, 0.3, 0.6, 0.3, 0.7, 0.8])
LABELS = np.array([0, 0, 0, 0, 1, 1, 1])


def test_hand_drawn_thresholds():
    assert fit_threshold("zfn", SCORES, LABELS).value == 0.3
    # One miss and no alarm, 6 of 7 right: between 0.6 and 0.7.
    assert fit_threshold("accuracy", SCORES, LABELS).value == pytest.approx(0.65)
    # One of four normals may be flagged: the threshold lies just above the second highest.
    assert fit_threshold("target_fpr", SCORES, LABELS, target_fpr=0.25).value == np.nextafter(
        0.3, 1
    )
    assert fit_threshold("target_fpr", SCORES, LABELS, target_fpr=0.0).value == np.nextafter(0.6, 1)
    # ceil(0.5 * 5) = 3rd of four normals; at 0.99 there are too few, so above all of them.
    low = fit_threshold("normal_quantile", SCORES, LABELS, normal_quantile=0.5)
    assert low.value == np.nextafter(0.3, 1)
    assert fit_threshold("normal_quantile", SCORES, LABELS).value == np.nextafter(0.6, 1)


@pytest.mark.parametrize("n, bound", [(23, 0.1221), (59, 0.0495), (299, 0.00997)])
def test_the_bound_of_zfn_is_the_published_number(n, bound):
    guarantee = fit_threshold("zfn", np.arange(n + 1.0), np.arange(n + 1) > 0).guarantee
    assert guarantee["miss_rate_bound"] == pytest.approx(bound, rel=1e-3)
    assert guarantee["n_abnormal"] == n and guarantee["confidence"] == 0.95


def test_numbers_of_images_needed():
    assert [images_needed(b, 0.95) for b in (0.05, 0.01, 0.001)] == [59, 299, 2995]
    assert lowest_score_bound(58, 0.95) > 0.05 >= lowest_score_bound(59, 0.95)


def test_the_statement_says_it_in_words():
    statement = fit_threshold("zfn", np.arange(24.0), np.arange(24) > 0).guarantee["statement"]
    assert statement == (
        "23 abnormal images calibrated the threshold: in practice, with 95 % confidence at most "
        "12.2 % of abnormal parts pass (4.17 % expected), provided that future parts are drawn "
        "like the calibration images, each on its own, and that the final classifier ranks them "
        "as the out-of-fold ones did; 59 (36 more) would promise 5 %, 299 (276 more) would "
        "promise 1 %."
    )


def test_a_statement_says_that_the_classifier_was_chosen_on_the_same_images():
    promised = fit_threshold("zfn", np.arange(24.0), np.arange(24) > 0, candidates=4).guarantee
    assert (
        "confidence, whichever of 4 classifiers these images chose, at most"
        in (promised["statement"])
    )
    # By the union bound each of the four keeps it with 98.75 % confidence.
    assert promised["miss_rate_bound"] == pytest.approx(1 - 0.0125 ** (1 / 23))
    assert promised["confidence"] == 0.95


def test_delta_is_one_less_the_confidence_of_the_umbrella_alone():
    scores, labels = np.arange(100.0), np.ones(100)
    apart = fit_threshold("np_umbrella", scores, labels, miss_rate=0.1, delta=0.2)
    same = fit_threshold("np_umbrella", scores, labels, miss_rate=0.1, confidence=0.8)
    assert apart == same and apart.guarantee["confidence"] == 0.8
    assert fit_threshold("zfn", scores, labels, delta=0.2).guarantee["confidence"] == 0.95


def test_the_binomial_bound_inverts_the_binomial_tail():
    from scipy.stats import binom

    for missed, n in [(0, 10), (3, 40), (9, 10)]:
        bound = binomial_bound(missed, n, 0.95)
        assert binom.cdf(missed, n, bound) == pytest.approx(0.05)
    assert binomial_bound(10, 10, 0.95) == 1.0
    assert binomial_bound(0, 23, 0.95) == pytest.approx(lowest_score_bound(23, 0.95))


def simulate(rule, n, draw, true_rate, **options):
    """The share of 2000 calibrations whose promised bound the true miss rate exceeds."""
    rng, broken = np.random.default_rng(n), 0
    labels = np.repeat([0, 1], [40, n])
    for _ in range(2000):
        scores = np.concatenate([draw(rng, 40, 0.0), draw(rng, n, 1.0)])
        threshold = fit_threshold(rule, scores, labels, **options)
        broken += true_rate(threshold.value) > threshold.guarantee["miss_rate_bound"]
    return broken / 2000


def continuous(rng, n, mean):
    return rng.normal(mean, size=n)


def tied(rng, n, mean):
    return np.floor(rng.normal(mean, size=n))


def normal_cdf(mean):
    from scipy.stats import norm

    return lambda value: norm.cdf(value - mean)


def tied_cdf(mean):
    from scipy.stats import norm

    # P(floor(x) < v) = P(x < ceil(v)).
    return lambda value: norm.cdf(np.ceil(value) - mean)


@pytest.mark.parametrize("rule", ["zfn", "target_fpr", "conformal_risk"])
@pytest.mark.parametrize("n", [5, 40])
@pytest.mark.parametrize("draw, cdf", [(continuous, normal_cdf), (tied, tied_cdf)])
def test_the_miss_rate_exceeds_its_bound_no_more_often_than_promised(rule, n, draw, cdf):
    broken = simulate(rule, n, draw, cdf(1.0), target_fpr=0.1, miss_rate=0.2)
    # Three standard errors of a share of 0.05 over 2000 draws.
    assert broken <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)
    if rule == "zfn" and draw is continuous:
        assert broken >= 0.05 - 3 * np.sqrt(0.05 * 0.95 / 2000)  # the bound is sharp


@pytest.mark.parametrize("draw, cdf", [(continuous, normal_cdf), (tied, tied_cdf)])
@pytest.mark.parametrize("n, miss_rate, confidence", [(5, 0.5, 0.9), (60, 0.1, 0.95)])
def test_the_umbrella_keeps_the_miss_rate_asked_for(n, miss_rate, confidence, draw, cdf):
    rng, broken = np.random.default_rng(n), 0
    for _ in range(2000):
        threshold = fit_threshold(
            "np_umbrella", draw(rng, n, 1.0), np.ones(n), miss_rate=miss_rate, confidence=confidence
        )
        assert threshold.guarantee["miss_rate_bound"] <= miss_rate
        broken += cdf(1.0)(threshold.value) > miss_rate
    share = 1 - confidence
    assert broken / 2000 <= share + 3 * np.sqrt(share * (1 - share) / 2000)


def test_the_umbrella_takes_the_highest_rank_that_keeps_its_promise():
    from scipy.stats import beta

    for n in (59, 100, 400):
        rank = umbrella_rank(n, 0.05, 0.95)
        assert beta.ppf(0.95, rank, n - rank + 1) <= 0.05 < beta.ppf(0.95, rank + 1, n - rank)
    assert umbrella_rank(58, 0.05, 0.95) == 0 and umbrella_rank(59, 0.05, 0.95) == 1


def test_conformal_risk_keeps_the_expected_miss_rate():
    rng = np.random.default_rng(0)
    misses = [
        normal_cdf(0.0)(
            fit_threshold("conformal_risk", rng.normal(size=39), np.ones(39), miss_rate=0.1).value
        )
        for _ in range(2000)
    ]
    # Exactly 4 / 40 for continuous scores.
    assert np.mean(misses) == pytest.approx(0.1, abs=3 * np.std(misses) / np.sqrt(2000))


@pytest.mark.parametrize(
    "rule, message",
    [
        ("np_umbrella", "needs 59 abnormal.*confidence 0.95; there are 3"),
        ("conformal_risk", "needs 19 abnormal.*there are 3"),
        ("conformal_p", "from 4 normal images"),
        ("cost", "needs `miss_cost`"),
        ("manual", "needs `value`"),
    ],
)
def test_a_rule_that_lacks_something_says_what(rule, message):
    with pytest.raises(UserError, match=message):
        fit_threshold(rule, SCORES, LABELS)


def test_a_threshold_set_by_hand_is_bounded_by_the_abnormal_images_it_meets():
    guarantee = fit_threshold("manual", SCORES, LABELS, value=0.65).guarantee
    assert guarantee["miss_rate_bound"] == pytest.approx(binomial_bound(1, 3, 0.95))
    nothing = fit_threshold("manual", SCORES, np.zeros(7), value=0.65).guarantee
    assert nothing["miss_rate_bound"] is None


@pytest.mark.parametrize("draw, cdf", [(continuous, normal_cdf), (tied, tied_cdf)])
def test_the_normal_quantile_alarms_no_more_than_expected(draw, cdf):
    rng, alarms = np.random.default_rng(0), []
    for _ in range(2000):
        scores = draw(rng, 49, 0.0)
        threshold = fit_threshold("normal_quantile", scores, np.zeros(49, int), normal_quantile=0.9)
        alarms.append(1 - cdf(0.0)(threshold.value))
    assert np.mean(alarms) <= 0.1 + 3 * np.std(alarms) / np.sqrt(2000)


@pytest.mark.parametrize("rule, option", [("normal_quantile", 0.9), ("conformal_p", 0.1)])
def test_a_quantile_of_normals_counts_each_group_once(rule, option):
    """Nine patients of 20 scans that look alike: of patients one in ten is expected above."""
    rng, alarms = np.random.default_rng(1), []
    groups = np.repeat(np.arange(9), 20)
    name = "target_fpr" if rule == "conformal_p" else rule
    for _ in range(400):
        patients = rng.normal(size=10)
        scans = patients[:, None] + rng.normal(0, 0.01, (10, 20))
        labels, given = np.zeros(180, int), {name: option, "groups": groups}
        threshold = fit_threshold(rule, scans[:9].ravel(), labels, **given)
        alarms.append(threshold.flags(scans[9]).any())
    assert np.mean(alarms) <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 400)
    statement = threshold.guarantee["statement"]
    assert statement.startswith("180 normal images of 9 groups set the threshold")
    assert "at most 10 % of normal groups (patients or parts)" in statement
    with pytest.raises(UserError, match="from 9 normal images or groups"):
        fit_threshold("conformal_p", scans[:9].ravel(), labels, target_fpr=0.05, groups=groups)


@pytest.mark.parametrize("seed", range(20))
def test_each_rule_does_on_calibration_what_its_name_says(seed):
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1], [30, 12])
    scores = rng.normal(labels).round(1)
    flags = {
        rule: fit_threshold(rule, scores, labels, **ASKED.get(rule, {})).flags(scores)
        for rule in RULES
    }
    assert flags["zfn"][labels == 1].all()
    assert np.sum(flags["target_fpr"][labels == 0]) <= 0.05 * 30
    candidates = [scores >= t for t in [*scores, np.inf]]
    every = [np.mean(flag == labels) for flag in candidates]
    assert np.mean(flags["accuracy"] == labels) == pytest.approx(max(every))
    every = [f1_score(labels, flag) for flag in candidates]
    assert f1_score(labels, flags["f1"]) == pytest.approx(max(every))

    def cost(flag):
        return 0.02 * 50.0 * np.mean(~flag[labels == 1]) + 0.98 * np.mean(flag[labels == 0])

    assert cost(flags["cost"]) == pytest.approx(min(map(cost, candidates)))
    as_high = (scores[labels == 0][None, :] >= scores[:, None]).sum(axis=1)
    np.testing.assert_array_equal(flags["conformal_p"], (1 + as_high) / 31 <= 0.2)
    assert np.sum(~flags["conformal_risk"][labels == 1]) <= 0.5 * 13 - 1


def test_a_target_of_five_percent_is_reached_and_not_only_kept():
    scores, labels = np.arange(120.0), np.repeat([0, 1], [100, 20])
    flags = fit_threshold("target_fpr", scores, labels, target_fpr=0.05).flags(scores)
    assert flags[labels == 0].sum() == 5


def test_float32_scores_meet_the_threshold_in_float64():
    scores, labels = np.float32([0.1, 0.2, 0.3]), np.zeros(3, int)
    threshold = fit_threshold("normal_quantile", scores, labels)
    assert not threshold.flags(scores).any()


def test_a_score_that_is_no_number_is_inspected():
    threshold = fit_threshold("zfn", SCORES, LABELS)
    np.testing.assert_array_equal(
        threshold.flags(np.array([np.nan, 0.0, np.inf, -np.inf])), [True, False, True, False]
    )


@pytest.mark.parametrize("value", [0.1 + 0.2, np.inf, -np.inf, 5e-324])
def test_json_keeps_a_threshold_exactly(value):
    fitted = fit_threshold("zfn", SCORES, LABELS)
    threshold = Threshold(float(value), fitted.rule, fitted.fitted_on, fitted.guarantee)
    text = json.dumps(threshold.to_dict(), allow_nan=False)
    assert Threshold.from_dict(json.loads(text)) == threshold


def test_a_damaged_threshold_is_reported():
    with pytest.raises(UserError, match="damaged"):
        Threshold.from_dict({"value": 1.0})


def test_without_abnormal_images_only_rules_on_normals_are_left():
    left = {name for name, rule in RULES.items() if not rule.needs_abnormal}
    assert left == {"normal_quantile", "conformal_p", "manual", "review_share"}
    guarantee = fit_threshold("normal_quantile", SCORES, np.zeros(7, int)).guarantee
    assert guarantee["miss_rate_bound"] is None
    assert "at most 12.5 % of normal parts" in guarantee["statement"]
    assert "no promise about misses" in guarantee["statement"]


def test_without_normal_images_only_rules_on_abnormals_are_left():
    left = {name for name, rule in RULES.items() if not rule.needs_normal}
    assert left == {
        "zfn", "miss_bound", "np_umbrella", "conformal_risk", "proved", "spi", "manual"
    }  # fmt: skip


def test_an_unknown_rule_lists_the_known():
    with pytest.raises(UserError, match="zfn, miss_bound, accuracy, target_fpr, normal_quantile"):
        fit_threshold("zffn", SCORES, LABELS)


@pytest.mark.parametrize(
    "option", ["target_fpr", "normal_quantile", "confidence", "miss_rate", "delta"]
)
def test_an_option_out_of_range_is_refused(option):
    with pytest.raises(UserError, match=f"`{option}` \\(=1.5\\)"):
        fit_threshold("zfn", SCORES, LABELS, **{option: 1.5})


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match="1 of 2 calibration scores"):
        fit_threshold("zfn", np.array([0.0, np.nan]), np.array([0, 1]))
