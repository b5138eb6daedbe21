"""The parts of a report that show why: scores, pictures, statistics, training, the run itself.

Each function gives what a macro of sections.html draws; nothing, where there is nothing to show.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ad_core.inspection.findings import plural
from ad_core.reporting.contents import Example, Report, Series, cut
from ad_core.reporting.figures import (
    bars_svg,
    colour_bar_svg,
    curve_svg,
    histogram_svg,
    roc_svg,
)
from ad_core.reporting.page import Figure, Table
from ad_core.reporting.svg import number, percent


class Group(NamedTuple):
    """Pictures that stand together. fate: what became of each, the first word about it."""

    fate: str
    examples: Sequence[Example]
    heading: str = ""


def scores(report: Report) -> dict[str, Any]:
    """Section on the scores: histogram, ROC, and its top magnified."""
    labels = np.asarray(report.labels)
    if not labels.size:
        return {}
    # What has no score is inspected, as if it had the highest of all.
    values = np.where(np.isfinite(report.scores), report.scores, np.inf)
    thresholds = [(rule, cut(of)) for rule, of in report.working()]
    caption = "Each half has its own scale. A dash stands for one image."
    plots = [Figure(histogram_svg(values, labels, thresholds), caption)]
    if (labels == 0).any() and (labels == 1).any():
        points = [(rule, of["fpr"], of["tpr"]) for rule, of in report.working()]
        plots.append(Figure(roc_svg(labels, values, points)))
        lowest = min([tpr for _, _, tpr in points if tpr >= 0.5], default=0.9)
        start = max(edge for edge in (0.5, 0.8, 0.9) if edge <= lowest)
        caption = (
            "The same curve where no abnormal part may pass. The dotted line is the least share "
            "of these normal images that any threshold without a miss would inspect."
        )
        plots.append(Figure(roc_svg(labels, values, points, tpr_from=start), caption, large=True))
    return {"plots": plots}


def misses(report: Report) -> dict[str, Any]:
    """Abnormal images that passed."""
    if report.refused or not report.chosen["tp"] + report.chosen["fn"]:
        return {}
    if not report.chosen["fn"]:
        return _pictures("There is none: every abnormal image was sent to inspection.")
    words = _shown(report.misses, report.chosen["fn"], "abnormal", "passed", "lowest")
    return _pictures(words, Group("Missed", report.misses), scale=_scale(report))


def false_alarms(report: Report) -> dict[str, Any]:
    """Normal images that were inspected."""
    if report.refused or not report.chosen["fp"] + report.chosen["tn"]:
        return {}
    if not report.chosen["fp"]:
        return _pictures("There is none: no normal image was sent to inspection.")
    words = _shown(report.false_alarms, report.chosen["fp"], "normal", "inspected", "highest")
    scale = None if report.misses else _scale(report)
    return _pictures(words, Group("False alarm", report.false_alarms), scale=scale)


def right(report: Report) -> dict[str, Any]:
    """Examples of what went well."""
    groups = (
        Group("Caught", report.hits, "Abnormal, inspected"),
        Group("Passed", report.passed, "Normal, passed"),
    )
    shown = [group for group in groups if group.examples]
    scale = None if report.misses or report.false_alarms else _scale(report)
    return _pictures("", *shown, scale=scale) if shown else {}


def _pictures(words: str, *groups: Group, scale: Figure | None = None) -> dict[str, Any]:
    return {"words": words, "scale": scale, "groups": groups, "open": 2 // max(len(groups), 1)}


def _shown(examples: Sequence[Example], count: int, kind: str, fate: str, end: str) -> str:
    """Caption such as: 6 normal images inspected; the 4 with the highest scores."""
    words = f"{plural(count, f'{kind} image')} {fate}"
    few = 0 < len(examples) < count
    return f"{words}; the {len(examples)} with the {end} scores." if few else f"{words}."


def _scale(report: Report) -> Figure | None:
    """The colours of the maps, drawn once, where the first pictures stand."""
    if report.scale is None:
        return None
    caption = (
        "One scale for every map, set by normal calibration images: what they reach stays in the "
        "dark half, what lies above their level glows and is outlined."
    )
    return Figure(colour_bar_svg(report.scale), caption)


def statistics(report: Report) -> dict[str, Any]:
    """Section on the statistics that weigh most, and on how well the maps find the defect."""
    weights, pixel = _weights(report), _pixel(report)
    return {"weights": weights, "pixel": pixel} if weights or pixel else {}


def _weights(report: Report) -> Figure | None:
    top = sorted(report.importances.items(), key=lambda item: -abs(item[1]))[:15]
    if not top:
        return None
    left_out = len(report.importances) - len(top)
    caption = "Weight of each statistic in the classifier" + (
        f"; {left_out} lighter ones are left out." if left_out else "."
    )
    return Figure(bars_svg([name for name, _ in top], [weight for _, weight in top]), caption)


def _pixel(report: Report) -> Table | None:
    pixel = report.results.get("pixel")
    if not pixel:
        return None
    names = {
        "auroc": "pixel AUROC",
        "aupro": "AUPRO (FPR \u2264 0.3)",
        "ap": "pixel AP",
        "aupimo": "AUPIMO (FPR 10\u207b\u2075 to 10\u207b\u2074 in normal images)",
        "f1_max": "best F1 of pixels, threshold chosen on these",
        "pointing": "hottest place in the defect",
        "images": "images with masks",
    }
    rows = [(words, _plain(pixel[key])) for key, words in names.items() if key in pixel]
    caption = "How well the anomaly maps agree with the masks of the images."
    return Table(("figure", "value"), rows, caption)


def choice(report: Report) -> dict[str, Any]:
    """Section on how the classifier was chosen, and by how much the choice flatters itself."""
    found = report.results.get("selection")
    if not found:
        return {}
    name, criterion, inside = found["name"], found["criterion"], found["inside"]
    rows = [(each, f"{figure:.3f}", found["chosen"].count(each)) for each, figure in inside.items()]
    return {
        "name": name,
        "criterion": criterion,
        "classifiers": len(inside),
        "inside": f"{inside[name]:.3f}",
        "outside": f"{found['outside']:.3f}",
        "optimism": f"{found['optimism']:.3f}",
        "means": Table(
            ("classifier", criterion, "chosen by nested folds"),
            rows,
            "Means over the held-out folds.",
            chosen=list(inside).index(name),
            narrow=True,
        ),
    }


def made_up(report: Report) -> dict[str, Any]:
    """Section on the score that made-up defects chose, and on what they say nothing about."""
    found = report.results.get("synthetic")
    if not found:
        return {}
    counts = ", ".join(
        f"{count} {kind.replace('_', ' ')}" for kind, count in found["kinds"].items()
    )
    rows = [(one, percent(figure)) for one, figure in found["figures"].items()]
    caption = (
        f"Share of made-up defects ({counts}) told from normal images, mean over false-alarm rates "
        "up to 10 % and over the kinds. "
    )
    caption += (
        f"The simplest within a standard error ({percent(found['error'])}) of the best is taken: "
        "a score of the method's own, then the distance from the normal images, then what the "
        "defects teach."
        if found.get("by_defects", True)
        else "They chose nothing: several memories judge together."
    )
    chosen = list(found["figures"]).index(found["chosen"])
    return {
        "statement": f"{found['statement']}.",
        "told": Table(("score", "told"), rows, caption, chosen=chosen, narrow=True),
    }


def training(report: Report) -> dict[str, Any]:
    """Curves and normal versions."""
    curves = [
        Figure(curve_svg(name, steps, values, log=_spans_decades(values)))
        for name, (steps, values) in report.curves.items()
        if len(steps)
    ]
    return {"curves": curves, "samples": report.samples} if curves or report.samples else {}


def _spans_decades(values: Series) -> bool:
    """Tells whether only a logarithmic scale shows the whole of a curve."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return bool(finite.size and finite.min() > 0 and finite.max() > 30 * finite.min())


