"""Drawing in SVG: axes with round ticks, lines, labels. Text from outside is made harmless."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import NamedTuple

import numpy as np

# A page's own colours, dark ones too; in a figure that stands alone those after the comma.
INK, SOFT, FAINT = "var(--ink, #1b2126)", "var(--soft, #59636b)", "var(--grid, #e3e7ea)"
PAPER = "var(--paper, #ffffff)"
WIDTH = 460  # units of a sheet, unless it says otherwise
Number = float | int
_FONT = 'font-family="system-ui, -apple-system, Segoe UI, Liberation Sans, sans-serif"'


def visible(value: object) -> str:
    """A value as text with nothing invisible in it.

    Control and direction characters and lone surrogates, all of which a file's name may hold,
    appear by their numbers.
    """
    return "".join(
        c if c.isprintable() or c in "\n\t\u00a0" else f"\\u{ord(c):04x}" for c in str(value)
    )


def show(value: object) -> str:
    """A value as visible text, escaped for SVG."""
    return escape(visible(value), quote=True)


class Axes(NamedTuple):
    """A plot's rectangle on the sheet and the values at its edges (log: of log10)."""

    left: float
    top: float
    right: float
    bottom: float
    x: tuple[Number, Number]
    y: tuple[Number, Number]

    def at_x(self, value: Number) -> float:
        """The place of a value across."""
        share = (value - self.x[0]) / (self.x[1] - self.x[0])
        return self.left + share * (self.right - self.left)

    def at_y(self, value: Number) -> float:
        """The place of a value up."""
        share = (value - self.y[0]) / (self.y[1] - self.y[0])
        return self.bottom - share * (self.bottom - self.top)


def ticks(low: Number, high: Number, count: int = 5) -> list[Number]:
    """Round values in [low, high], about `count` (steps of 1, 2 or 5 times a power of ten)."""
    raw = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((1, 2, 5, 10), key=lambda m: abs(math.log(m * power / raw))) * power
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def span(values: np.ndarray) -> tuple[float, float]:
    """The range of the values, a little widened; never empty."""
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = 0.02 * (high - low) or max(abs(low), 1.0) * 0.1
    return low - margin, high + margin


def number(value: Number) -> str:
    """A short form: 0.05, 12.5, 1,200, 3e-05."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e6 else f"{value:.2g}"


def percent(value: Number) -> str:
    """A share as a percentage, as short as it can be."""
    return f"{100 * value:.3g}\u00a0%"


def text(
    x: Number,
    y: Number,
    content: str,
    *,
    anchor: str = "middle",
    colour: str = SOFT,
    more: str = "",
) -> str:
    """A label of 12 units' height, its content escaped."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" {more}>'
        f"{show(content)}</text>"
    )


def line(
    x1: Number,
    y1: Number,
    x2: Number,
    y2: Number,
    *,
    colour: str,
    width: Number = 1,
    dash: str = "",
) -> str:
    """A straight line."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}" stroke-dasharray="{dash or "none"}"/>'
    )


def path(x: Sequence[Number], y: Sequence[Number], *, colour: str, dash: str = "") -> str:
    """A line through points on the sheet."""
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8" '
        f'stroke-linejoin="round" stroke-dasharray="{dash or "none"}"/>'
    )


def sheet(height: Number, title: str, parts: Sequence[str], *, width: Number = WIDTH) -> str:
    """The SVG element around the parts; the title is what a screen reader says."""
    return (
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{show(title)}" '
        f'{_FONT} font-size="12">{"".join(parts)}</svg>'
    )


def frame(
    axes: Axes,
    *,
    x_label: str,
    y_label: str,
    x_ticks: Mapping[Number, str],
    y_ticks: Mapping[Number, str],
) -> str:
    """Grid lines, tick labels, axis names and the base line."""
    parts = []
    for value, label in y_ticks.items():
        y = axes.at_y(value)
        parts.append(line(axes.left, y, axes.right, y, colour=FAINT))
        parts.append(text(axes.left - 7, y + 4, label, anchor="end"))
    for value, label in x_ticks.items():
        x = axes.at_x(value)
        parts.append(line(x, axes.bottom, x, axes.bottom + 4, colour=SOFT))
        parts.append(text(x, axes.bottom + 18, label))
    parts.append(line(axes.left, axes.bottom, axes.right, axes.bottom, colour=SOFT))
    middle = (axes.left + axes.right) / 2
    parts.append(text(middle, axes.bottom + 36, x_label, colour=INK))
    parts.append(text(axes.left, axes.top - 11, y_label, anchor="start", colour=INK))
    return "".join(parts)


def labelled(values: Sequence[Number], form: Callable[[Number], str]) -> dict[Number, str]:
    """Tick -> its label."""
    return {value: form(value) for value in values}
