"""Scores of each type of defect beside those of normal images, a strip a type."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ad_core.reporting.figures import ABNORMAL, NORMAL
from ad_core.reporting.svg import (
    FAINT,
    INK,
    PAPER,
    SOFT,
    Axes,
    Number,
    line,
    number,
    sheet,
    span,
    text,
    ticks,
)

_WIDTH, _ROW, _TOP = 640, 46, 34


class Strip(NamedTuple):
    """Scores of one type of image; those that are not finite are counted and not drawn.

    passed: what was not inspected. words: stands above its strip. abnormal: gives its colour.
    """

    words: str
    scores: Float[np.ndarray, "n"]
    passed: Bool[np.ndarray, "n"]
    abnormal: bool


def strips_svg(strips: Sequence[Strip], threshold: Number) -> str:
    """A stroke an image along the score, a strip a type, and the threshold through all of them.

    An abnormal image that passed ends in a ring.
    """
    known = [threshold] if math.isfinite(threshold) else []
    scores = np.concatenate([*(strip.scores for strip in strips), known])
    low, high = span(scores[np.isfinite(scores)])
    bottom = _TOP + _ROW * len(strips)
    axes = Axes(8, _TOP, _WIDTH - 8, bottom, (low, high), (0.0, 1.0))
    parts = []
    for row, strip in enumerate(strips):
        base = _TOP + _ROW * (row + 1) - 4
        parts.append(line(axes.left, base, axes.right, base, colour=FAINT))
        parts += _strokes(axes, base, strip)
    for value in ticks(low, high, 6):
        parts.append(text(axes.at_x(value), bottom + 18, number(value)))
    if known:
        x, late = axes.at_x(threshold), threshold > (low + high) / 2
        parts.append(line(x, _TOP - 12, x, bottom, colour=INK, width=2))
        side = "end" if late else "start"
        told = f"inspected from {number(threshold)} on"
        parts.append(text(x + (-6 if late else 6), _TOP - 14, told, anchor=side, colour=INK))
    parts += [_words(axes, row, strip.words) for row, strip in enumerate(strips)]
    parts.append(text(_WIDTH / 2, bottom + 36, "score", colour=SOFT))
    return sheet(bottom + 46, "Scores of each type of image", parts, width=_WIDTH)


def _words(axes: Axes, row: int, words: str) -> str:
    """Words above a strip, with room around them where the threshold crosses."""
    room = f'paint-order="stroke" stroke="{PAPER}" stroke-width="5" stroke-linejoin="round"'
    y = _TOP + _ROW * (row + 1) - 31
    return text(axes.left, y, words, anchor="start", colour=INK, more=room)


def _strokes(axes: Axes, base: Number, strip: Strip) -> Iterator[str]:
    colour = ABNORMAL if strip.abnormal else NORMAL
    for score, passed in zip(strip.scores, strip.passed, strict=True):
        if not math.isfinite(score):
            continue
        x = axes.at_x(float(score))
        yield line(x, base - 15, x, base, colour=colour, width=1.2)
        if strip.abnormal and passed:
            yield (
                f'<circle cx="{x:.1f}" cy="{base - 16:.1f}" r="3.5" fill="none" '
                f'stroke="{colour}" stroke-width="1.6"/>'
            )
