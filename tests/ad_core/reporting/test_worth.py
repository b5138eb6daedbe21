import pytest

from ad_core.decision.thresholds.guarantees import lowest_score_bound
from ad_core.reporting.worth import appraise, worth


def told(tp, fn, fp, tn, bound=None, n_abnormal=0):
    rates = {"fpr": fp / (fp + tn) if fp + tn else None}
    promise = {"miss_rate_bound": bound, "confidence": 0.95, "n_abnormal": n_abnormal}
    counts = {"tp": tp, "fn": fn, "fp": fp, "tn": tn}
    rule = counts | rates | {"guarantee": promise}
    return worth({"rule": "zfn", "held_out": {"zfn": rule}})


def test_misses_alarms_and_promise_are_two_sentences():
    # Of n independent scores the lowest bounds the miss rate by 1 - 0.05^(1/n): 4.95 % for 59.
    text = told(59, 0, 3, 97, lowest_score_bound(59, 0.95), 59)
    assert text == (
        "On images that decided nothing, none of 59 defective parts slipped through, and 3 of 100 "
        "good parts would be inspected in vain. Of 1,000 defective parts up to 50 may pass"
        "; we are 95 % sure, going by 59 abnormal images and if future parts are like them."
    )


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ((9, 1, 0, 10), "1 of 10 defective parts slipped through, and none of 10 good parts"),
        ((9, 1, 0, 10), "in vain: it lets defects pass."),
        ((10, 0, 9, 1), "9 of 10 good parts would be inspected in vain: it saves little work."),
        ((9, 1, 9, 1), ": it lets defects pass and it saves little work."),
        ((0, 0, 1, 9), "there was no defective part to miss"),
        ((1, 0, 0, 0), "1 defective part slipped through, and there was no good part"),
        ((0, 0, 0, 0), "No image was left to test this detector"),
        ((1, 1, 1, 1), "It promises nothing about defects, for no defect calibrated it"),
    ],
)
def test_what_is_not_known_is_said(counts, words):
    assert words in told(*counts)


def test_a_bound_of_all_is_no_promise():
    assert "nothing can be promised" in told(1, 1, 1, 1, 1.0, 1)


def test_a_promise_on_images_that_hang_together_is_doubted():
    rule = {"tp": 59, "fn": 0, "fp": 3, "tn": 97, "fpr": 0.03}
    promise = {"miss_rate_bound": 0.05, "confidence": 0.95, "n_abnormal": 59}
    results = {"rule": "zfn", "grouping": {"doubt": "they look alike"}}
    text = worth(results | {"held_out": {"zfn": rule | {"guarantee": promise}}})
    doubt = "The promise assumes independent images, but they look alike: it may be broken."
    assert text.endswith(doubt)
    none = promise | {"miss_rate_bound": None}
    assert doubt not in worth(results | {"held_out": {"zfn": rule | {"guarantee": none}}})


def test_a_promise_that_does_not_cover_what_judged_says_so():
    rule = {"tp": 59, "fn": 0, "fp": 3, "tn": 97, "fpr": 0.03}
    promise = {"miss_rate_bound": 0.05, "confidence": 0.95, "n_abnormal": 59}
    drift = {"drifted": True, "statement": "the test split does not look like it (p = 0.001)"}

    def said(drift, promise=promise):
        held_out = {"zfn": rule | {"guarantee": promise}}
        return worth({"rule": "zfn", "drift": drift, "held_out": held_out})

    assert said(drift).endswith(" The test split does not look like it (p = 0.001).")
    for none in (None, drift | {"drifted": False}, drift | {"drifted": None}):
        assert "The test split" not in said(none)
    assert "The test split" not in said(drift, promise | {"miss_rate_bound": None})


@pytest.mark.parametrize(
    ("grouping", "words"),
    [
        ({"runs": [{"folder": ""}]}, "going by 12 abnormal images, which look like 4 parts, and"),
        ({"copies": 8}, "going by 12 abnormal images, which look like 4 parts, and"),
        ({}, "going by 12 abnormal images of 4 groups and"),
    ],
)
def test_images_that_count_once_are_told_beside_what_they_promise(grouping, words):
    promise = {"miss_rate_bound": lowest_score_bound(4, 0.95), "confidence": 0.95}
    promise |= {"n_abnormal": 12, "n_groups": 4}
    rule = {"tp": 12, "fn": 0, "fp": 3, "tn": 10, "fpr": 3 / 13, "guarantee": promise}
    found = appraise({"rule": "zfn", "held_out": {"zfn": rule}, "grouping": grouping})
    assert words in found.promise
    # ln(0.05) / ln(0.95) = 58.4: 59 promise 5 %, 4 of which are there.
    assert "those of 55 more parts or patients would allow one of 50 in 1,000" in found.advice


def test_made_up_defects_are_told_where_they_chose_the_score_and_nothing_is_promised():
    promise = {"miss_rate_bound": None, "confidence": 0.95, "n_abnormal": 0, "n_groups": 0}
    rule = {"tp": 0, "fn": 0, "fp": 0, "tn": 0, "fpr": None}
    results = {"rule": "normal_quantile", "synthetic": {"kinds": {"scar": 20, "missing": 20}}}
    words = "40 made-up defects chose its score; they promise nothing."
    none = worth(results | {"held_out": {"normal_quantile": rule | {"guarantee": promise}}})
    assert none.endswith(words)
    promise |= {"miss_rate_bound": 0.05, "n_abnormal": 59, "n_groups": 59}
    some = worth(results | {"held_out": {"normal_quantile": rule | {"guarantee": promise}}})
    assert words not in some


