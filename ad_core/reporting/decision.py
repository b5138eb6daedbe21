"""The part of a report that everyone reads: what was decided, by which rule, with what promise."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ad_core.reporting.contents import Report, cut
from ad_core.reporting.page import Table
from ad_core.reporting.results import interval, miss_rate_bound, per_thousand, review_in_words
from ad_core.reporting.svg import percent
from ad_core.reporting.worth import BAD, FAIR, GOOD, OPEN, Worth, appraise

LEVELS_IN_WORDS = {
    GOOD: "Ready to use",
    FAIR: "Usable, with reservations",
    BAD: "Not fit for use as it is",
    OPEN: "Not judged yet",
}

RULES_IN_WORDS = {
    "zfn": "A part is inspected from the lowest score on that any abnormal calibration image "
    "got: not one of them would have passed.",
    "miss_bound": "The highest threshold that keeps the miss rate asked for: as many abnormal "
    "calibration images as the bound allows lie below it, and no more.",
    "proved": "The classifier ranks a part among all abnormal calibration images, itself one of "
    "them; it is inspected from the rank on that the proof of that classifier allows.",
    "review_share": "The upper end of the scores at which a person looks: as many parts as were "
    "asked for lie between the deciding threshold and it.",
    "accuracy": "The threshold with the fewest wrong decisions on the calibration images, a "
    "miss counting no more than a false alarm.",
    "target_fpr": "The lowest threshold that keeps false alarms on normal calibration images "
    "within the share asked for.",
    "normal_quantile": "A part is inspected when its score is higher than nearly all normal "
    "calibration images; abnormal ones play no part.",
    "np_umbrella": "The highest threshold whose miss rate stays, with the confidence asked for, "
    "within the rate asked for.",
    "conformal_risk": "The highest threshold whose expected miss rate stays within the rate asked "
    "for.",
    "spi": "Experimental: of made-up defects the share asked for would pass, within ranks of the "
    "abnormal calibration images that keep the promise whatever the made-up ones are.",
    "conformal_p": "A part is inspected when it would be too rare among normal calibration images.",
    "f1": "The threshold with the best F1 on the calibration images.",
    "cost": "The threshold with the least expected cost, from the costs of a miss and of a false "
    "alarm and the share of abnormal parts.",
    "manual": "The threshold was given by hand.",
}


class Rule(NamedTuple):
    """A rule in words: how it sets the threshold, and its promise or why it gives none."""

    name: str
    words: str
    statement: str


def decision(report: Report) -> dict[str, Any]:
    """Section on the decision: the verdict on the detector, its promise, what both rest on."""
    of = report.chosen
    if report.refused:
        return {"reason": of["refused"]}
    abnormal = of["tp"] + of["fn"]
    worth = appraise({**report.results, "rule": report.rule})
    return {
        "level": worth.level,
        "tag": LEVELS_IN_WORDS[worth.level],
        "worth": Worth(*map(_kept_together, worth)),
        "about": report.about,
        "rule": _in_words(report.rule, of),
        "reason": (report.results.get("rule_reason") or "").replace("`", ""),
        "threshold": f"{cut(of):.4g}",
        "figures": of,
        "learning": _learning(report.results.get("learning") or {}),
        "split": report.split,
        "bound": miss_rate_bound(of["fn"], abnormal) if abnormal and _apart(report) else None,
        "unscored": int((~np.isfinite(report.scores)).sum()),
        "scores": len(report.scores),
    }


def _learning(counts: Mapping[str, Mapping[str, Any]]) -> str:
    """A sentence on methods that learnt from images that calibrate; "" where there is none."""
    crossed = {name: of["folds"] for name, of in counts.items() if of["folds"]}
    if not crossed:
        return ""
    return (
        f"Images that calibrate also taught {', '.join(crossed)}: each of them was measured by one "
        f"of {max(crossed.values())} states that had learnt neither it nor its group."
    )


def _in_words(rule: str, of: Mapping[str, Any]) -> Rule:
    statement = of.get("refused") or (of.get("guarantee") or {}).get("statement", "")
    return Rule(rule, RULES_IN_WORDS.get(rule, ""), _kept_together(statement))


def _kept_together(words: str) -> str:
    """Words in which no line ends between a number and its per cent sign."""
    return words.replace(" %", "\u00a0%")


def _apart(report: Report) -> bool:
    """Tells whether each image counts for itself: images of one group are no independent ones."""
    grouping = report.results.get("grouping") or {}
    promise = report.chosen.get("guarantee") or {}
    grouped = promise.get("n_groups") != promise.get("n_abnormal")
    return not (grouped or grouping.get("runs") or grouping.get("copies"))


def operating_points(report: Report) -> dict[str, Any]:
    """All rules side by side, then each in words."""
    found = report.results.get("review")
    return {
        "points": _points(report),
        "price": _price(report),
        "review": review_in_words(found) if found else "",
        "others": [_in_words(rule, of) for rule, of in report.rules() if rule != report.rule],
    }


def _points(report: Report) -> Table:
    head = (
        "rule",
        "inspect from",
        "missed",
        "miss rate",
        "promised at most",
        "false alarms",
        "false-alarm rate",
        "accuracy",
    )
    rows = [_operating_point(rule, of) for rule, of in report.rules()]
    caption = f"Thresholds from calibration, judged on the {report.split}. The marked rule decides."
    return Table(head, rows, caption, chosen=0)


def _operating_point(rule: str, of: Mapping[str, Any]) -> tuple[str, ...]:
    if "refused" in of:
        return rule, "not available, for the reason below"
    abnormal, normal = of["tp"] + of["fn"], of["fp"] + of["tn"]
    bound = (of.get("guarantee") or {}).get("miss_rate_bound")
    return (
        rule,
        f"{cut(of):.4g}",
        f"{of['fn']} of {abnormal}",
        _rate(None if of["tpr"] is None else 1 - of["tpr"]),
        _rate(bound),
        f"{of['fp']} of {normal}",
        _rate(of["fpr"]),
        _rate(of["accuracy"]),
    )


def _rate(value: float | None) -> str:
    return "\u2013" if value is None else percent(value)


def _price(report: Report) -> Table | None:
    """Table of what an operator pays for each rule."""
    paid = [(rule, of) for rule, of in report.working() if of.get("operation")]
    if not paid:
        return None
    prevalence = paid[0][1]["operation"]["prevalence"]
    grouped = any(of.get("groups") for _, of in paid)
    noun = "image" if grouped else "part"
    head = ["rule", *_paid_per(noun), f"inspected per 1,000 {noun}s"]
    rows = []
    for rule, of in paid:
        line = per_thousand(of["tpr"], of["fpr"], defect_rate=prevalence)
        rows.append([rule, *_paid(of["operation"]), f"{line['inspected']:.3g}"])
    caption = (
        f"On a line where {percent(prevalence)} of the {noun}s are abnormal "
        f"(decision.prevalence), from the counts on the {report.split}, with exact 95\u00a0% "
        "intervals."
    )
    if grouped:
        head += _paid_per("group")
        pairs = zip(rows, paid, strict=True)
        rows = [[*row, *_paid(of["groups"]["operation"])] for row, (_, of) in pairs]
        caption += (
            " A group counts once, as in the bounds: missed if any of its abnormal images passes, "
            "a false alarm if any of its normal images is inspected; with the same share of "
            "groups abnormal."
        )
    return Table(head, rows, caption, chosen=0 if paid[0][0] == report.rule else None)


def _paid_per(noun: str) -> list[str]:
    return [f"false alarms per 1,000 {noun}s", f"misses per million {noun}s"]


def _paid(price: Mapping[str, Any]) -> list[str]:
    return [interval(price[name]) for name in ("false_alarms_per_thousand", "misses_per_million")]
