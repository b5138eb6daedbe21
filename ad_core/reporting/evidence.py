"""The parts of a report that show why: scores, pictures, statistics, training, the run itself."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ad_core.reporting.contents import Report, Series, cut
from ad_core.reporting.figures import (
    bars_svg,
    colour_bar_svg,
    curve_svg,
    histogram_svg,
    roc_svg,
)
from ad_core.reporting.page import Example, cards, figure, image, paragraph, table
from ad_core.reporting.svg import number, percent, show


def scores(report: Report) -> str:
    """ROC, its top magnified, the histogram, recall by kind of defect."""
    labels = np.asarray(report.labels)
    # What has no score is inspected, as if it had the highest of all.
    values = np.where(np.isfinite(report.scores), report.scores, np.inf)
    thresholds = [(rule, cut(of)) for rule, of in report.working()]
    caption = "Each half has its own scale. A dash stands for one image."
    plots = [figure(histogram_svg(values, labels, thresholds), caption)]
    if (labels == 0).any() and (labels == 1).any():
        points = [(rule, of["fpr"], of["tpr"]) for rule, of in report.working()]
        plots.append(figure(roc_svg(labels, values, points)))
        lowest = min([tpr for _, _, tpr in points if tpr >= 0.5], default=0.9)
        start = max(edge for edge in (0.5, 0.8, 0.9) if edge <= lowest)
        caption = (
            "The same curve where no abnormal part may pass. The dotted line is the least share "
            "of these normal images that any threshold without a miss would inspect."
        )
        plots.append(figure(roc_svg(labels, values, points, tpr_from=start), caption, large=True))
    return f'<div class="plots">{"".join(plots)}{_by_defect(report)}</div>'


def _by_defect(report: Report) -> str:
    """How many of each kind of defect were caught."""
    if not report.defects or report.refused:
        return ""
    defects, inspected = np.asarray(report.defects), report.decisions()
    abnormal = np.asarray(report.labels) == 1
    rows = []
    for defect in np.unique(defects[abnormal]):
        chosen = abnormal & (defects == defect)
        missed = int((chosen & ~inspected).sum())
        lowest = min(report.scores[chosen & np.isfinite(report.scores)], default=math.nan)
        caught = percent(1 - missed / int(chosen.sum()))
        rows.append((str(defect), str(chosen.sum()), str(missed), caught, _plain(lowest)))
    if not rows:
        return ""
    head = ("kind", "images", "missed", "caught", "lowest score")
    caption = f"Abnormal images by kind, decided by the rule {report.rule}."
    return f"<div><h3>By kind of defect</h3>{table(head, rows, caption=caption)}</div>"


def _bar(report: Report) -> str:
    if report.scale is None:
        return ""
    caption = (
        "One scale for every map, set by normal calibration images: what they reach stays in the "
        "dark half, what lies above their level glows and is outlined."
    )
    return f'<div class="bar">{figure(colour_bar_svg(report.scale), caption)}</div>'


def misses(report: Report) -> str:
    """Abnormal images that passed."""
    if report.refused or not report.chosen["tp"] + report.chosen["fn"]:
        return ""
    if not report.chosen["fn"]:
        return paragraph("There is none: every abnormal image was sent to inspection.")
    words = _shown(report.misses, report.chosen["fn"], "abnormal", "passed", "lowest")
    return paragraph(words) + _bar(report) + cards(report.misses, "Missed")


def false_alarms(report: Report) -> str:
    """Normal images that were inspected."""
    if report.refused or not report.chosen["fp"] + report.chosen["tn"]:
        return ""
    if not report.chosen["fp"]:
        return paragraph("There is none: no normal image was sent to inspection.")
    words = _shown(report.false_alarms, report.chosen["fp"], "normal", "inspected", "highest")
    bar = "" if report.misses else _bar(report)
    return paragraph(words) + bar + cards(report.false_alarms, "False alarm")


def _shown(examples: Sequence[Example], count: int, kind: str, fate: str, end: str) -> str:
    """For instance: 6 normal images inspected; the 4 with the highest scores."""
    words = f"{count} {kind} image{'' if count == 1 else 's'} {fate}"
    few = 0 < len(examples) < count
    return f"{words}; the {len(examples)} with the {end} scores." if few else f"{words}."


def right(report: Report) -> str:
    """Examples of what went well."""
    if not report.hits and not report.passed:
        return ""
    parts = "" if report.misses or report.false_alarms else _bar(report)
    if report.hits:
        parts += f"<h3>Abnormal, inspected</h3>{cards(report.hits, 'Caught')}"
    if report.passed:
        parts += f"<h3>Normal, passed</h3>{cards(report.passed, 'Passed')}"
    return parts


def statistics(report: Report) -> str:
    """What weighs most in the score, and how well the maps find the defect."""
    parts = _weights(report) + _pixel(report)
    return f'<div class="plots">{parts}</div>' if parts else ""


def _weights(report: Report) -> str:
    top = sorted(report.importances.items(), key=lambda item: -abs(item[1]))[:15]
    if not top:
        return ""
    left_out = len(report.importances) - len(top)
    caption = "Weight of each statistic in the classifier" + (
        f"; {left_out} lighter ones are left out." if left_out else "."
    )
    return figure(bars_svg([name for name, _ in top], [weight for _, weight in top]), caption)


def selection(report: Report) -> str:
    """How the classifier was chosen, and by how much the choice flatters itself."""
    found = report.results.get("selection")
    if not found:
        return ""
    chosen, criterion = found["name"], found["criterion"]
    words = (
        f"{chosen} was chosen among {len(found['inside'])} classifiers by {criterion} in "
        f"cross-validation on the calibration images: {found['inside'][chosen]:.3f}. In nested "
        "cross-validation, where no fold is judged by a choice that it took part in, the figure is "
        f"{found['outside']:.3f}: the choice flatters itself by {found['optimism']:.3f}."
    )
    rows = [
        (name, f"{figure:.3f}", str(found["chosen"].count(name)))
        for name, figure in found["inside"].items()
    ]
    head = ("classifier", criterion, "chosen by nested folds")
    caption = "Means over the held-out folds."
    return paragraph(words) + table(
        head, rows, caption=caption, chosen=list(found["inside"]).index(chosen), kind="wide narrow"
    )


def _pixel(report: Report) -> str:
    pixel = report.results.get("pixel")
    if not pixel:
        return ""
    names = {
        "auroc": "pixel AUROC",
        "aupro": "AUPRO (FPR \u2264 0.3)",
        "ap": "pixel AP",
        "images": "images with masks",
    }
    rows = [(words, _plain(pixel[key])) for key, words in names.items() if key in pixel]
    caption = "How well the anomaly maps agree with the masks of the images."
    drawn = table(("figure", "value"), rows, caption=caption)
    return f"<div><h3>Where the defect lies</h3>{drawn}</div>"


def training(report: Report) -> str:
    """Curves and reconstructions."""
    plots = [
        figure(curve_svg(steps, {name: values}, log=_spans_decades(values)))
        for name, (steps, values) in report.curves.items()
        if len(steps)
    ]
    parts = f'<div class="plots curves">{"".join(plots)}</div>' if plots else ""
    if report.samples:
        parts += "<h3>Reconstructions</h3>"
    for caption, picture in report.samples:
        drawn = image(picture, caption)
        parts += f'<figure class="samples">{drawn}<figcaption>{show(caption)}</figcaption></figure>'
    return parts


def _spans_decades(values: Series) -> bool:
    """Whether only a logarithmic scale shows the whole of a curve."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return bool(finite.size and finite.min() > 0 and finite.max() > 30 * finite.min())


