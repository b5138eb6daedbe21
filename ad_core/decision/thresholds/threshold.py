"""The line between normal and inspect: a part is flagged if its score >= the threshold.

Calibration scores come out-of-fold, from classifiers that did not see the image; the test split
is refused. The rules are in `rules`.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Shaped

from ad_core.decision.thresholds.given import Calibrating, Options, Proof, calibrating
from ad_core.decision.thresholds.guarantees import Guarantee
from ad_core.decision.thresholds.rules import RULES
from ad_core.errors import UserError


@dataclass(frozen=True)
class Threshold:
    """A threshold, where it comes from and what it promises.

    fitted_on: {"split", "normal", "abnormal"}, the last two counts of images.
    guarantee: {"statement", "miss_rate_bound", "confidence", "n_abnormal", "n_groups", "proved"};
        the bound is None where the rule promises nothing about misses. n_groups: of the abnormal
        images, which the bound counts. proved: whether a theorem covers it, or practice alone.
        "defects", where each type was to keep a bound of its own: type -> its bound.
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
        """The threshold for JSON, exact. JSON has no infinity: it is written as "inf"."""
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


def fit_threshold(
    rule: str,
    scores: Shaped[Array | np.ndarray, "n"],
    labels: Shaped[Array | np.ndarray, "n"],
    *,
    groups: Shaped[Array | np.ndarray, "n"] | None = None,
    defects: Shaped[Array | np.ndarray, "n"] | None = None,
    split: str = "calibration",
    target_fpr: float | int = 0.05,
    normal_quantile: float | int = 0.99,
    confidence: float | int = 0.95,
    out_of_fold: bool = True,
    miss_rate: float | int = 0.05,
    miss_cost: float | int | None = None,
    alarm_cost: float | int | None = None,
    prevalence: float | int | None = None,
    value: float | int | None = None,
    delta: float | int | None = None,
    candidates: int = 1,
    left_out: int = 0,
    each_defect: bool = False,
    review_share: float | int = 0.1,
    lower: float | None = None,
    proof: Proof | None = None,
    synthetic: Shaped[Array | np.ndarray, "m"] | None = None,
) -> Threshold:
    """The threshold that `rule` takes from calibration scores.

    Args:
        rule: a key of RULES.
        scores: rising with abnormality; out-of-fold, if the classifier was fitted on these images.
        labels: 0 normal, 1 abnormal.
        groups: of patients or parts: abnormal images of one count once in every bound, by the
            lowest score; None: each image by itself.
        defects: type of defect of each image, for `each_defect`.
        split: where the scores come from; anything but the test split.
        target_fpr: for the rule of that name and conformal_p, in [0, 1).
        normal_quantile: for the rule of that name, in (0, 1).
        confidence: of the guarantee, in (0, 1).
        out_of_fold: False when no classifier was fitted on these images, so that the statement
            need not mention it.
        miss_rate: for miss_bound, np_umbrella, conformal_risk and proved, in (0, 1).
        miss_cost, alarm_cost, prevalence: for cost; the share of parts that are abnormal.
        value: for manual, the threshold itself.
        delta: for np_umbrella, 1 - its confidence, in (0, 1); None: that of the others.
        candidates: how many classifiers these images chose from; the statement says so.
        left_out: images that a person left out beforehand; the statement says so.
        each_defect: whether zfn and miss_bound keep a bound for each type of defect that has
            enough groups, and not for all together alone.
        review_share: for the rule of that name, in (0, 1); lower: the threshold that decides.
        proof: for proved, what the classifier's score carries.
        synthetic: for spi, scores of made-up defects, which no other rule sees.

    Raises:
        UserError: unknown rule, the test split, an option out of range, scores that are not
            finite, a class absent that the rule needs, or too few images for what is asked.
    """
    _check_rule(rule, split)
    options = Options(
        target_fpr=target_fpr,
        normal_quantile=normal_quantile,
        confidence=confidence,
        out_of_fold=out_of_fold,
        miss_rate=miss_rate,
        miss_cost=miss_cost,
        alarm_cost=alarm_cost,
        prevalence=prevalence,
        value=value,
        delta=1.0 - confidence if delta is None else delta,
        candidates=candidates,
        left_out=left_out,
        each_defect=each_defect,
        review_share=review_share,
        lower=lower,
        proof=proof,
        synthetic=synthetic,
    )
    _check_options(options)
    given = calibrating(scores, labels, groups, defects)
    _check_classes(rule, given)
    fitted, guarantee = RULES[rule].fit(given, options)
    fitted_on = {
        "split": split,
        "normal": int(given.normal.size),
        "abnormal": int(given.abnormal.size),
    }
    return Threshold(float(fitted), rule, fitted_on, guarantee)


def _check_rule(rule: str, split: str) -> None:
    if rule not in RULES:
        raise UserError(f"Unknown threshold rule {rule!r}; known: {', '.join(RULES)}.")
    if split == "test":
        raise UserError(
            f"Rule {rule!r} (split='test'): a threshold chosen on the images that judge it "
            "flatters itself. Fit it on the calibration split."
        )


def _check_classes(rule: str, given: Calibrating) -> None:
    if not given.abnormal.size and RULES[rule].needs_abnormal:
        raise UserError(
            f"Rule {rule!r} needs abnormal calibration images and there are none: without them "
            "nothing is known of the scores that must not pass. Use 'normal_quantile', or add some."
        )
    if not given.normal.size and RULES[rule].needs_normal:
        raise UserError(f"Rule {rule!r} needs normal calibration images and there are none.")


def _check_options(options: Options) -> None:
    if not 0 <= options.target_fpr < 1:
        raise UserError(f"`target_fpr` (={options.target_fpr}) must lie in [0, 1).")
    for name in (
        "normal_quantile",
        "confidence",
        "miss_rate",
        "prevalence",
        "delta",
        "review_share",
    ):
        number = getattr(options, name)
        if number is not None and not 0 < number < 1:
            raise UserError(f"`{name}` (={number}) must lie in (0, 1).")
    for name in ("miss_cost", "alarm_cost"):
        number = getattr(options, name)
        if number is not None and not 0 < number < math.inf:
            raise UserError(f"`{name}` (={number}) must be positive.")
    if options.value is not None and math.isnan(options.value):
        raise UserError("`value` (=nan) must be a number.")
