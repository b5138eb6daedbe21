"""Figures as SVG text: receiver operating characteristic, histograms, curves, bars.

Drawn in the colours of their page, light or dark, which every colour vision tells apart (blue for
normal, vermilion for abnormal), never by colour alone. Each is 460 units wide, so that its 12-unit
labels stay readable from a phone to a sheet of paper.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Float, Shaped

from ad_core.reporting.svg import (
    INK,
    PAPER,
    SOFT,
    Axes,
    Number,
    frame,
    labelled,
    line,
    number,
    path,
    percent,
    sheet,
    show,
    span,
    text,
    ticks,
)
from ad_core.scoring.localisation import OCTAVES, MapScale
from ad_core.scoring.pictures import EMBER

NORMAL, ABNORMAL = "var(--normal, #0072b2)", "var(--abnormal, #b84708)"
_CURVE_WIDTH = 340  # three stand side by side
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "1 4")
_BOLD = 'font-weight="600"'


def _roc_points(
    labels: np.ndarray, scores: np.ndarray
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """FPR and TPR for each distinct threshold, from (0, 0) to (1, 1), ties as one step."""
    thresholds = np.concatenate([[np.inf], np.unique(scores)[::-1]])
    rates = []
    for kind in (0, 1):
        ordered = np.sort(scores[labels == kind])
        rates.append(1 - np.searchsorted(ordered, thresholds, side="left") / ordered.size)
    return rates[0], rates[1]


def _mark(x: Number, y: Number, number_: int) -> str:
    """A symbol of its own for each operating point: circle, square, triangle, diamond."""
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5.5"/>',
        f'<rect x="{x - 4.7:.1f}" y="{y - 4.7:.1f}" width="9.4" height="9.4"/>',
        f'<path d="M{x:.1f} {y - 6.2:.1f}l5.8 10.4h-11.6z"/>',
        f'<path d="M{x:.1f} {y - 6.8:.1f}l6.2 6.8l-6.2 6.8l-6.2 -6.8z"/>',
    )
    shape = shapes[number_ % len(shapes)]
    colour = ABNORMAL if number_ == 0 else INK
    fill = colour if number_ == 0 else PAPER
    return f'<g fill="{fill}" stroke="{colour}" stroke-width="1.8">{shape}</g>'


def roc_svg(
    labels: Shaped[Array | np.ndarray, "n"],
    scores: Shaped[Array | np.ndarray, "n"],
    operating_points: Sequence[tuple[str, Number, Number]],
    *,
    tpr_from: Number = 0.0,
) -> str:
    """The receiver operating characteristic, of which `tpr_from` > 0 magnifies the top.

    Args:
        labels: 0 normal, 1 abnormal; both must occur.
        scores: finite or +inf, rising with abnormality.
        operating_points: (rule, fpr, tpr); the first is the deciding one. Points below
            `tpr_from` are left out.
        tpr_from: lowest TPR drawn, in [0, 1). Above 0 there is no legend.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    fpr, tpr = _roc_points(labels, scores)
    axes = Axes(58, 34, 434, 300, (0.0, 1.0), (tpr_from, 1.0))
    up, across = ticks(tpr_from, 1.0), ticks(0.0, 1.0)
    parts = [
        frame(
            axes,
            x_label="false-positive rate: normal images inspected",
            y_label="true-positive rate: abnormal images inspected",
            x_ticks=labelled(across, percent),
            y_ticks=labelled(up, percent),
        )
    ]
    if tpr_from > 0:
        parts.append(_misses(axes, up, int((labels == 1).sum())))
        parts.append(_full_tpr_band(axes, fpr, tpr))
    else:
        chance = path([axes.left, axes.right], [axes.bottom, axes.top], colour=SOFT, dash="2 4")
        parts.append(chance)
    parts.append(_steps(axes, fpr, tpr, tpr_from))
    for place, (_, x, y) in reversed(list(enumerate(operating_points))):
        if y >= tpr_from:
            parts.append(_mark(axes.at_x(x), axes.at_y(y), place))
    if tpr_from > 0:
        return sheet(346, "Receiver operating characteristic, top magnified", parts)
    for place, (rule, x, y) in enumerate(operating_points):
        row = 364 + 19 * place
        words = f"{rule}: {percent(y)} of abnormal, {percent(x)} of normal"
        parts.append(_mark(axes.left + 6, row - 4, place))
        parts.append(text(axes.left + 20, row, words, anchor="start", colour=INK))
    return sheet(352 + 19 * len(operating_points), "Receiver operating characteristic", parts)


