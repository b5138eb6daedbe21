"""Comparison of methods on sets over seeds: what was measured, what failed, what was published."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

PUBLISHED = Path(__file__).parent / "published" / "poster.json"
DETECTOR = "all"  # the score of a whole detector: all its statistics together


class Figure(NamedTuple):
    """A column: heading, whether it is a share (shown in per cent), and what it is in a line."""

    heading: str
    share: bool
    text: str


FIGURES: Mapping[str, Figure] = {
    "zfn": Figure(
        "oracle ZFN", True, "accuracy with the lowest abnormal score as threshold, on these scores"
    ),
    "acc": Figure("oracle ACC", True, "best accuracy over all thresholds, on these scores"),
    "auc": Figure("oracle AUC", True, "area under the ROC curve"),
    "fpr_at_tpr1": Figure(
        "oracle FPR at TPR 1", True, "normal images inspected where no abnormal one passes"
    ),
    "zfn_missed": Figure("zfn: missed", True, "held out: abnormal images that pass"),
    "zfn_alarms": Figure("zfn: false alarms", True, "held out: normal images inspected"),
    "bound_missed": Figure("5 % bound: missed", True, "held out, rule miss_bound: that pass"),
    "bound_alarms": Figure("5 % bound: false alarms", True, "held out, rule miss_bound: inspected"),
    "pixel_auroc": Figure("pixel AUROC", True, "of the map, where masks exist"),
    "aupro": Figure("AUPRO", True, "of the map, up to a false-positive rate of 30 %"),
    "minutes": Figure("min", False, "training, calibration and evaluation of one run"),
    "peak_gb": Figure("peak GB", False, "memory of the process, in 10^9 bytes, at its most"),
    "images_per_s": Figure("images/s", False, "measured and judged in evaluation"),
}
SHARES = tuple(name for name, of in FIGURES.items() if of.share)
COSTS = tuple(name for name, of in FIGURES.items() if not of.share)
POSTER_FIGURES = ("zfn", "acc", "auc")


class Measurement(NamedTuple):
    """Figures of one run by one score; a figure that does not exist there is None.

    score: DETECTOR, the name of a single statistic, or of another classifier.
    """

    set: str
    method: str
    score: str
    seed: int
    figures: Mapping[str, float | None]


class Trouble(NamedTuple):
    """A run, or all runs on a set, without figures, and why in one line.

    method: "" where the set is missing. seeds: none where it is.
    """

    set: str
    method: str
    seeds: tuple[int, ...]
    reason: str


class Spread(NamedTuple):
    """Mean and population standard deviation (ddof 0) of a figure, and its values by seed."""

    mean: float
    std: float
    values: tuple[float, ...]


class Row(NamedTuple):
    """A method's figures on a set over its seeds; a figure that a seed lacks is left out."""

    set: str
    method: str
    score: str
    seeds: tuple[int, ...]
    spreads: Mapping[str, Spread]


class Published(NamedTuple):
    """A published row, in per cent: figure -> (mean, standard deviation or None). flawed: wrong."""

    set: str
    method: str
    score: str
    spreads: Mapping[str, tuple[float, float | None]]
    flawed: bool


class Comparison(NamedTuple):
    """Result of a benchmark. sets: their order. about: words -> facts of the runs."""

    name: str
    title: str
    sets: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    troubles: tuple[Trouble, ...]
    published: str
    about: Mapping[str, str]


def rows_of(measurements: Iterable[Measurement]) -> list[Row]:
    """One row a set, method and score, in the order in which they come first."""
    grouped: dict[tuple[str, str, str], list[Measurement]] = {}
    for one in measurements:
        grouped.setdefault((one.set, one.method, one.score), []).append(one)
    return [_row(*key, sorted(own, key=lambda one: one.seed)) for key, own in grouped.items()]


def _row(name: str, method: str, score: str, own: Sequence[Measurement]) -> Row:
    spreads = {}
    for figure in FIGURES:
        values = [one.figures.get(figure) for one in own]
        if found := tuple(value for value in values if value is not None):
            spreads[figure] = spread(found)
    return Row(name, method, score, tuple(one.seed for one in own), spreads)


def spread(values: tuple[float, ...]) -> Spread:
    """Mean, population standard deviation and the values themselves; at least one."""
    return Spread(float(np.mean(values)), float(np.std(values)), values)


def shown(figure: str, found: Spread | None) -> str:
    """A cell: mean ± standard deviation, shares in per cent; a dash where there is nothing.

    One value has no deviation: it stands alone.
    """
    if found is None:
        return "–"
    share = FIGURES[figure].share
    mean = f"{100 * found.mean:.1f}" if share else f"{found.mean:.3g}"
    if len(found.values) == 1:
        return mean
    return f"{mean} ± {100 * found.std:.1f}" if share else f"{mean} ± {found.std:.2g}"


def published(figure: str) -> dict[str, Any]:
    """Statements of a figure of the poster: source, note, rows, perhaps mean; empty for ""."""
    return json.loads(PUBLISHED.read_text("utf-8"))[figure] if figure else {}


def published_rows(comparison: Comparison) -> list[Published]:
    """The published rows of the sets that are compared, set by set."""
    stated = published(comparison.published)
    return [
        Published(
            row["set"],
            row["method"],
            row["score"],
            {name: tuple(row[name]) for name in POSTER_FIGURES if name in row},
            row["method"] in stated["flawed"],
        )
        for name in comparison.sets
        for row in stated.get("rows", ())
        if row["set"] == name
    ]


def published_cells(row: Published, names: Sequence[str]) -> list[str]:
    """Cells of a published row; a dash where nothing is stated."""
    cells = []
    for name in names:
        mean, std = row.spreads.get(name, (None, None))
        spread = "" if std is None else f" ± {std:.1f}"
        cells.append("–" if mean is None else f"{mean:.1f}{spread}")
    return cells


def means_over_sets(rows: Sequence[Row]) -> list[Row]:
    """A row a method: the mean over its sets of each figure, as the values' mean and spread.

    Here `seeds` is empty and a spread's values are the means of the sets.
    """
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        grouped.setdefault((row.method, row.score), []).append(row)
    found = []
    for (method, score), own in grouped.items():
        spreads = {
            figure: spread(tuple(row.spreads[figure].mean for row in own if figure in row.spreads))
            for figure in FIGURES
            if any(figure in row.spreads for row in own)
        }
        found.append(Row(", ".join(row.set for row in own), method, score, (), spreads))
    return found


def by_block(
    measurements: Iterable[Measurement], figure: str, *, each_seed: bool
) -> dict[str, dict[str, float]]:
    """Method -> block -> figure of its detector, for tests over blocks.

    Args:
        each_seed: a block is a set with a seed; else a set, with the mean over its seeds.
    """
    values: dict[str, dict[str, list[float]]] = {}
    for one in measurements:
        value = one.figures.get(figure)
        if one.score != DETECTOR or value is None:
            continue
        block = f"{one.set}, seed {one.seed}" if each_seed else one.set
        values.setdefault(one.method, {}).setdefault(block, []).append(value)
    return {
        method: {block: math.fsum(own) / len(own) for block, own in blocks.items()}
        for method, blocks in values.items()
    }
