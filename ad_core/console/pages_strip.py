"""One image's score among those of the calibration images, as a strip."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ad_core.reporting.figures import ABNORMAL, NORMAL
from ad_core.reporting.svg import (
    FAINT,
    INK,
    PAPER,
    Axes,
    Number,
    line,
    number,
    sheet,
    span,
    text,
    ticks,
)

_WIDTH, _TOP, _ROW = 460, 40, 30


def strip(facts: Mapping[str, Any] | None, threshold: float | None, score: float | None) -> str:
    """The strip as SVG: normal calibration images above, abnormal ones below, the line, the score.

    Args:
        facts: of the calibration, as `facts_of`; without its scores the strip has the rest.
    """
    rows = [("normal", NORMAL, _scores(facts, 0)), ("defects", ABNORMAL, _scores(facts, 1))]
    marks = [value for value in (threshold, score) if value is not None and math.isfinite(value)]
    low, high = span(np.array([*rows[0][2], *rows[1][2], *marks], np.float64))
    axes = Axes(62, _TOP, _WIDTH - 10, _TOP + 2 * _ROW, (low, high), (0.0, 1.0))
    parts = []
    for place, (words, colour, scores) in enumerate(rows):
        base = _TOP + _ROW * (place + 1) - 6
        parts.append(text(axes.left - 8, base - 3, words, anchor="end"))
        parts.append(line(axes.left, base, axes.right, base, colour=FAINT))
        parts += [
            line(axes.at_x(x), base - 14, axes.at_x(x), base, colour=colour, width=1.3)
            for x in scores
        ]
    parts += [text(axes.at_x(x), axes.bottom + 14, number(x)) for x in ticks(low, high, 5)]
    parts += _line_of(axes, threshold)
    parts += _mark(axes, score)
    return sheet(_TOP + 2 * _ROW + 24, _told(threshold, score), parts, width=_WIDTH)


def _scores(facts: Mapping[str, Any] | None, label: int) -> Sequence[float]:
    kept = (facts or {}).get("scored", {"label": [], "score": []})
    pairs = zip(kept["label"], kept["score"], strict=True)
    return [score for of, score in pairs if of == label and score is not None]


def _line_of(axes: Axes, threshold: float | None) -> Iterator[str]:
    if threshold is None or not math.isfinite(threshold):
        return
    x = axes.at_x(threshold)
    yield line(x, axes.top - 4, x, axes.bottom, colour=INK, width=1.5, dash="4 3")


def _mark(axes: Axes, score: float | None) -> Iterator[str]:
    """A triangle above the strip, with its number beside it."""
    if score is None or not math.isfinite(score):
        return
    x, y = axes.at_x(score), axes.top - 4
    late: Number = score > (axes.x[0] + axes.x[1]) / 2
    points = f"{x - 6:.1f},{y - 11:.1f} {x + 6:.1f},{y - 11:.1f} {x:.1f},{y:.1f}"
    yield f'<polygon points="{points}" fill="{INK}" stroke="{PAPER}"/>'
    yield line(x, y, x, axes.bottom, colour=INK, width=1)
    side = "end" if late else "start"
    yield text(x + (-10 if late else 10), y - 4, number(score), anchor=side, colour=INK)


def _told(threshold: float | None, score: float | None) -> str:
    """What a screen reader says."""
    where = "without a score" if score is None else f"with score {number(score)}"
    line_at = "no threshold" if threshold is None else f"inspected from {number(threshold)} on"
    return f"This image {where} among the calibration images; {line_at}"