def oracle(report: Report) -> dict[str, Any]:
    """Figures for comparison with published tables, labelled as such."""
    figures = report.results.get("oracle")
    if not figures:
        return {}
    names = {
        "zfn": "accuracy at the lowest score of an abnormal image (ZFN)",
        "acc": "best accuracy over all thresholds",
        "auc": "area under the ROC curve",
        "fpr_at_tpr1": "false-positive rate where no abnormal image passes",
    }
    rows = [(words, _plain(figures.get(key)), f"oracle.{key}") for key, words in names.items()]
    caption = f"Oracle figures of the {report.split}."
    return {"figures": Table(("figure", "value", "in results.json"), rows, caption, narrow=True)}


def run(report: Report) -> dict[str, Any]:
    """Counts, timings, versions, configuration."""
    results = report.results
    tables = []
    if results.get("counts"):
        tables.append(_nested(results["counts"], "split", "Images of each split."))
    if results.get("learning"):
        caption = "Images that each method learnt from, and the folds in which what calibrates was "
        tables.append(_nested(results["learning"], "method", caption + "left out in turn."))
    if results.get("backbones"):
        caption = "Pretrained networks, by the setting that names them."
        tables.append(_nested(results["backbones"], "setting", caption))
    if results.get("timing"):
        tables.append(
            _nested(
                results["timing"], "stage", "Time of each stage, and the most memory until its end."
            )
        )
    if results.get("versions"):
        tables.append(Table(("package", "version"), [*results["versions"].items()], "Versions."))
    if not tables and not report.config_json:
        return {}
    return {"tables": tables, "config_json": report.config_json}


def _nested(content: Mapping[str, Any], first: str, caption: str) -> Table:
    """A table of {row: {column: value}} or {row: value}; columns in order of appearance."""
    full = {name: row if isinstance(row, Mapping) else {"": row} for name, row in content.items()}
    columns = list(dict.fromkeys(key for row in full.values() for key in row))
    rows = [
        (name, *(_plain(row[column]) if column in row else "" for column in columns))
        for name, row in full.items()
    ]
    return Table((first, *(column.replace("_", " ") for column in columns)), rows, caption)


def _plain(value: Any) -> str:
    """A figure of any kind as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "\u2013" if value is None else str(value)
    if not math.isfinite(value):
        return "\u2013"
    return f"{value:.4f}" if isinstance(value, float) and abs(value) <= 1 else number(value)
