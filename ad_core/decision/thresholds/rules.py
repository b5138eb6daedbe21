"""Threshold rules: where each draws the line, and what it promises.

A rule is one function of (normal scores, abnormal scores, options), both ascending, and one line
in RULES. "At least" and "at most" count ties on the safe side.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ad_core.decision.thresholds import guarantees
from ad_core.decision.thresholds.guarantees import Guarantee, Terms
from ad_core.errors import UserError

Sorted = Float[np.ndarray, "_"]


@dataclass(frozen=True)
class Options:
    """Settings of the rules; each rule reads only what it needs."""

    target_fpr: float | int
    normal_quantile: float | int
    confidence: float | int
    out_of_fold: bool
    miss_rate: float | int
    miss_cost: float | int | None
    alarm_cost: float | int | None
    prevalence: float | int | None
    value: float | int | None
    delta: float | int
    candidates: int

    @property
    def terms(self) -> Terms:
        """Terms of a rule's promise."""
        return Terms(self.confidence, self.out_of_fold, self.candidates)


def _zfn(normal: Sorted, abnormal: Sorted, options: Options) -> tuple[float, Guarantee]:
    """The lowest score of an abnormal image: none of them passes, and the fewest normals alarm."""
    return abnormal[0], guarantees.lowest_score_guarantee(int(abnormal.size), options.terms)


def _accuracy(normal: Sorted, abnormal: Sorted, options: Options) -> tuple[float, Guarantee]:
    """Best accuracy on the calibration images."""
    tp, fp = _counts(normal, abnormal)
    value = _best(tp + normal.size - fp, normal.size, normal, abnormal)
    return value, _chosen_by_both("a miss as it weighs a false alarm", abnormal, options)


def _f1(normal: Sorted, abnormal: Sorted, options: Options) -> tuple[float, Guarantee]:
    """Best F1 = 2 tp / (2 tp + fp + fn) on the calibration images."""
    tp, fp = _counts(normal, abnormal)
    value = _best(2 * tp / (tp + fp + abnormal.size), 0.0, normal, abnormal)
    return value, _chosen_by_both("precision as it weighs recall", abnormal, options)


def _cost(normal: Sorted, abnormal: Sorted, options: Options) -> tuple[float, Guarantee]:
    """Least expected cost of a part, with q the prevalence.

    q x miss_cost x FNR + (1 - q) x alarm_cost x FPR, the rates on the calibration images.
    """
    miss_cost, alarm_cost, prevalence = options.miss_cost, options.alarm_cost, options.prevalence
    if miss_cost is None or alarm_cost is None or prevalence is None:
        raise UserError(
            "Rule 'cost' needs `miss_cost`, `alarm_cost` and `prevalence`; it got "
            f"{miss_cost}, {alarm_cost} and {prevalence}."
        )
    miss, alarm = prevalence * miss_cost, (1.0 - prevalence) * alarm_cost
    tp, fp = _counts(normal, abnormal)
    spared = miss * tp / abnormal.size - alarm * fp / normal.size
    return _best(spared, 0.0, normal, abnormal), _chosen_by_both(
        f"a miss {miss_cost:g} and a false alarm {alarm_cost:g} at a prevalence of {prevalence:g}",
        abnormal,
        options,
    )


def _np_umbrella(normal: Sorted, abnormal: Sorted, options: Options) -> tuple[float, Guarantee]:
    """The highest k-th abnormal score with P(miss rate > `miss_rate`) <= `delta`.

    P(Binomial(n, miss_rate) < k) must not exceed delta: the Neyman-Pearson umbrella
    with the abnormal class protected, and at once the largest threshold whose exact binomial
    bound is at most `miss_rate`.

    Source: Tong, Feng and Li, Neyman-Pearson classification algorithms and NP receiver operating
    characteristics, Science Advances 2018.
    """
    n = int(abnormal.size)
    confidence = 1.0 - options.delta
    rank = guarantees.umbrella_rank(n, options.miss_rate, confidence)
    if rank < 1:
        needed = guarantees.images_needed(options.miss_rate, confidence)
        raise UserError(
            f"Rule 'np_umbrella' needs {needed} abnormal calibration images to promise at most "
            f"`miss_rate` (={options.miss_rate}) with confidence {confidence:g}; there are "
            f"{n}. Add some, or use 'zfn', which promises what {n} can."
        )
    terms = options.terms._replace(confidence=confidence)
    return abnormal[rank - 1], guarantees.rank_guarantee(rank, n, terms)


def _conformal_risk(normal: Sorted, abnormal: Sorted, options: Options) -> tuple[float, Guarantee]:
    """The highest k-th abnormal score with an expected miss rate k / (n + 1) <= `miss_rate`.

    Source: Angelopoulos et al., Conformal Risk Control, ICLR 2024, for the miss rate.
    """
    n = int(abnormal.size)
    rank = math.floor(options.miss_rate * (n + 1) + 1e-9)
    if rank < 1:
        raise UserError(
            f"Rule 'conformal_risk' needs {math.ceil(1 / options.miss_rate - 1e-9) - 1} abnormal "
            f"calibration images for an expected `miss_rate` (={options.miss_rate}); there are "
            f"{n}. Add some, or use 'zfn', which promises what {n} can."
        )
    return abnormal[rank - 1], guarantees.rank_guarantee(rank, n, options.terms)


def _target_fpr(normal: Sorted, abnormal: Sorted, options: Options) -> tuple[float, Guarantee]:
    """The smallest threshold that flags at most `target_fpr` of the calibration normals.

    Ties count against it: the share flagged never exceeds the target. It is set by normals
    alone, so the exact binomial bound on misses holds.
    """
    allowed = math.floor(options.target_fpr * normal.size + 1e-9)
    value = _just_above(normal[normal.size - 1 - allowed])
    return value, _chosen_without_abnormals("Normal images", value, abnormal, options)


