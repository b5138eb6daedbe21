"""Worth of a detector in two sentences, from its own results; needs nothing but results.json."""

import math
from collections.abc import Mapping
from typing import Any

LITTLE_WORK = 0.5  # share of good parts inspected, beyond which a detector saves little


def worth(results: Mapping[str, Any]) -> str:
    """Two sentences: how the detector did on images that decided nothing, and what it promises.

    Args:
        results: the content of results.json.
    """
    of = results["held_out"][results["rule"]]
    return f"{_judged(of)} {_promised(of)}"


def _judged(of: Mapping[str, Any]) -> str:
    abnormal, normal = of["tp"] + of["fn"], of["fp"] + of["tn"]
    if not abnormal + normal:
        return "No image was left to test this detector, so nothing has judged it yet."
    alarms = f"{_count(of['fp'], normal, 'good part')} would be inspected in vain"
    alarms = alarms if normal else "there was no good part to inspect in vain"
    return f"On images that decided nothing, {_missed(of['fn'], abnormal)}, and {alarms}{_so(of)}."


def _so(of: Mapping[str, Any]) -> str:
    """Conclusion from the counts, where there is one to draw."""
    so = [
        "it lets defects pass" if of["fn"] else "",
        "it saves little work" if of["fpr"] is not None and of["fpr"] > LITTLE_WORK else "",
    ]
    return f": {' and '.join(filter(None, so))}" if any(so) else ""


def _missed(missed: int, abnormal: int) -> str:
    if not abnormal:
        return "there was no defective part to miss"
    return f"{_count(missed, abnormal, 'defective part')} slipped through"


def _count(count: int, whole: int, noun: str) -> str:
    parts = f"{whole:,} {noun}{'s' * (whole != 1)}"
    return f"{f'{count:,}' if count else 'none'} of {parts}"


def _promised(of: Mapping[str, Any]) -> str:
    promise = of.get("guarantee") or {}
    bound, count = promise.get("miss_rate_bound"), promise.get("n_abnormal") or 0
    if bound is None:
        known = "abnormal images did not set its threshold" if count else "no defect calibrated it"
        return (
            f"It promises nothing about defects, for {known}: give abnormal images to learn how "
            "many of them it misses."
        )
    passing = math.ceil(1000 * bound - 1e-9)
    sure = f"{100 * promise['confidence']:.3g} %"
    if passing >= 1000:
        return f"From {count} abnormal images nothing can be promised about defects: give more."
    return (
        f"Of 1,000 defective parts up to {passing} may pass ({sure} sure, from {count} abnormal "
        "images, if future parts are like them)."
    )
