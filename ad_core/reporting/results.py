"""Figures of a detector, by their names in results.json."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Shaped
from scipy.stats import beta

from ad_core.decision.thresholds.operation import cost_of_operation
from ad_core.decision.thresholds.price import counts
from ad_core.decision.thresholds.threshold import Threshold
from ad_core.errors import UserError
from ad_core.metrics import confusion
from ad_core.runtime.sealed import write_json


def held_out(
    labels: Shaped[Array | np.ndarray, "n"],
    scores: Shaped[Array | np.ndarray, "n"],
    thresholds: Mapping[str, Threshold | str],
) -> dict[str, dict[str, Any]]:
    """Figures of each threshold, fitted elsewhere, on the scores of a labelled split.

    Args:
        labels: 0 normal, 1 abnormal.
        scores: rising with abnormality; one that is not a number counts as inspected.
        thresholds: rule -> its threshold, or the reason why it refused to give one.

    Returns:
        rule -> {threshold, tp, fn, fp, tn, tpr, fpr, accuracy, fitted_on, guarantee}, or
        {"refused": reason}.

    Raises:
        UserError: a threshold was fitted on the test split.
    """
    figures = {}
    for rule, threshold in thresholds.items():
        if isinstance(threshold, str):
            figures[rule] = {"refused": threshold}
            continue
        if threshold.fitted_on["split"] == "test":
            raise UserError(
                f"Threshold {rule!r} was fitted on the test split, which judges it; "
                "fit it on the calibration split."
            )
        figures[rule] = {
            "threshold": threshold.value,
            **confusion(labels, threshold.flags(scores)),
            "fitted_on": dict(threshold.fitted_on),
            "guarantee": threshold.guarantee,
        }
    return figures


def judged_price(
    offers: Sequence[Mapping[str, Any]],
    test: tuple[Shaped[np.ndarray, "n"], Shaped[np.ndarray, "n"]] | None,
) -> list[dict[str, Any]]:
    """The offers of `price`, each with `test`: what its threshold does to images that judge.

    Args:
        test: scores and labels of the test split; None where there is none, and then `test` is
            None, as it is where no threshold keeps the bound.
    """
    judged = []
    for offer in offers:
        threshold = offer["threshold"]
        found = None if test is None or threshold is None else counts(threshold, *test)
        judged.append({**offer, "test": found})
    return judged


def miss_rate_bound(missed: int, n_abnormal: int, *, confidence: float = 0.95) -> float:
    """One-sided upper bound of the miss rate after `missed` of `n_abnormal` test images passed.

    The Clopper-Pearson bound: the (confidence)-quantile of Beta(missed + 1, n - missed). It is 1
    without a single abnormal image, or when all of them passed.
    """
    if missed >= n_abnormal:
        return 1.0
    return float(beta.ppf(confidence, missed + 1, n_abnormal - missed))


def per_thousand(
    tpr: float | int, fpr: float | int, *, defect_rate: float = 0.01
) -> dict[str, float | None]:
    """Figures of 1000 parts of a line: {inspected, defects_caught, defects_missed, precision}.

    precision = defects caught / parts inspected; None where nothing is inspected.
    """
    caught, alarms = 1000 * defect_rate * tpr, 1000 * (1 - defect_rate) * fpr
    return {
        "inspected": caught + alarms,
        "defects_caught": caught,
        "defects_missed": 1000 * defect_rate - caught,
        "precision": caught / (caught + alarms) if caught + alarms else None,
    }


def group_counts(
    labels: Shaped[np.ndarray, "n"], flags: Shaped[np.ndarray, "n"], groups: Shaped[np.ndarray, "n"]
) -> dict[str, int] | None:
    """Groups {tp, fn, fp, tn} as bounds count them; None where each image of a class is a group.

    A group is missed (fn) if any of its abnormal images passes, a false alarm (fp) if any of its
    normal images is inspected. One with images of both classes counts in both.

    Args:
        labels: 0 normal, 1 abnormal. flags: True where an image is inspected.
    """
    found, single = {}, True
    for label, right, wrong, erred in ((1, "tp", "fn", ~flags), (0, "tn", "fp", flags)):
        own = np.asarray(labels) == label
        count, bad = np.unique(groups[own]).size, np.unique(groups[own & erred]).size
        found |= {right: int(count - bad), wrong: int(bad)}
        single &= count == own.sum()
    return None if single else found


def operation(of: Mapping[str, Any], *, prevalence: float) -> dict[str, Any] | None:
    """Price of a rule for an operator, by `cost_of_operation`; None where a class is absent.

    Args:
        of: the counts of one rule, of images (`held_out`) or of groups (`group_counts`).

    Returns:
        {prevalence, false_alarms_per_thousand, misses_per_million}, the last two with an estimate
        and the ends, low and high, of its exact 95 % interval.
    """
    counts = {name: of[name] for name in ("tp", "fn", "fp", "tn")}
    if counts["tp"] + counts["fn"] == 0 or counts["fp"] + counts["tn"] == 0:
        return None
    price = cost_of_operation(**counts, prevalence=prevalence)
    rates = {name: rate._asdict() for name, rate in price._asdict().items()}
    return {"prevalence": prevalence, **rates}


def price_in_words(price: Mapping[str, Any], *, noun: str = "part") -> str:
    """Price in words: at 1 % abnormal parts 68 (51 to 89) false alarms per 1,000 parts, ...

    Args:
        noun: what the price counts: image or group, or part where both are one.
    """
    alarms, misses = price["false_alarms_per_thousand"], price["misses_per_million"]
    return (
        f"at {100 * price['prevalence']:.3g} % abnormal {noun}s {interval(alarms)} false alarms "
        f"per 1,000 {noun}s, {interval(misses)} misses per million (95 % intervals)"
    )


def interval(rate: Mapping[str, float]) -> str:
    """An estimate and its interval, to three digits: 68 (51 to 89), 1,070 (227 to 2,820)."""
    estimate, low, high = (_three_digits(rate[name]) for name in ("estimate", "low", "high"))
    return f"{estimate} ({low} to {high})"


def _three_digits(value: float) -> str:
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 1000 else f"{rounded:g}"


def review(
    labels: Shaped[Array | np.ndarray, "n"],
    lower: Shaped[np.ndarray, "n"],
    upper: Shaped[np.ndarray, "n"],
    *,
    rule: str,
) -> dict[str, Any]:
    """Images left to a person: flagged by the deciding rule and not by the rule of review.

    Args:
        lower, upper: what each of the two rules flags. rule: the name of the rule of review.

    Returns:
        {rule, normal, abnormal}: of each class how many images are {normal, person, inspect}.
    """
    person = lower & ~upper
    kinds = {"normal": ~lower, "person": person, "inspect": lower & upper}
    return {"rule": rule} | {
        name: {
            word: int((kind & (np.asarray(labels) == label)).sum()) for word, kind in kinds.items()
        }
        for label, name in enumerate(("normal", "abnormal"))
    }


def review_in_words(found: Mapping[str, Any]) -> str:
    """Number of images of each class that a person looks at, in words."""
    normal, abnormal = found["normal"], found["abnormal"]
    return (
        f"a person looks at {normal['person']} of {sum(normal.values())} normal and "
        f"{abnormal['person']} of {sum(abnormal.values())} abnormal images, whose scores lie below "
        f"the threshold of {found['rule']}"
    )


def plain(value: Any) -> Any:
    """The value in JSON's own types: arrays become lists, what is not finite becomes None.

    Raises:
        TypeError: a value of another kind.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    raise TypeError(f"Results hold plain data; found a {type(value).__name__}: {value!r:.80}.")


def write_results(path: str | Path, results: Mapping[str, Any]) -> None:
    """Writes strict JSON (no NaN, no infinity: null), whole or not at all."""
    write_json(Path(path), plain(results))
