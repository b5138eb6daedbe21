import numpy as np
import pytest
from scipy.stats import beta, binom, norm

from ad_core.decision import fit_threshold
from ad_core.decision.thresholds.deciding import deciding_rule
from ad_core.decision.thresholds.given import Proof
from ad_core.decision.thresholds.guarantees import images_needed, lowest_score_bound
from ad_core.decision.thresholds.price import price
from ad_core.errors import UserError


def abnormal(n, **options):
    """Threshold of abnormal scores 0, 1, ..., n - 1: its value is the rank less 1."""
    return fit_threshold("miss_bound", np.arange(float(n)), np.ones(n), **options)


@pytest.mark.parametrize("n, rank", [(59, 1), (92, 1), (93, 2), (123, 2), (124, 3), (153, 4)])
def test_the_rank_of_five_percent_is_that_of_the_order_statistics(n, rank):
    found = abnormal(n)
    assert found.value == rank - 1
    assert found.guarantee["miss_rate_bound"] == pytest.approx(beta.ppf(0.95, rank, n - rank + 1))
    # Never lower than the bound allows: one rank more would break it.
    assert binom.cdf(rank, n, 0.05) > 0.05 >= binom.cdf(rank - 1, n, 0.05)


def test_what_cannot_be_had_is_said_with_what_would_allow_it():
    said = r"with 31 the best bound at 95 % confidence is 9\.21 %; 28 more would allow 5 %"
    with pytest.raises(UserError, match=said):
        abnormal(31)
    assert lowest_score_bound(31, 0.95) == pytest.approx(0.0921, abs=5e-5)
    assert [images_needed(0.05, 0.95, rank=k) for k in (1, 2, 3, 4)] == [59, 93, 124, 153]


def test_images_of_one_group_count_once_by_their_lowest_score():
    scores = np.array([0.9, 0.2, 0.5, 0.6, 0.4, 0.1])
    labels, groups = np.array([1, 1, 1, 1, 1, 0]), np.array(["a", "a", "b", "b", "c", "a"])
    # The lowest of a, b and c are 0.2, 0.5 and 0.4.
    options = {"miss_rate": 0.9, "confidence": 0.5}
    found = fit_threshold("miss_bound", scores, labels, groups=groups, **options)
    assert found.value == 0.5 and found.guarantee["n_groups"] == 3
    assert found.guarantee["n_abnormal"] == found.fitted_on["abnormal"] == 5
    lowest = fit_threshold("zfn", scores, labels, groups=groups)
    assert lowest.value == 0.2
    assert lowest.guarantee["miss_rate_bound"] == pytest.approx(1 - 0.05 ** (1 / 3))
    assert "5 abnormal images of 3 groups" in lowest.guarantee["statement"]
    assert "groups (patients or parts) have an image that passes" in lowest.guarantee["statement"]
    by_hand = fit_threshold("manual", scores, labels, groups=groups, value=0.45)
    assert "2 of 5 abnormal images of 3 groups fell below it" in by_hand.guarantee["statement"]
    assert by_hand.guarantee["miss_rate_bound"] == pytest.approx(beta.ppf(0.95, 3, 1))


def test_groups_of_one_image_change_nothing():
    scores = np.random.default_rng(0).normal(size=200)
    labels = np.repeat([0, 1], 100)
    for rule in ("zfn", "miss_bound", "conformal_risk", "target_fpr"):
        alone = fit_threshold(rule, scores, labels)
        assert alone == fit_threshold(rule, scores, labels, groups=np.arange(200))