def offer(bound, rank, *, calibration, test=None):
    """Offer of a price by its shares of false alarms, of 100 normal images each."""
    counts = [
        None if fpr is None else {"fp": round(100 * fpr), "normal": 100, "fpr": fpr}
        for fpr in (calibration, test)
    ]
    known = {"bound": bound, "rank": rank, "threshold": 0.1 * rank}
    return known | {"calibration": counts[0], "test": counts[1]}


def appraised(tp, fn, fp, tn, *, bound=0.05, price=()):
    """Worth by the rule that takes the fourth lowest of 160 groups."""
    promise = {"miss_rate_bound": bound, "confidence": 0.95, "n_abnormal": 160, "n_groups": 160}
    counts = {"tp": tp, "fn": fn, "fp": fp, "tn": tn, "threshold": 0.1 * 4}
    results = {"rule": "miss_bound", "held_out": {"miss_bound": counts | {"guarantee": promise}}}
    return appraise(results | {"price": list(price)})


@pytest.mark.parametrize(
    ("counts", "bound", "level"),
    [
        ((100, 0, 10, 90), 0.05, "good"),
        ((100, 0, 11, 89), 0.05, "fair"),
        ((100, 0, 10, 90), 0.3, "fair"),
        ((100, 0, 10, 90), None, "fair"),
        ((100, 0, 91, 9), 0.05, "bad"),
        ((0, 0, 0, 100), 0.05, "fair"),
        ((0, 0, 0, 0), 0.05, "open"),
        # SciPy: binom.sf(8, 100, 0.05) = 0.063, binom.sf(9, 100, 0.05) = 0.028.
        ((91, 9, 0, 100), 0.05, "fair"),
        ((90, 10, 0, 100), 0.05, "bad"),
        ((99, 1, 0, 100), None, "bad"),
    ],
)
def test_the_level_follows_from_misses_alarms_and_promise(counts, bound, level):
    assert appraised(*counts, bound=bound).level == level


def test_misses_are_judged_by_the_promise():
    assert "passes" not in appraised(100, 0, 0, 100).verdict
    assert "it lets defects pass as its promise allows." in appraised(91, 9, 0, 100).verdict
    assert "it lets more defects pass than it promised." in appraised(90, 10, 0, 100).verdict


# 5 % of 160 groups are 8: with ever more of them the 8th lowest keeps what the 4th keeps now.
@pytest.mark.parametrize(
    ("now", "then", "words"),
    [
        (0.6, 0.2, "More abnormal images would probably help: with many of them the same promise "
         "would cost about 20 % of the good parts instead of 60 %."),
        (0.6, 0.57, "More abnormal images would hardly help: even with many of them the same "
         "promise would cost about 57 % of the good parts. A score that tells"),
        (0.8, 0.6, "More abnormal images alone would not do: with many of them the same promise "
         "would still cost about 60 % of the good parts, now 80 %. A score that tells"),
    ],
)  # fmt: skip
def test_what_more_abnormal_images_would_spare_is_read_from_the_price(now, then, words):
    price = [
        {"bound": 0.01, "rank": 0, "threshold": None, "calibration": None, "test": None},
        offer(0.05, 4, calibration=now, test=now),
        offer(0.09, 8, calibration=then, test=then),
        offer(0.2, 20, calibration=0.01, test=0.01),
    ]
    assert appraised(100, 0, 60, 40, price=price).advice.startswith(words)


def test_no_advice_is_given_where_the_figures_say_nothing():
    price = [offer(0.05, 4, calibration=0.6), offer(0.09, 8, calibration=0.2)]
    assert appraised(100, 0, 60, 40, price=price).advice
    assert not appraised(100, 0, 10, 90, price=price).advice  # few false alarms
    assert not appraised(100, 0, 60, 40, price=price[:1]).advice  # the 8th lowest is not known
    assert not appraised(100, 0, 60, 40, price=price[1:]).advice  # nor the present one
    assert not appraised(100, 0, 60, 40, bound=None, price=price).advice


def test_good_parts_that_judge_and_are_unlike_those_that_calibrated_are_told():
    # Of 100 each: 90 against 70 are 3.5 standard errors apart, 80 against 70 are 1.6.
    told = "90 % of the former are inspected, 70 % of the latter."
    for test, said in ((0.9, True), (0.8, False)):
        price = [offer(0.05, k, calibration=0.7, test=test) for k in (4, 8)]
        assert (told in appraised(100, 0, 60, 40, price=price).advice) == said


def test_a_weak_promise_says_how_many_more_images_would_make_it_firm():
    # 59 independent images keep 5 % at 95 %, see above.
    promise = {"miss_rate_bound": 0.193, "confidence": 0.95, "n_abnormal": 14, "n_groups": 14}
    counts = {"tp": 14, "fn": 0, "fp": 0, "tn": 9, "threshold": 0.5, "guarantee": promise}
    found = appraise({"rule": "zfn", "held_out": {"zfn": counts}})
    assert found.level == "fair"
    assert "45 more would allow one of 50 in 1,000." in found.advice
    assert not appraised(100, 0, 0, 100).advice


def test_a_promise_on_average_claims_no_confidence():
    promise = {"miss_rate_bound": 0.05, "confidence": None, "n_abnormal": 1}
    counts = {"tp": 1, "fn": 0, "fp": 0, "tn": 1, "threshold": 0.5, "guarantee": promise}
    text = worth({"rule": "proved", "held_out": {"proved": counts}})
    assert "up to 50 may pass on average, going by 1 abnormal image and if" in text
    assert "sure" not in text
