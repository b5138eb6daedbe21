"""The line between normal and inspect: a part is flagged if its score >= the threshold.

A rule is one function of the calibration scores and one line in RULES. Calibration scores come
out-of-fold, from classifiers that did not see the image; the test split is refused.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from ad_core.decision import guarantees
from ad_core.decision.guarantees import Guarantee
from ad_core.errors import UserError

Sorted = Float[np.ndarray, "_"]


@dataclass(frozen=True)
class Threshold:
    """A threshold, where it comes from and what it promises.

    fitted_on: {"split", "normal", "abnormal"}, the last two counts of images.
    guarantee: {"statement", "miss_rate_bound", "confidence", "n_abnormal"}; the bound is None
        where the rule promises nothing about misses.
    """

    value: float
    rule: str
    fitted_on: dict[str, str | int]
    guarantee: Guarantee | None = None

    def flags(self, scores: Shaped[Array | np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        """True where a part is to be inspected; a score that is not a number is inspected."""
        # In float64: a float32 array would round the threshold before comparing.
        return ~(np.asarray(scores, dtype=np.float64) < self.value)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, exact; JSON has no infinity, so that one is written as "inf"."""
        value = self.value if math.isfinite(self.value) else str(self.value)
        return {**asdict(self), "value": value}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "Threshold":
        """The inverse of `to_dict`."""
        try:
            return cls(
                value=float(stored["value"]),
                rule=str(stored["rule"]),
                fitted_on=dict(stored["fitted_on"]),
                guarantee=stored["guarantee"] and dict(stored["guarantee"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"A stored threshold is damaged ({error!r}); calibrate again."
            ) from error


@dataclass(frozen=True)
class Options:
    """What rules may read; each rule reads only what it needs."""

    target_fpr: float
    normal_quantile: float
    confidence: float
    out_of_fold: bool


def fit_threshold(
    rule: str,
    scores: Shaped[Array | np.ndarray, "n"],
    labels: Shaped[Array | np.ndarray, "n"],
    *,
    split: str = "calibration",
    target_fpr: float = 0.05,
    normal_quantile: float = 0.99,
    confidence: float = 0.95,
    out_of_fold: bool = True,
) -> Threshold:
    """The threshold that `rule` takes from calibration scores.

    Args:
        rule: a key of RULES.
        scores: rising with abnormality; out-of-fold, if the classifier was fitted on these images.
        labels: 0 normal, 1 abnormal.
        split: where the scores come from; anything but the test split.
        target_fpr: for the rule of that name, in [0, 1).
        normal_quantile: for the rule of that name, in (0, 1).
        confidence: of the guarantee, in (0, 1).
        out_of_fold: False when no classifier was fitted on these images, so that the statement
            need not mention it.

    Raises:
        UserError: unknown rule, the test split, an option out of range, scores that are not
            finite, or a class absent that the rule needs.
    """
    if rule not in RULES:
        raise UserError(f"Unknown threshold rule {rule!r}; known: {', '.join(RULES)}.")
    if split == "test":
        raise UserError(
            f"Rule {rule!r} (split='test'): a threshold chosen on the images that judge it "
            "flatters itself. Fit it on the calibration split."
        )
    options = Options(target_fpr, normal_quantile, confidence, out_of_fold)
    _check_options(options)
    normal, abnormal = _classes(scores, labels)
    if not abnormal.size and RULES[rule].needs_abnormal:
        raise UserError(
            f"Rule {rule!r} needs abnormal calibration images and there are none: without them "
            "nothing is known of the scores that must not pass. Use 'normal_quantile', or add some."
        )
    if not normal.size and RULES[rule].needs_normal:
        raise UserError(f"Rule {rule!r} needs normal calibration images and there are none.")
    value, guarantee = RULES[rule].fit(normal, abnormal, options)
    fitted_on = {"split": split, "normal": int(normal.size), "abnormal": int(abnormal.size)}
    return Threshold(float(value), rule, fitted_on, guarantee)


def _zfn(normal: Sorted, abnormal: Sorted, options: Options) -> tuple[float, Guarantee]:
    """The lowest score of an abnormal image: none of them passes, and the fewest normals alarm."""
    guarantee = guarantees.lowest_score_guarantee(
        int(abnormal.size), confidence=options.confidence, out_of_fold=options.out_of_fold
    )
    return abnormal[0], guarantee


def _accuracy(normal: Sorted, abnormal: Sorted, options: Options) -> tuple[float, Guarantee]:
    """Best accuracy; of equally good thresholds the lowest, amid the gap that it falls into."""
    correct = (
        np.searchsorted(normal, abnormal, side="left")
        + abnormal.size
        - np.searchsorted(abnormal, abnormal, side="left")
    )
    best = int(np.argmax(correct))
    everything = np.concatenate([normal, abnormal])
    if correct[best] < normal.size:
        value = _just_above(everything.max())
    else:
        value = _amid_gap(everything, abnormal[best])
    reason = (
        "No promise about misses: the threshold weighs a miss as it weighs a false alarm, and "
        "the abnormal images that would bound the misses have chosen it."
    )
    n_abnormal = int(abnormal.size)
    return value, guarantees.no_guarantee(
        reason, confidence=options.confidence, n_abnormal=n_abnormal
    )


def _target_fpr(normal: Sorted, abnormal: Sorted, options: Options) -> tuple[float, Guarantee]:
    """The smallest threshold that flags at most `target_fpr` of the calibration normals.

    Ties count against it: the share flagged never exceeds the target. It is set by normals
    alone, so the exact binomial bound on misses holds.
    """
    allowed = math.floor(options.target_fpr * normal.size + 1e-9)
    value = _just_above(normal[normal.size - 1 - allowed])
    missed = int(np.searchsorted(abnormal, value, side="left"))
    guarantee = guarantees.binomial_guarantee(
        missed,
        int(abnormal.size),
        confidence=options.confidence,
        out_of_fold=options.out_of_fold,
    )
    return value, guarantee


def _normal_quantile(normal: Sorted, abnormal: Sorted, options: Options) -> tuple[float, Guarantee]:
    """Just above the ceil(q (n + 1))-th smallest normal score, or above all if n is too small.

    A further normal part then exceeds it with probability at most 1 - q (1 / (n + 1) when n is
    too small): the split-conformal quantile, conservative under ties.
    """
    n = int(normal.size)
    rank = min(math.ceil(options.normal_quantile * (n + 1) - 1e-9), n)
    guarantee = guarantees.false_alarm_guarantee(
        (n + 1 - rank) / (n + 1),
        n,
        int(abnormal.size),
        confidence=options.confidence,
        out_of_fold=options.out_of_fold,
    )
    return _just_above(normal[rank - 1]), guarantee


class Rule(NamedTuple):
    """A function of (normal scores, abnormal scores, options), both ascending, and its needs."""

    fit: Callable[[Sorted, Sorted, Options], tuple[float, Guarantee]]
    needs_normal: bool
    needs_abnormal: bool


RULES: dict[str, Rule] = {
    "zfn": Rule(_zfn, needs_normal=False, needs_abnormal=True),
    "accuracy": Rule(_accuracy, needs_normal=True, needs_abnormal=True),
    "target_fpr": Rule(_target_fpr, needs_normal=True, needs_abnormal=True),
    "normal_quantile": Rule(_normal_quantile, needs_normal=True, needs_abnormal=False),
}


def available_rules(labels: Shaped[Array | np.ndarray, "n"]) -> tuple[str, ...]:
    """The rules that calibration images with these labels allow."""
    abnormal = np.asarray(labels).astype(bool)
    return tuple(
        name
        for name, rule in RULES.items()
        if (abnormal.any() or not rule.needs_abnormal)
        and (not abnormal.all() or not rule.needs_normal)
    )


def _just_above(score: float) -> float:
    return float(np.nextafter(score, np.inf))


def _amid_gap(scores: Float[np.ndarray, "n"], lowest_flagged: float) -> float:
    """Halfway to the highest score below `lowest_flagged`, which stays flagged."""
    below = scores[scores < lowest_flagged]
    if not below.size:
        return float(lowest_flagged)
    middle = float(below.max() / 2 + lowest_flagged / 2)
    return middle if below.max() < middle <= lowest_flagged else float(lowest_flagged)


def _check_options(options: Options) -> None:
    if not 0 <= options.target_fpr < 1:
        raise UserError(f"`target_fpr` (={options.target_fpr}) must lie in [0, 1).")
    for name in ("normal_quantile", "confidence"):
        if not 0 < getattr(options, name) < 1:
            raise UserError(f"`{name}` (={getattr(options, name)}) must lie in (0, 1).")


def _classes(
    scores: Shaped[Array | np.ndarray, "n"], labels: Shaped[Array | np.ndarray, "n"]
) -> tuple[Sorted, Sorted]:
    values, kinds = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if values.ndim != 1 or values.shape != kinds.shape:
        raise UserError(f"Scores {values.shape} and labels {kinds.shape} must be equal vectors.")
    if not ((kinds == 0) | (kinds == 1)).all():
        raise UserError(f"Labels must be 0 or 1; found {np.setdiff1d(kinds, (0, 1))[:3]}.")
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise UserError(f"{bad} of {values.size} calibration scores are not finite; mend them.")
    return np.sort(values[kinds == 0]), np.sort(values[kinds == 1])
