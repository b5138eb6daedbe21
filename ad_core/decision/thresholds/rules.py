"""Threshold rules: where each draws the line, and what it promises.

A rule is one function of (scores of the calibration images, options) and one line in RULES. "At
least" and "at most" count ties on the safe side.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ad_core.decision.thresholds import guarantees, misses, synthetic_powered
from ad_core.decision.thresholds.given import Calibrating, Options
from ad_core.decision.thresholds.guarantees import Guarantee
from ad_core.errors import UserError


def _accuracy(given: Calibrating, options: Options) -> tuple[float, Guarantee]:
    """Best accuracy on the calibration images."""
    tp, fp = _counts(given)
    value = _best(tp + given.normal.size - fp, given.normal.size, given)
    return value, _chosen_by_both("a miss as it weighs a false alarm", given, options)


def _f1(given: Calibrating, options: Options) -> tuple[float, Guarantee]:
    """Best F1 = 2 tp / (2 tp + fp + fn) on the calibration images."""
    tp, fp = _counts(given)
    value = _best(2 * tp / (tp + fp + given.abnormal.size), 0.0, given)
    return value, _chosen_by_both("precision as it weighs recall", given, options)


def _cost(given: Calibrating, options: Options) -> tuple[float, Guarantee]:
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
    tp, fp = _counts(given)
    spared = miss * tp / given.abnormal.size - alarm * fp / given.normal.size
    return _best(spared, 0.0, given), _chosen_by_both(
        f"a miss {miss_cost:g} and a false alarm {alarm_cost:g} at a prevalence of {prevalence:g}",
        given,
        options,
    )


def _target_fpr(given: Calibrating, options: Options) -> tuple[float, Guarantee]:
    """The smallest threshold that flags at most `target_fpr` of the calibration normals.

    Ties count against it: the share flagged never exceeds the target. It is set by normals
    alone, so the exact binomial bound on misses holds.
    """
    normal = given.normal
    allowed = math.floor(options.target_fpr * normal.size + 1e-9)
    value = _just_above(normal[normal.size - 1 - allowed])
    return value, _chosen_without_abnormals("Normal images", value, given, options)


def _normal_quantile(given: Calibrating, options: Options) -> tuple[float, Guarantee]:
    """Value just above the ceil(q (n + 1))-th smallest normal score; above all if n is too small.

    Each of the n groups counts once, by its highest score. A further normal part then exceeds it
    with probability at most 1 - q (1 / (n + 1) when n is too small): the split-conformal quantile,
    conservative under ties.
    """
    n = int(given.normal_parts.size)
    rank = min(math.ceil(options.normal_quantile * (n + 1) - 1e-9), n)
    guarantee = guarantees.false_alarm_guarantee(
        (n + 1 - rank) / (n + 1),
        (int(given.normal.size), n),
        given.counted,
        options.terms,
    )
    return _just_above(given.normal_parts[rank - 1]), guarantee


def _conformal_p(given: Calibrating, options: Options) -> tuple[float, Guarantee]:
    """Flags a split-conformal p-value <= `target_fpr`.

    The p-value of a score is (1 + number of the n normals that score as high) / (n + 1), where a
    group counts once, by its highest score. A normal part is flagged with probability at most
    `target_fpr`, which takes n >= 1 / target_fpr - 1 of them.
    """
    n = int(given.normal_parts.size)
    rank = math.floor(options.target_fpr * (n + 1) + 1e-9)
    if rank < 1:
        raise UserError(
            f"Rule 'conformal_p' cannot promise `target_fpr` (={options.target_fpr}) from {n} "
            "normal images or groups: no p-value is below 1 / (n + 1). Use a larger target or more "
            "of them."
        )
    guarantee = guarantees.false_alarm_guarantee(
        rank / (n + 1),
        (int(given.normal.size), n),
        given.counted,
        options.terms,
    )
    return _just_above(given.normal_parts[n - rank]), guarantee


def _manual(given: Calibrating, options: Options) -> tuple[float, Guarantee]:
    """`value`, as given: its promise holds if these images did not suggest it."""
    if options.value is None:
        raise UserError("Rule 'manual' needs `value`, the threshold; it got None.")
    if given.parts.size:
        return options.value, _chosen_without_abnormals("A person", options.value, given, options)
    return options.value, guarantees.no_guarantee(
        "A person set the threshold and no abnormal image calibrated: there is no promise",
        given.counted,
        options.terms,
    )


def _review_share(given: Calibrating, options: Options) -> tuple[float, Guarantee]:
    """The upper end of a band from `lower` on that holds at most `review_share` of all parts.

    Of the parts on the line `prevalence` are abnormal (none, where it is not told); the shares of
    both classes within the band are those of the calibration images.
    """
    if options.lower is None:
        raise UserError(
            "Rule 'review_share' needs `lower`, the threshold from which on parts are inspected; "
            "name it as `decision.review`, beside another `decision.rule`."
        )
    odd = (options.prevalence or 0.0) if given.abnormal.size else 0.0
    shares = [np.full(given.normal.size, (1.0 - odd) / given.normal.size)]
    shares.append(np.full(given.abnormal.size, odd / max(given.abnormal.size, 1)))
    everything = np.concatenate([given.normal, given.abnormal])
    order = np.argsort(everything, kind="stable")
    scores, parts = everything[order], np.concatenate(shares)[order]
    begin = int(np.searchsorted(scores, options.lower, side="left"))
    within = np.cumsum(parts[begin:])
    count = int(np.searchsorted(within, options.review_share + 1e-9, side="right"))
    # The first score that the band has no room for ends it, and all that tie with it.
    ends = begin + count < scores.size
    value = scores[begin + count] if ends else _just_above(max(scores[-1], options.lower))
    reason = (
        f"No promise about misses: {guarantees.percent(options.review_share)} of the parts are "
        "left to a person, from the deciding threshold up to this one"
    )
    return float(value), guarantees.no_guarantee(reason, given.counted, options.terms)


def _counts(given: Calibrating) -> tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"]]:
    """Tp and fp with the threshold at each abnormal score."""
    normal, abnormal = given.normal, given.abnormal
    tp = abnormal.size - np.searchsorted(abnormal, abnormal, side="left")
    fp = normal.size - np.searchsorted(normal, abnormal, side="left")
    return tp, fp


def _best(
    merit: Float[np.ndarray, "_"] | Int[np.ndarray, "_"],
    merit_of_none: float | int,
    given: Calibrating,
) -> float:
    """The threshold of most merit, given for each abnormal score and for flagging nothing.

    A merit that rises with tp and falls with fp can only peak there. Of equals the lowest,
    which misses least, placed halfway to the next score below.
    """
    best = int(np.argmax(merit))
    everything = np.concatenate([given.normal, given.abnormal])
    if merit[best] < merit_of_none:
        return _just_above(float(everything.max()))
    return _amid_gap(everything, given.abnormal[best])


def _chosen_by_both(weighs: str, given: Calibrating, options: Options) -> Guarantee:
    reason = (
        f"No promise about misses: the rule weighs {weighs}, and the abnormal images that would "
        "bound the misses have chosen the threshold"
    )
    return guarantees.no_guarantee(reason, given.counted, options.terms)


def _chosen_without_abnormals(
    who: str, value: float, given: Calibrating, options: Options
) -> Guarantee:
    missed = int(np.searchsorted(given.parts, value, side="left"))
    return guarantees.binomial_guarantee(who, missed, given.counted, options.terms)


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

    fit: Callable[[Calibrating, Options], tuple[float, Guarantee]]
    needs_normal: bool
    needs_abnormal: bool


RULES: dict[str, Rule] = {
    "zfn": Rule(misses.zfn, needs_normal=False, needs_abnormal=True),
    "miss_bound": Rule(misses.miss_bound, needs_normal=False, needs_abnormal=True),
    "accuracy": Rule(_accuracy, needs_normal=True, needs_abnormal=True),
    "target_fpr": Rule(_target_fpr, needs_normal=True, needs_abnormal=True),
    "normal_quantile": Rule(_normal_quantile, needs_normal=True, needs_abnormal=False),
    "np_umbrella": Rule(misses.np_umbrella, needs_normal=False, needs_abnormal=True),
    "conformal_risk": Rule(misses.conformal_risk, needs_normal=False, needs_abnormal=True),
    "proved": Rule(misses.proved, needs_normal=False, needs_abnormal=True),
    "spi": Rule(synthetic_powered.spi, needs_normal=False, needs_abnormal=True),
    "conformal_p": Rule(_conformal_p, needs_normal=True, needs_abnormal=False),
    "f1": Rule(_f1, needs_normal=True, needs_abnormal=True),
    "cost": Rule(_cost, needs_normal=True, needs_abnormal=True),
    "manual": Rule(_manual, needs_normal=False, needs_abnormal=False),
    "review_share": Rule(_review_share, needs_normal=True, needs_abnormal=False),
}
