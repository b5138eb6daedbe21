"""Critical-difference diagram: methods on an axis of mean ranks, bars over those alike."""

from ad_core.reporting.paired_tests import Ranking, cliques
from ad_core.reporting.svg import INK, SOFT, Axes, line, sheet, text

_LEFT, _RIGHT, _TOP, _ROW, _WIDTH = 190, 510, 62, 20, 700
_BOLD = 'font-weight="600"'


def difference_svg(ranking: Ranking) -> str:
    """The diagram of a ranking, the best method at the left end of the axis.

    Without a critical difference (two methods) no bar is drawn.

    Source: Demšar 2006, figure 1.
    """
    count = len(ranking.names)
    axes = Axes(_LEFT, 0, _RIGHT, _TOP, (1, max(count, 2)), (0, 1))
    bars = [] if ranking.critical is None else cliques(ranking.ranks, ranking.critical)
    first_row = _TOP + 22 + 9 * len(bars)
    parts = [_axis(axes, count)]
    if ranking.critical is not None:
        parts.append(_ruler(axes, ranking.critical))
    for place, (first, last) in enumerate(bars):
        y = _TOP + 12 + 9 * place
        ends = axes.at_x(ranking.ranks[first]) - 4, axes.at_x(ranking.ranks[last]) + 4
        parts.append(line(ends[0], y, ends[1], y, colour=INK, width=4))
    for place in range(count):
        parts.append(_method(axes, ranking, place, first_row))
    height = first_row + _ROW * ((count + 1) // 2) + 6
    return sheet(height, "Mean ranks and critical difference", parts, width=_WIDTH)


def _axis(axes: Axes, count: int) -> str:
    parts = [line(axes.left, _TOP, axes.right, _TOP, colour=INK)]
    for rank in range(1, max(count, 2) + 1):
        x = axes.at_x(rank)
        parts.append(line(x, _TOP - 6, x, _TOP, colour=INK))
        parts.append(text(x, _TOP - 11, str(rank)))
    parts.append(text(axes.left - 14, _TOP + 4, "better", anchor="end"))
    return "".join(parts)


def _ruler(axes: Axes, critical: float) -> str:
    """The critical difference at the scale of the axis, cut at its end."""
    end = min(axes.at_x(1 + critical), axes.right)
    label = text(axes.left, 12, f"critical difference {critical:.2f}", anchor="start", colour=INK)
    ends = [line(x, 17, x, 25, colour=SOFT) for x in (axes.left, end)]
    return label + line(axes.left, 21, end, 21, colour=SOFT, width=2) + "".join(ends)


def _method(axes: Axes, ranking: Ranking, place: int, first_row: int) -> str:
    """A method's line from the axis to its name: the better half left, the others right."""
    count = len(ranking.names)
    better = place < (count + 1) // 2
    row = place if better else count - 1 - place
    x, y = axes.at_x(ranking.ranks[place]), first_row + _ROW * row
    edge = axes.left - 8 if better else axes.right + 8
    words = f"{ranking.names[place]} {ranking.ranks[place]:.2f}"
    label = text(
        edge + (-6 if better else 6),
        y + 4,
        words,
        anchor="end" if better else "start",
        colour=INK,
        more=_BOLD if place == 0 else "",
    )
    return (
        line(x, _TOP, x, y, colour=SOFT, width=1.2)
        + line(x, y, edge, y, colour=SOFT, width=1.2)
        + label
    )