def test_each_type_of_defect_with_enough_groups_keeps_a_bound_of_its_own():
    scores = np.concatenate([np.arange(0, 100) + 50.0, np.arange(0, 100) + 10.0, [1.0, 2.0]])
    kinds = np.repeat(["hole", "scratch", "rare"], [100, 100, 2])
    labels, asked = np.ones(202), {"defects": kinds, "each_defect": True}
    together = fit_threshold("miss_bound", scores, labels)
    each = fit_threshold("miss_bound", scores, labels, **asked)
    # 202 groups allow 4 below; 100 scratches allow the second lowest of theirs.
    assert together.value == 12.0 and each.value == 11.0
    own = each.guarantee["defects"]
    assert list(own) == ["hole", "scratch"]
    assert own["scratch"] == pytest.approx(beta.ppf(0.95, 2, 99)) and own["scratch"] <= 0.05
    assert "by itself, each: hole 4.66 %, scratch 4.66 %." in each.guarantee["statement"]
    assert each.guarantee["miss_rate_bound"] == together.guarantee["miss_rate_bound"]
    few = fit_threshold("zfn", scores, labels, defects=kinds, each_defect=True)
    assert few.value == 1.0
    assert few.guarantee["defects"]["hole"] == pytest.approx(lowest_score_bound(100, 0.95))
    none = fit_threshold("zfn", scores[-2:], labels[-2:], defects=kinds[-2:], each_defect=True)
    assert "no type of defect has the 20 groups" in none.guarantee["statement"]


@pytest.mark.parametrize(
    "n, rule", [(0, "zfn"), (92, "zfn"), (93, "miss_bound"), (400, "miss_bound")]
)
def test_auto_takes_the_bound_as_soon_as_it_allows_more_than_the_lowest(n, rule):
    found = deciding_rule("auto", n, miss_rate=0.05, confidence=0.95)
    assert found.rule == rule and f"took {rule}" in found.reason
    assert ("93 are needed" in found.reason) == (rule == "zfn")
    assert deciding_rule("f1", n, miss_rate=0.05, confidence=0.95) == ("f1", "")


def test_a_proved_rank_promises_an_average_and_asks_for_a_proof():
    scores, labels = np.arange(30.0), np.ones(30)
    # 0.1 x 40 / 2 = 2 of 39 groups, and twice 2 / 40 is proved.
    found = fit_threshold("proved", scores, labels, miss_rate=0.1, proof=Proof(39, 2, "theorem 1"))
    assert found.value == 2 / 40 and found.guarantee["miss_rate_bound"] == pytest.approx(0.1)
    assert found.guarantee["proved"] and found.guarantee["confidence"] is None
    assert "proved for any scores (theorem 1)" in found.guarantee["statement"]
    with pytest.raises(UserError, match="needs 39 abnormal groups.*there are 9, which prove 20 %"):
        fit_threshold("proved", scores, labels, proof=Proof(9, 2, "theorem 1"))
    with pytest.raises(UserError, match="needs a classifier whose score carries a proof"):
        fit_threshold("proved", scores, labels)


def test_only_what_no_practice_enters_is_called_proved():
    scores, labels = np.arange(30.0), np.ones(30)
    assert not fit_threshold("zfn", scores, labels).guarantee["proved"]
    apart = fit_threshold("zfn", scores, labels, out_of_fold=False)
    assert apart.guarantee["proved"] and "in practice" not in apart.guarantee["statement"]


def test_images_left_out_by_a_person_are_told_in_the_promise():
    found = fit_threshold("zfn", np.arange(30.0), np.ones(30), left_out=2)
    assert "and that 2 images left out by a person did not belong" in found.guarantee["statement"]


def test_a_band_of_review_holds_no_more_parts_than_asked():
    scores = np.concatenate([np.arange(10.0), np.arange(5.0, 15.0)])
    labels = np.repeat([0, 1], 10)
    options = {"lower": 4.0, "prevalence": 0.1}
    # Normals 0.09 a score from 4 on, abnormals 0.01: 4 (0.09), 5, 5 (0.19), 6, 6 (0.29), 7.
    found = fit_threshold("review_share", scores, labels, review_share=0.3, **options)
    assert found.value == 7.0
    # A tie that does not fit as a whole stays out.
    found = fit_threshold("review_share", scores, labels, review_share=0.185, **options)
    assert found.value == 5.0
    all_of_it = fit_threshold("review_share", scores, labels, review_share=0.9, **options)
    assert all_of_it.value == np.nextafter(14.0, np.inf)
    with pytest.raises(UserError, match="needs `lower`"):
        fit_threshold("review_share", scores, labels)