def oracle(report: Report) -> str:
    """Figures for comparison with published tables, labelled as such."""
    figures = report.results.get("oracle")
    if not figures:
        return ""
    names = {
        "zfn": "accuracy at the lowest score of an abnormal image (ZFN)",
        "acc": "best accuracy over all thresholds",
        "auc": "area under the ROC curve",
        "fpr_at_tpr1": "false-positive rate where no abnormal image passes",
    }
    rows = [(words, _plain(figures.get(key)), f"oracle.{key}") for key, words in names.items()]
    caption = f"Oracle figures of the {report.split}."
    return paragraph(
        "Thresholds chosen on the very scores they are judged on; for comparison with the "
        "published tables only. What a user gets stands above."
    ) + table(("figure", "value", "in results.json"), rows, caption=caption, kind="wide narrow")


def _plain(value: Any) -> str:
    """A figure of any kind as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "\u2013" if value is None else str(value)
    if not math.isfinite(value):
        return "\u2013"
    return f"{value:.4f}" if isinstance(value, float) and abs(value) <= 1 else number(value)


def run(report: Report) -> str:
    """Counts, timings, versions, configuration."""
    results = report.results
    tables = []
    if results.get("counts"):
        tables.append(_nested(results["counts"], "split", "Images of each split."))
    if results.get("timing"):
        tables.append(_nested(results["timing"], "stage", "Time of each stage."))
    if results.get("versions"):
        rows = [(str(name), str(version)) for name, version in results["versions"].items()]
        tables.append(table(("package", "version"), rows, caption="Versions."))
    cells = "".join(f"<div>{drawn}</div>" for drawn in tables)
    parts = f'<div class="plots">{cells}</div>' if cells else ""
    if report.config_json:
        parts += (
            "<details><summary>Configuration</summary>"
            f'<pre tabindex="0"><code>{show(report.config_json)}</code></pre></details>'
        )
    return parts


def _nested(content: Mapping[str, Any], first: str, caption: str) -> str:
    """A table of {row: {column: value}} or {row: value}; columns in order of appearance."""
    full = {name: row if isinstance(row, Mapping) else {"": row} for name, row in content.items()}
    columns = list(dict.fromkeys(key for row in full.values() for key in row))
    rows = [
        (name, *(_plain(row[column]) if column in row else "" for column in columns))
        for name, row in full.items()
    ]
    head = (first, *(column.replace("_", " ") for column in columns))
    return table(head, rows, caption=caption)