def _steps(axes: Axes, fpr: np.ndarray, tpr: np.ndarray, tpr_from: Number) -> str:
    """The curve, cut at the lower edge where it is magnified."""
    inside = tpr >= tpr_from
    x, y = fpr[inside], tpr[inside]
    if not inside[0]:
        before = int(np.argmax(inside)) - 1
        share = (tpr_from - tpr[before]) / (y[0] - tpr[before])
        cut = fpr[before] + share * (x[0] - fpr[before])
        x, y = np.append(cut, x), np.append(tpr_from, y)
    return path([axes.at_x(v) for v in x], [axes.at_y(v) for v in y], colour=INK)


def _misses(axes: Axes, tpr_ticks: Sequence[Number], n_abnormal: int) -> str:
    """Number of images that each grid line stands for, at its right end, where that is whole."""
    parts = []
    for tpr in tpr_ticks:
        missed = (1 - tpr) * n_abnormal
        if 0.5 < missed and abs(missed - round(missed)) < 1e-6:
            words = f"{round(missed)} of {n_abnormal} missed"
            parts.append(text(axes.right, axes.at_y(tpr) - 5, words, anchor="end"))
    return "".join(parts)


def _full_tpr_band(axes: Axes, fpr: np.ndarray, tpr: np.ndarray) -> str:
    """Marks what full sensitivity costs: the part of TPR = 1 that the curve runs along."""
    cost = axes.at_x(float(fpr[tpr >= 1].min()))
    words = f"no miss from {percent(float(fpr[tpr >= 1].min()))} on"
    late = cost > (axes.left + axes.right) / 2
    # Left of the line the curve runs high, so the words stand low there.
    label = text(
        cost + (-7 if late else 7),
        axes.bottom - 30 if late else axes.top + 20,
        words,
        anchor="end" if late else "start",
        colour=ABNORMAL,
    )
    return (
        f'<rect x="{cost:.1f}" y="{axes.top - 4:.1f}" width="{axes.right - cost:.1f}" height="8" '
        f'fill="{ABNORMAL}" opacity="0.22"/>'
        + line(cost, axes.top, cost, axes.bottom, colour=ABNORMAL, dash="2 3")
        + label
    )