def test_the_price_of_a_bound_is_that_of_the_rule_which_keeps_it():
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], [300, 100])
    scores = rng.normal(2 * labels)
    offers = price(scores, labels, confidence=0.95)
    assert [offer["bound"] for offer in offers] == [k / 100 for k in range(1, 21)]
    for offer in offers:
        options = {"miss_rate": offer["bound"]}
        if offer["threshold"] is None:
            with pytest.raises(UserError) as refusal:
                fit_threshold("miss_bound", scores, labels, **options)
            assert offer["refused"] in str(refusal.value) and offer["rank"] == 0
            continue
        found = fit_threshold("miss_bound", scores, labels, **options)
        assert offer["threshold"] == found.value
        assert offer["calibration"]["fp"] == int((scores[:300] >= found.value).sum())
        assert offer["calibration"]["fn"] == offer["rank"] - 1
    assert [offer["rank"] for offer in offers][:5] == [0, 0, 1, 1, 2]
    alarms = [offer["calibration"]["fp"] for offer in offers[2:]]
    assert alarms == sorted(alarms, reverse=True)
    (none,) = price(scores[:300], labels[:300], confidence=0.95, bounds=[0.05])
    assert none["refused"] == "no abnormal image calibrated"


def broken(draw, promised, *, draws=2000, seed=0):
    """Share of calibrations whose true miss rate of groups lies above the promised one."""
    rng, above = np.random.default_rng(seed), 0
    for _ in range(draws):
        scores, groups, missed = draw(rng)
        threshold = fit_threshold(
            "miss_bound" if promised else "zfn",
            scores,
            np.ones(len(scores)),
            groups=groups,
            **({"miss_rate": promised} if promised else {}),
        )
        above += missed(threshold.value) > threshold.guarantee["miss_rate_bound"] + 1e-12
    return above / draws


def patients(n, *, tied):
    """Images of n patients, 1 to 8 each and the more the harder; a patient shifts all of its own.

    A threshold misses a patient if one of its images lies below.
    """
    rng = np.random.default_rng(99)

    def draw(rng, count):
        sizes = rng.integers(1, 9, count)
        shift = rng.normal(scale=1.0, size=count) - 0.3 * sizes
        groups = np.repeat(np.arange(count), sizes)
        scores = shift[groups] + rng.normal(scale=0.5, size=groups.size)
        return (np.floor(scores) if tied else scores), groups

    many, owners = draw(rng, 100_000)
    lowest = np.full(100_000, np.inf)
    np.minimum.at(lowest, owners, many)
    lowest.sort()

    def missed(value):
        return np.searchsorted(lowest, value, side="left") / lowest.size

    return lambda rng: (*draw(rng, n), missed)


# Three standard errors of a share of 0.05 over 2,000 draws, and the error of `missed`.
MOST = 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("n, bound", [(5, None), (60, None), (60, 0.05), (100, 0.05), (60, 0.2)])
def test_patients_are_missed_no_more_often_than_promised(n, bound, tied):
    assert broken(patients(n, tied=tied), bound) <= MOST


def test_counting_images_in_place_of_patients_would_break_the_promise():
    draw = patients(60, tied=False)

    def as_images(rng):
        scores, _, missed = draw(rng)
        return scores, np.arange(len(scores)), missed

    assert broken(as_images, 0.05) > 0.5


def test_the_bound_is_sharp_for_single_images():
    def draw(rng):
        return rng.normal(size=100), np.arange(100), norm.cdf

    # P(Beta(2, 99) > its own 95th percentile): the rule spends all that it may.
    assert broken(draw, 0.05) == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 2000))
