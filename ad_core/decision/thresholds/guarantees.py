"""Promises of a threshold about future parts, from the images that calibrated it.

All bounds are exact for any distribution of scores, ties included; they ask only that future
parts are drawn like the calibration images, each independently of the others.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.stats import beta, binom

Guarantee = dict[str, str | float | int | None]

# Bounds for which a statement says how many abnormal images they would take.
_TARGETS = (0.05, 0.01)


def lowest_score_bound(n_abnormal: int, confidence: float) -> float:
    """Upper bound of the miss rate when the threshold is the lowest of `n_abnormal` scores.

    The miss rate is Beta(1, n): P(miss rate > a) = (1 - a)^n, so a = 1 - (1 - confidence)^(1/n).
    """
    return 1.0 - (1.0 - confidence) ** (1.0 / n_abnormal)


def binomial_bound(missed: int, n_abnormal: int, confidence: float) -> float:
    """One-sided Clopper-Pearson upper bound of the miss rate.

    Holds for a threshold that these abnormal images did not choose.
    """
    if missed >= n_abnormal:
        return 1.0
    return float(beta.ppf(confidence, missed + 1, n_abnormal - missed))


def images_needed(bound: float, confidence: float) -> int:
    """Abnormal images for which `lowest_score_bound` is at most `bound`."""
    return math.ceil(math.log(1.0 - confidence) / math.log(1.0 - bound))


class Terms(NamedTuple):
    """Terms of a promise.

    out_of_fold: the scores come from classifiers that had not seen the image. candidates: how many
    classifiers the same images chose from.
    """

    confidence: float
    out_of_fold: bool
    candidates: int = 1

    def proviso(self) -> str:
        """Condition of the promise, in words."""
        drawn = "future parts are drawn like the calibration images, each on its own"
        if self.out_of_fold:
            # The final classifier has seen the calibration images; their scores come from
            # classifiers that had not, each fitted on a little less.
            drawn += ", that the final classifier ranks them as the out-of-fold ones did"
        if self.candidates > 1:
            drawn += (
                f", that choosing among {self.candidates} classifiers on the same images has not "
                "flattered the chosen one"
            )
        head, comma, last = drawn.rpartition(", that ")
        return f"{head}, and that {last}" if comma else last


def lowest_score_guarantee(n_abnormal: int, terms: Terms) -> Guarantee:
    """The promise of a threshold at the lowest abnormal score."""
    confidence = terms.confidence
    bound = lowest_score_bound(n_abnormal, confidence)
    statement = (
        f"{_count(n_abnormal)} calibrated the threshold: with {_percent(confidence)} confidence "
        f"at most {_percent(bound)} of abnormal parts pass ({_percent(1 / (n_abnormal + 1))} "
        f"expected), provided that {terms.proviso()}{_wanted(n_abnormal, confidence)}."
    )
    return _guarantee(statement, bound, confidence, n_abnormal)


def umbrella_rank(n_abnormal: int, miss_rate: float, confidence: float) -> int:
    """Largest k with P(Binomial(n, miss_rate) < k) <= 1 - confidence; 0 if there is none.

    With the threshold at the k-th lowest of n abnormal scores, the miss rate then exceeds
    `miss_rate` with probability at most 1 - confidence.
    """
    tails = binom.cdf(np.arange(n_abnormal), n_abnormal, miss_rate)
    return int(np.searchsorted(tails, 1.0 - confidence + 1e-12, side="right"))


def rank_guarantee(rank: int, n_abnormal: int, terms: Terms) -> Guarantee:
    """The promise of a threshold at the `rank`-th lowest abnormal score: Beta(k, n - k + 1)."""
    confidence = terms.confidence
    bound = float(beta.ppf(confidence, rank, n_abnormal - rank + 1))
    statement = (
        f"{_count(n_abnormal)} calibrated the threshold, of which {rank - 1} may fall below it: "
        f"with {_percent(confidence)} confidence at most {_percent(bound)} of abnormal parts pass "
        f"({_percent(rank / (n_abnormal + 1))} expected), provided that {terms.proviso()}"
        f"{_wanted(n_abnormal, confidence, at='by rule zfn ')}."
    )
    return _guarantee(statement, bound, confidence, n_abnormal)


def binomial_guarantee(who: str, missed: int, n_abnormal: int, terms: Terms) -> Guarantee:
    """The promise of a threshold that `who` has set without the abnormal images."""
    confidence = terms.confidence
    bound = binomial_bound(missed, n_abnormal, confidence)
    statement = (
        f"{who} set the threshold; {missed} of {_count(n_abnormal)} fell below it: with "
        f"{_percent(confidence)} confidence at most {_percent(bound)} of abnormal parts pass, "
        f"provided that {terms.proviso()}{_wanted(n_abnormal, confidence, at='without a miss, ')}."
    )
    return _guarantee(statement, bound, confidence, n_abnormal)


def false_alarm_guarantee(
    expected_fpr: float, n_normal: int, n_abnormal: int, terms: Terms
) -> Guarantee:
    """The promise of a quantile of the normal scores: about false alarms only."""
    statement = (
        f"{n_normal} normal images set the threshold: at most {_percent(expected_fpr)} of normal "
        f"parts are expected to be inspected, provided that {terms.proviso()}. There is no "
        f"promise about misses; {_others(n_abnormal, terms.confidence)}."
    )
    return _guarantee(statement, None, terms.confidence, n_abnormal)


def no_guarantee(reason: str, n_abnormal: int, terms: Terms) -> Guarantee:
    """Statement of a rule that promises nothing: why, and what would give a promise."""
    statement = f"{reason}; {_others(n_abnormal, terms.confidence)}."
    return _guarantee(statement, None, terms.confidence, n_abnormal)


def _guarantee(statement: str, bound: float | None, confidence: float, n: int) -> Guarantee:
    return {
        "statement": statement,
        "miss_rate_bound": bound,
        "confidence": confidence,
        "n_abnormal": n,
    }


def _wanted(n_abnormal: int, confidence: float, *, at: str = "") -> str:
    """Number of further images that each target takes, from the lowest score of all."""
    wanted = [(images_needed(bound, confidence), bound) for bound in _TARGETS]
    more = [
        f"{n} ({n - n_abnormal} more) would promise {_percent(bound)}"
        for n, bound in wanted
        if n > n_abnormal
    ]
    return f"; {at}" + ", ".join(more) if more else ""


def _others(n_abnormal: int, confidence: float) -> str:
    """Promise that zfn would draw from the abnormal images, where this rule draws none."""
    if not n_abnormal:
        needed = images_needed(_TARGETS[0], confidence)
        return f"abnormal calibration images would give one, {needed} at most {_percent(0.05)}"
    bound = _percent(lowest_score_bound(n_abnormal, confidence))
    return (
        f"rule zfn would promise at most {bound} from the {_count(n_abnormal)}"
        f"{_wanted(n_abnormal, confidence)}"
    )


def _count(n_abnormal: int) -> str:
    return f"{n_abnormal} abnormal image{'' if n_abnormal == 1 else 's'}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"
