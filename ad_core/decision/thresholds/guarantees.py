"""Promises of a threshold about future parts, from the images that calibrated it.

All bounds are exact for any distribution of scores, ties included; they ask only that future
parts are drawn like the calibration images, each independently of the others. Abnormal images of
one group (a patient, a part) are one draw: the group counts once, by its lowest score.
"""

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import beta, binom

from ad_core.inspection.findings import plural

Guarantee = dict[str, Any]

# Bounds for which a statement says how many abnormal images they would take.
_TARGETS = (0.05, 0.01)


class Counted(NamedTuple):
    """Abnormal images that calibrated, and the groups that they belong to."""

    images: int
    groups: int

    @property
    def grouped(self) -> bool:
        """Tells whether some group holds several images."""
        return self.groups < self.images

    def __str__(self) -> str:
        """Number in words: 23 abnormal images, or 80 abnormal images of 40 groups."""
        told = f"{self.images} abnormal image{'' if self.images == 1 else 's'}"
        return f"{told} of {plural(self.groups, 'group')}" if self.grouped else told

    @property
    def passing(self) -> str:
        """Subject of a bound, in words: what it is a share of."""
        if self.grouped:
            return "abnormal groups (patients or parts) have an image that passes"
        return "abnormal parts pass"


def level(confidence: float, candidates: int) -> float:
    """Confidence with which each of several classifiers must keep its bound.

    So that whichever the same images choose keeps it with `confidence`: the union bound.
    """
    return 1.0 - (1.0 - confidence) / candidates


def lowest_score_bound(n_groups: int, confidence: float) -> float:
    """Upper bound of the miss rate when the threshold is the lowest score of `n_groups`.

    The miss rate is Beta(1, n): P(miss rate > a) = (1 - a)^n, so a = 1 - (1 - confidence)^(1/n).
    """
    return 1.0 - (1.0 - confidence) ** (1.0 / n_groups)


@cache
def rank_bound(rank: int, n_groups: int, confidence: float) -> float:
    """Upper bound of the miss rate at the `rank`-th lowest score: of Beta(k, n - k + 1)."""
    return float(beta.ppf(confidence, rank, n_groups - rank + 1))


def binomial_bound(missed: int, n_groups: int, confidence: float) -> float:
    """One-sided Clopper-Pearson upper bound of the miss rate.

    Holds for a threshold that these abnormal images did not choose.
    """
    if missed >= n_groups:
        return 1.0
    return float(beta.ppf(confidence, missed + 1, n_groups - missed))


@cache
def images_needed(bound: float, confidence: float, *, rank: int = 1) -> int:
    """Abnormal groups of which the `rank`-th lowest score keeps `bound`."""
    needed = max(rank, math.ceil(math.log(1.0 - confidence) / math.log(1.0 - bound)))
    while rank > 1 and umbrella_rank(needed, bound, confidence) < rank:
        needed += 1
    return needed


class Terms(NamedTuple):
    """Terms of a promise.

    out_of_fold: the scores come from classifiers that had not seen the image. candidates: how many
    classifiers the same images chose from. left_out: how many images a person left out.
    """

    confidence: float
    out_of_fold: bool
    candidates: int = 1
    left_out: int = 0

    @property
    def level(self) -> float:
        """Confidence that each candidate needs, so that all keep their bounds together."""
        return level(self.confidence, self.candidates)

    @property
    def in_practice(self) -> str:
        """Words for what experience says and no theorem."""
        return "in practice, " if self.out_of_fold else ""

    def proviso(self) -> str:
        """Condition of the promise, in words."""
        drawn = "future parts are drawn like the calibration images, each on its own"
        if self.out_of_fold:
            # The final classifier has seen the calibration images; their scores come from
            # classifiers that had not, each fitted on a little less.
            drawn += ", that the final classifier ranks them as the out-of-fold ones did"
        if self.left_out:
            drawn += f", that {plural(self.left_out, 'image')} left out by a person did not belong"
        head, comma, last = drawn.rpartition(", that ")
        return f"{head}, and that {last}" if comma else last


def lowest_score_guarantee(counted: Counted, terms: Terms) -> Guarantee:
    """The promise of a threshold at the lowest abnormal score."""
    bound = lowest_score_bound(counted.groups, terms.level)
    statement = (
        f"{counted} calibrated the threshold: {terms.in_practice}{_at_most(bound, counted, terms)}"
        f"{_expected(1, counted, terms)}, provided that "
        f"{terms.proviso()}{_wanted(counted.groups, terms.level)}."
    )
    return _guarantee(statement, bound, terms, counted)


@cache
def umbrella_rank(n_groups: int, miss_rate: float, confidence: float) -> int:
    """Largest k with P(Binomial(n, miss_rate) < k) <= 1 - confidence; 0 if there is none.

    With the threshold at the k-th lowest of n abnormal scores, the miss rate then exceeds
    `miss_rate` with probability at most 1 - confidence.
    """
    tails = binom.cdf(np.arange(n_groups), n_groups, miss_rate)
    return int(np.searchsorted(tails, 1.0 - confidence + 1e-12, side="right"))