def _normal_quantile(normal: Sorted, abnormal: Sorted, options: Options) -> tuple[float, Guarantee]:
    """Value just above the ceil(q (n + 1))-th smallest normal score; above all if n is too small.

    A further normal part then exceeds it with probability at most 1 - q (1 / (n + 1) when n is
    too small): the split-conformal quantile, conservative under ties.
    """
    n = int(normal.size)
    rank = min(math.ceil(options.normal_quantile * (n + 1) - 1e-9), n)
    guarantee = guarantees.false_alarm_guarantee(
        (n + 1 - rank) / (n + 1),
        n,
        int(abnormal.size),
        options.terms,
    )
    return _just_above(normal[rank - 1]), guarantee


def _conformal_p(normal: Sorted, abnormal: Sorted, options: Options) -> tuple[float, Guarantee]:
    """Flags a split-conformal p-value <= `target_fpr`.

    The p-value of a score is (1 + number of the n normals that score as high) / (n + 1). A
    normal part is flagged with probability at most `target_fpr`, which takes
    n >= 1 / target_fpr - 1 normal images.
    """
    n = int(normal.size)
    rank = math.floor(options.target_fpr * (n + 1) + 1e-9)
    if rank < 1:
        raise UserError(
            f"Rule 'conformal_p' cannot promise `target_fpr` (={options.target_fpr}) from {n} "
            "normal images: no p-value is below 1 / (n + 1). Use a larger target or more images."
        )
    guarantee = guarantees.false_alarm_guarantee(
        rank / (n + 1),
        n,
        int(abnormal.size),
        options.terms,
    )
    return _just_above(normal[n - rank]), guarantee


def _manual(normal: Sorted, abnormal: Sorted, options: Options) -> tuple[float, Guarantee]:
    """`value`, as given: its promise holds if these images did not suggest it."""
    if options.value is None:
        raise UserError("Rule 'manual' needs `value`, the threshold; it got None.")
    if abnormal.size:
        return options.value, _chosen_without_abnormals(
            "A person", options.value, abnormal, options
        )
    return options.value, guarantees.no_guarantee(
        "A person set the threshold and no abnormal image calibrated: there is no promise",
        0,
        options.terms,
    )


def _counts(normal: Sorted, abnormal: Sorted) -> tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"]]:
    """Tp and fp with the threshold at each abnormal score."""
    tp = abnormal.size - np.searchsorted(abnormal, abnormal, side="left")
    fp = normal.size - np.searchsorted(normal, abnormal, side="left")
    return tp, fp


def _best(
    merit: Float[np.ndarray, "_"] | Int[np.ndarray, "_"],
    merit_of_none: float | int,
    normal: Sorted,
    abnormal: Sorted,
) -> float:
    """The threshold of most merit, given for each abnormal score and for flagging nothing.

    A merit that rises with tp and falls with fp can only peak there. Of equals the lowest,
    which misses least, placed halfway to the next score below.
    """
    best = int(np.argmax(merit))
    everything = np.concatenate([normal, abnormal])
    if merit[best] < merit_of_none:
        return _just_above(float(everything.max()))
    return _amid_gap(everything, abnormal[best])


def _chosen_by_both(weighs: str, abnormal: Sorted, options: Options) -> Guarantee:
    reason = (
        f"No promise about misses: the rule weighs {weighs}, and the abnormal images that would "
        "bound the misses have chosen the threshold"
    )
    return guarantees.no_guarantee(reason, int(abnormal.size), options.terms)


def _chosen_without_abnormals(
    who: str, value: float, abnormal: Sorted, options: Options
) -> Guarantee:
    missed = int(np.searchsorted(abnormal, value, side="left"))
    return guarantees.binomial_guarantee(who, missed, int(abnormal.size), options.terms)


def _just_above(score: float) -> float:
    return float(np.nextafter(score, np.inf))


def _amid_gap(scores: Float[np.ndarray, "n"], lowest_flagged: float) -> float:
    """Value halfway to the highest score below `lowest_flagged`, which stays flagged."""
    below = scores[scores < lowest_flagged]
    if not below.size:
        return float(lowest_flagged)
    middle = float(below.max() / 2 + lowest_flagged / 2)
    return middle if below.max() < middle <= lowest_flagged else float(lowest_flagged)


class Rule(NamedTuple):
    """Function that draws the line, and the kinds of calibration images that it needs."""

    fit: Callable[[Sorted, Sorted, Options], tuple[float, Guarantee]]
    needs_normal: bool
    needs_abnormal: bool


RULES: dict[str, Rule] = {
    "zfn": Rule(_zfn, needs_normal=False, needs_abnormal=True),
    "accuracy": Rule(_accuracy, needs_normal=True, needs_abnormal=True),
    "target_fpr": Rule(_target_fpr, needs_normal=True, needs_abnormal=True),
    "normal_quantile": Rule(_normal_quantile, needs_normal=True, needs_abnormal=False),
    "np_umbrella": Rule(_np_umbrella, needs_normal=False, needs_abnormal=True),
    "conformal_risk": Rule(_conformal_risk, needs_normal=False, needs_abnormal=True),
    "conformal_p": Rule(_conformal_p, needs_normal=True, needs_abnormal=False),
    "f1": Rule(_f1, needs_normal=True, needs_abnormal=True),
    "cost": Rule(_cost, needs_normal=True, needs_abnormal=True),
    "manual": Rule(_manual, needs_normal=False, needs_abnormal=False),
}