def histogram_svg(
    scores: Shaped[Array | np.ndarray, "n"],
    labels: Shaped[Array | np.ndarray, "n"],
    thresholds: Sequence[tuple[str, Number]],
    *,
    bins: int = 40,
) -> str:
    """Scores of normal images upwards and of abnormal ones downwards, with the thresholds.

    Each half has its own scale, so that a rare class is seen; a dash below or above the bars
    stands for every single image where there are at most 400.

    Args:
        scores: those that are not finite are left out.
        thresholds: (rule, value); the first is the deciding one, drawn solid.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    kept = np.isfinite(scores)
    labels, scores = labels[kept], scores[kept]
    drawn = [(rule, value) for rule, value in thresholds if math.isfinite(value)]
    low, high = span(np.concatenate([scores, [value for _, value in drawn]]))
    edges = np.linspace(low, high, bins + 1)
    middle, half = 166.0, 116.0
    axes = Axes(14, middle - half, 446, middle + half, (low, high), (-1.0, 1.0))
    parts = []
    for kind, colour, sign in ((0, NORMAL, -1), (1, ABNORMAL, 1)):
        values = scores[labels == kind]
        parts.append(
            _bars(axes, np.histogram(values, edges)[0], edges, middle, sign * half, colour)
        )
        parts.append(_rug(axes, values, middle + sign * half, sign, colour))
    parts.append(line(axes.left, middle, axes.right, middle, colour=SOFT))
    for value in ticks(low, high, 6):
        x = axes.at_x(value)
        parts += [line(x, 298, x, 302, colour=SOFT), text(x, 316, number(value))]
    parts.append(line(axes.left, 298, axes.right, 298, colour=SOFT))
    parts.append(text((axes.left + axes.right) / 2, 333, "score", colour=INK))
    for place, (rule, value) in enumerate(drawn):
        parts.append(_threshold(axes, value, place))
        row = 356 + 19 * place
        parts.append(_key(axes.left, row, place))
        parts.append(
            text(
                axes.left + 42,
                row,
                f"{rule}: inspect from {number(value)} on",
                anchor="start",
                colour=INK,
            )
        )
    parts.append(_counts(axes, labels))
    title = "Scores of normal images (up) and abnormal images (down)"
    return sheet(348 + 19 * len(drawn), title, parts)


def _bars(
    axes: Axes, counts: np.ndarray, edges: np.ndarray, base: Number, reach: Number, colour: str
) -> str:
    tallest = max(int(counts.max()), 1)
    parts = []
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        size = abs(reach) * float(count) / tallest
        top = base - size if reach < 0 else base
        width = axes.at_x(right) - axes.at_x(left) - 0.8
        parts.append(
            f'<rect x="{axes.at_x(left) + 0.4:.1f}" y="{top:.1f}" width="{width:.1f}" '
            f'height="{size:.1f}"/>'
        )
    return f'<g fill="{colour}" opacity="0.78">{"".join(parts)}</g>'


def _rug(axes: Axes, values: np.ndarray, y: Number, sign: int, colour: str) -> str:
    if values.size > 400:
        return ""
    start = y + 3 * sign
    return "".join(
        line(axes.at_x(v), start, axes.at_x(v), start + 7 * sign, colour=colour) for v in values
    )


def _counts(axes: Axes, labels: np.ndarray) -> str:
    """Labels of the two sides, each with its number of images."""
    normal, abnormal = int((labels == 0).sum()), int((labels == 1).sum())
    return text(
        axes.left, 20, f"\u2191 {normal} normal", anchor="start", colour=NORMAL, more=_BOLD
    ) + text(
        axes.right, 20, f"\u2193 {abnormal} abnormal", anchor="end", colour=ABNORMAL, more=_BOLD
    )


def _threshold(axes: Axes, value: Number, place: int) -> str:
    x = axes.at_x(value)
    width = 2 if place == 0 else 1.2
    return line(x, 34, x, 298, colour=INK, width=width, dash=_DASHES[place % len(_DASHES)])


def _key(left: Number, row: Number, place: int) -> str:
    width, dash = 2 if place == 0 else 1.2, _DASHES[place % len(_DASHES)]
    return line(left, row - 4, left + 34, row - 4, colour=INK, width=width, dash=dash)


def curve_svg(
    name: str,
    steps: Sequence[Number] | np.ndarray,
    values: Sequence[Number] | np.ndarray,
    *,
    log: bool = False,
) -> str:
    """One line over the steps. Points that are not finite (log: not positive) break it.

    Args:
        name: of the values; stands above.
        log: draw the values on a logarithmic scale.
    """
    x, y = np.asarray(steps, np.float64), _drawable(np.asarray(values, np.float64), log)
    low, high = span(y[np.isfinite(y)])
    across = (float(x.min()), float(x.max())) if np.unique(x).size > 1 else span(x)
    axes = Axes(52, 34, _CURVE_WIDTH - 12, 170, across, (low, high))
    parts = [
        frame(
            axes,
            x_label="step",
            y_label=name,
            x_ticks=labelled(ticks(*across, 4), number),
            y_ticks=_decades(low, high) if log else labelled(ticks(low, high, 4), number),
        )
    ]
    for run in _finite_runs(y):
        at = [axes.at_x(v) for v in x[run]], [axes.at_y(v) for v in y[run]]
        parts.append(path(*at, colour=NORMAL))
    return sheet(212, f"{name} over the training steps", parts, width=_CURVE_WIDTH)


def _finite_runs(values: np.ndarray) -> list[slice]:
    return np.ma.clump_unmasked(np.ma.masked_invalid(values)) if values.size else []


def _drawable(values: np.ndarray, log: bool) -> np.ndarray:
    if not log:
        return values
    return np.log10(np.where(values > 0, values, np.nan))


def _decades(low: Number, high: Number) -> dict[float, str]:
    """Ticks of a logarithmic axis from 10^low to 10^high.

    Whole powers of ten over three decades and more, with their 2 and 5 below that, and evenly
    spaced values where even these are few.
    """
    factors = (1,) if high - low >= 3 else (1, 2, 5)
    powers = range(math.floor(low), math.floor(high) + 1)
    values = [factor * 10.0**power for power in powers for factor in factors]
    inside = [value for value in values if low <= math.log10(value) <= high]
    if len(inside) < 2:
        inside = [value for value in ticks(10**low, 10**high, 4) if value > 0]
    return {math.log10(value): number(value) for value in inside}


def bars_svg(names: Sequence[str], weights: Sequence[Number], *, unit: str = "weight") -> str:
    """One horizontal bar a name, in the order given, its weight written at its end."""
    longest = max([abs(float(weight)) for weight in weights if math.isfinite(weight)], default=1.0)
    left, room, row = 204.0, 196.0, 22
    parts = []
    for place, (name, weight) in enumerate(zip(names, weights, strict=True)):
        size = room * abs(float(weight)) / (longest or 1.0) if math.isfinite(weight) else 0.0
        y = 8 + row * place
        short = name if len(name) <= 27 else f"\u2026{name[-26:]}"  # names differ at their ends
        parts.append(text(left - 8, y + 11, short, anchor="end", colour=INK))
        parts.append(
            f'<rect x="{left}" y="{y}" width="{size:.1f}" height="14" fill="{NORMAL}" '
            f'opacity="0.78"><title>{show(name)}</title></rect>'
        )
        parts.append(text(left + size + 6, y + 11, f"{weight:.3g}", anchor="start"))
    parts.append(line(left, 4, left, 8 + row * len(names), colour=SOFT))
    return sheet(12 + row * max(len(names), 1), f"Bars: {unit} of each statistic", parts)


def colour_bar_svg(scale: MapScale) -> str:
    """The colours of the anomaly maps with low, level and high written below."""
    stops = "".join(
        f'<stop offset="{place / (len(EMBER) - 1):.4f}" stop-color="#{colour}"/>'
        for place, colour in enumerate(EMBER)
    )
    left, right = 2.0, 458.0
    hottest = scale.low + 2**OCTAVES * (scale.level - scale.low)
    places = scale.position(np.array([scale.level, scale.high]))
    level, high = (left + (right - left) * float(place) for place in places)
    return sheet(
        62,
        "Colour scale of the anomaly maps",
        [
            f'<defs><linearGradient id="ember">{stops}</linearGradient></defs>',
            f'<rect x="{left}" y="22" width="{right - left}" height="14" fill="url(#ember)"/>',
            line(level, 18, level, 40, colour=INK, width=2),
            text(level, 12, "level of normal images", colour=INK),
            text(left, 54, f"{scale.low:.3g}", anchor="start"),
            text(level, 54, f"{scale.level:.3g}", colour=INK),
            text(high, 54, f"{scale.high:.3g}"),
            text(right, 54, f"{hottest:.3g}", anchor="end"),
        ],
    )
