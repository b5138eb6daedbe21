"""The part of a report that everyone reads: what was decided, by which rule, with what promise."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ad_core.reporting.contents import Report, cut
from ad_core.reporting.page import paragraph, table
from ad_core.reporting.results import interval, miss_rate_bound, per_thousand, review_in_words
from ad_core.reporting.svg import percent, show

RULES_IN_WORDS = {
    "zfn": "A part is inspected from the lowest score on that any abnormal calibration image "
    "got: not one of them would have passed.",
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
    "conformal_p": "A part is inspected when it would be too rare among normal calibration images.",
    "f1": "The threshold with the best F1 on the calibration images.",
    "cost": "The threshold with the least expected cost, from the costs of a miss and of a false "
    "alarm and the share of abnormal parts.",
    "manual": "The threshold was given by hand.",
}


def _images(count: int, kind: str) -> str:
    return f"{count} {kind} image{'' if count == 1 else 's'}"


def decision(report: Report) -> str:
    """What the detector did, the rule, the promise."""
    if report.refused:
        reason = paragraph(report.chosen["refused"])
        return f'<p class="verdict bad">There is no decision.</p>{reason}'
    words = [
        f'<p class="verdict">{_verdict(report)}</p>',
        paragraph(report.about),
        _deciding_rule(report),
        _promise(report),
        _unscored(report),
    ]
    return f'<div class="lead"><div>{"".join(words)}</div>{_outcome(report)}</div>'


def _verdict(report: Report) -> str:
    """The outcome in two sentences (HTML)."""
    of = report.chosen
    abnormal, normal = of["tp"] + of["fn"], of["fp"] + of["tn"]
    if not abnormal:
        caught = f"The {report.split} holds no abnormal image."
    elif not of["fn"]:
        caught = f"Of {_images(abnormal, 'abnormal')} in the {report.split}, none passed."
    else:
        passed = f"{of['fn']} of {_images(abnormal, 'abnormal')}"
        caught = f'<span class="bad">{passed} in the {report.split} passed as normal.</span>'
    if not normal:
        return f"{caught} It holds no normal image."
    alarms = f"{of['fp'] or 'None'} of {_images(normal, 'normal')}"
    verb = "was" if of["fp"] == 1 else "were"
    return f"{caught} {alarms} {verb} sent to inspection needlessly."


def _deciding_rule(report: Report) -> str:
    of = report.chosen
    fitted = of.get("fitted_on")
    where = ""
    if fitted:
        where = (
            f" It was set on the {fitted['split']} split: {_images(fitted['normal'], 'normal')}, "
            f"{fitted['abnormal']} abnormal."
        )
    return (
        f"<p>The rule <b>{show(report.rule)}</b> decides: <b>inspect</b> from score "
        f"<b>{cut(of):.4g}</b> on, <b>normal</b> below. "
        f"{show(RULES_IN_WORDS.get(report.rule, '') + where)}</p>"
    )


def _promise(report: Report) -> str:
    of = report.chosen
    guarantee, abnormal = of.get("guarantee"), of["tp"] + of["fn"]
    lines = []
    if guarantee:
        lines.append(f"<p><b>What is promised.</b> {_statement(of)}</p>")
    if abnormal:
        bound = percent(miss_rate_bound(of["fn"], abnormal))
        lines.append(
            f'<p class="note">Judged by the {report.split} alone, at most {bound} of such '
            f"abnormal parts pass (95\u00a0% confidence; {of['fn']} of {abnormal} passed).</p>"
        )
    return f'<div class="promise">{"".join(lines)}</div>' if lines else ""


def _unscored(report: Report) -> str:
    count = int((~np.isfinite(report.scores)).sum())
    if not count:
        return ""
    return paragraph(
        f"{count} of {len(report.scores)} images gave no finite score (unreadable, or not "
        "measurable). They count as inspected: nothing passes unmeasured."
    )


_HOT = ' class="hot"'
_OUTCOMES = {
    "tp": "caught",
    "fn": "missed",
    "fp": "false alarms",
    "tn": "rightly passed",
}


def _outcome(report: Report) -> str:
    """The four counts as a table that can be read across a room."""
    of = report.chosen
    cells = {
        name: f"<td{_HOT if name == 'fn' and of['fn'] else ''}><b>{of[name]}</b>"
        f"<small>{words}</small></td>"
        for name, words in _OUTCOMES.items()
    }
    judges = (
        "Each image is judged by a classifier and a threshold that have not seen it."
        if report.split == "pool"
        else f"The {report.split} neither trained nor calibrated the detector."
    )
    return (
        f'<table class="outcome"><caption class="note">{judges}</caption>'
        '<thead><tr><td class="blank"></td><th scope="col">inspected</th>'
        '<th scope="col">passed</th></tr></thead><tbody>'
        f'<tr><th scope="row">abnormal images</th>{cells["tp"]}{cells["fn"]}</tr>'
        f'<tr><th scope="row">normal images</th>{cells["fp"]}{cells["tn"]}</tr></tbody></table>'
    )


def _rate(value: float | None) -> str:
    return "\u2013" if value is None else percent(value)


def operating_points(report: Report) -> str:
    """All rules side by side, then each in words."""
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
    words = "".join(
        f"<dt>{show(rule)}</dt><dd>{show(RULES_IN_WORDS.get(rule, ''))} {_statement(of)}</dd>"
        for rule, of in report.rules()
        if rule != report.rule
    )
    rules = f'<dl class="rules">{words}</dl>'
    return table(head, rows, caption=caption, chosen=0) + _price(report) + _review(report) + rules


def _price(report: Report) -> str:
    """What an operator pays for each rule."""
    paid = [(rule, of) for rule, of in report.working() if of.get("operation")]
    if not paid:
        return ""
    prevalence = paid[0][1]["operation"]["prevalence"]
    head = (
        "rule",
        "false alarms per 1,000 parts",
        "misses per million parts",
        "inspected per 1,000 parts",
    )
    rows = []
    for rule, of in paid:
        line = per_thousand(of["tpr"], of["fpr"], defect_rate=prevalence)
        alarms, misses = (
            of["operation"][name] for name in ("false_alarms_per_thousand", "misses_per_million")
        )
        rows.append((rule, interval(alarms), interval(misses), f"{line['inspected']:.3g}"))
    caption = (
        f"On a line where {percent(prevalence)} of the parts are abnormal "
        f"(decision.prevalence), from the counts on the {report.split}, with exact 95\u00a0% "
        "intervals."
    )
    chosen = 0 if paid[0][0] == report.rule else None
    return "<h3>What an operator pays</h3>" + table(head, rows, caption=caption, chosen=chosen)


def _review(report: Report) -> str:
    found = report.results.get("review")
    return paragraph(f"Doubtful images: {review_in_words(found)}.") if found else ""


def _statement(of: Mapping[str, Any]) -> str:
    """The guarantee in words, or why there is no threshold (HTML)."""
    words = of.get("refused") or (of.get("guarantee") or {}).get("statement", "")
    return show(words).replace(" %", "\u00a0%")


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
