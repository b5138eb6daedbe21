import pytest

from ad_core.decision.thresholds.guarantees import lowest_score_bound
from ad_core.reporting.worth import worth


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
        "good parts would be inspected in vain. Of 1,000 defective parts up to 50 may pass "
        "(95 % sure, from 59 abnormal images, if future parts are like them)."
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