def rank_guarantee(rank: int, counted: Counted, terms: Terms) -> Guarantee:
    """The promise of a threshold at the `rank`-th lowest abnormal score: Beta(k, n - k + 1)."""
    bound = rank_bound(rank, counted.groups, terms.level)
    statement = (
        f"{counted} calibrated the threshold, of which {rank - 1} may fall below it: "
        f"{terms.in_practice}{_at_most(bound, counted, terms)}{_expected(rank, counted, terms)}, "
        f"provided that "
        f"{terms.proviso()}{_wanted(counted.groups, terms.level, at='by rule zfn ')}."
    )
    return _guarantee(statement, bound, terms, counted)


def binomial_guarantee(who: str, missed: int, counted: Counted, terms: Terms) -> Guarantee:
    """The promise of a threshold that `who` has set without the abnormal images."""
    bound = binomial_bound(missed, counted.groups, terms.level)
    statement = (
        f"{who} set the threshold; {missed} of {counted} fell below it: {terms.in_practice}"
        f"{_at_most(bound, counted, terms)}, provided that "
        f"{terms.proviso()}{_wanted(counted.groups, terms.level, at='without a miss, ')}."
    )
    return _guarantee(statement, bound, terms, counted)


def expected_guarantee(bound: float, source: str, counted: Counted, terms: Terms) -> Guarantee:
    """The promise of a score that is itself a proved rank: about the mean miss rate.

    Args:
        source: of the theorem, in words.
    """
    statement = (
        f"{counted} calibrated the threshold: on average over such calibrations at most "
        f"{percent(bound)} of {counted.passing}, proved for any scores ({source}), provided that "
        f"{terms.proviso()}. It is an average: a single calibration may lie above it"
        f"{_wanted(counted.groups, terms.confidence, at='by rule zfn ')}."
    )
    promised = _guarantee(statement, bound, terms, counted)
    return promised | {"confidence": None}


def false_alarm_guarantee(
    expected_fpr: float, normal: tuple[int, int], counted: Counted, terms: Terms
) -> Guarantee:
    """The promise of a quantile of the normal scores: about false alarms only.

    Args:
        normal: number of normal images, and of their groups.
    """
    images, groups = normal
    who, whose = f"{images} normal images", "parts are expected to be"
    if groups < images:
        who += f" of {plural(groups, 'group')}"
        whose = "groups (patients or parts) are expected to have an image that is"
    statement = (
        f"{who} set the threshold: {terms.in_practice}at most "
        f"{percent(expected_fpr)} of normal {whose} inspected, provided that "
        f"{terms.proviso()}. There is no promise about misses; {_others(counted, terms)}."
    )
    return _guarantee(statement, None, terms, counted)


def no_guarantee(reason: str, counted: Counted, terms: Terms) -> Guarantee:
    """Statement of a rule that promises nothing: why, and what would give a promise."""
    return _guarantee(f"{reason}; {_others(counted, terms)}.", None, terms, counted)


def _guarantee(statement: str, bound: float | None, terms: Terms, counted: Counted) -> Guarantee:
    return {
        "statement": statement,
        "miss_rate_bound": bound,
        "confidence": terms.confidence,
        "n_abnormal": counted.images,
        "n_groups": counted.groups,
        "proved": bound is not None and not terms.out_of_fold,
    }


def _at_most(bound: float, counted: Counted, terms: Terms) -> str:
    """Words of a bound, and of the choice of a classifier that it covers."""
    chosen = f", whichever of {terms.candidates} classifiers these images chose,"
    return (
        f"with {percent(terms.confidence)} confidence"
        f"{chosen if terms.candidates > 1 else ''} at most {percent(bound)} of {counted.passing}"
    )


def _expected(rank: int, counted: Counted, terms: Terms) -> str:
    """Words of the mean miss rate at a rank; none where the images chose the classifier too."""
    expected = percent(rank / (counted.groups + 1))
    return f" ({expected} expected)" if terms.candidates == 1 else ""


def unreachable(n_groups: int, miss_rate: float, confidence: float) -> str:
    """Reason, in words, why no rank of `n_groups` scores keeps `miss_rate`, and what would."""
    best = percent(lowest_score_bound(n_groups, confidence))
    more = images_needed(miss_rate, confidence) - n_groups
    return (
        f"with {n_groups} the best bound at {percent(confidence)} confidence is {best}; "
        f"{more} more would allow {percent(miss_rate)}"
    )


def _wanted(n_groups: int, confidence: float, *, at: str = "") -> str:
    """Number of further images that each target takes, from the lowest score of all."""
    wanted = [(images_needed(bound, confidence), bound) for bound in _TARGETS]
    more = [
        f"{n} ({n - n_groups} more) would promise {percent(bound)}"
        for n, bound in wanted
        if n > n_groups
    ]
    return f"; {at}" + ", ".join(more) if more else ""


def _others(counted: Counted, terms: Terms) -> str:
    """Promise that zfn would draw from the abnormal images, where this rule draws none."""
    confidence = terms.level
    if not counted.images:
        needed = images_needed(_TARGETS[0], confidence)
        return f"abnormal calibration images would give one, {needed} at most {percent(0.05)}"
    bound = percent(lowest_score_bound(counted.groups, confidence))
    return (
        f"rule zfn would promise at most {bound} from the {counted}"
        f"{_wanted(counted.groups, confidence)}"
    )


def percent(fraction: float) -> str:
    """A share in words: 12.2 %."""
    return f"{100 * fraction:.3g} %"
