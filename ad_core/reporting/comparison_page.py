"""The page of a comparison: a table a set, ours beside what was published, and what is real."""

from collections.abc import Mapping, Sequence
from typing import Any

from ad_core.reporting.comparison import (
    COSTS,
    FIGURES,
    POSTER_FIGURES,
    SHARES,
    Comparison,
    Row,
    means_over_sets,
    published,
    published_cells,
    published_rows,
    rows_of,
    shown,
)
from ad_core.reporting.critical_difference import difference_svg
from ad_core.reporting.differences import Difference, differences, verdict_of, words_of
from ad_core.reporting.page import Figure, Table, make_page

_HEADINGS = [FIGURES[name].heading for name in SHARES]


def render(comparison: Comparison, pictures: Mapping[str, str]) -> str:
    """The page as text.

    Args:
        pictures: set -> figure of localisation, as a data URI.
    """
    rows = rows_of(comparison.measurements)
    return make_page(
        "comparison.html",
        title=comparison.title,
        name=comparison.name,
        runs=len({one[:2] + (one.seed,) for one in comparison.measurements}),
        failed=sum(len(one.seeds) for one in comparison.troubles),
        missing=[one.set for one in comparison.troubles if not one.method],
        sets=[_set(comparison, rows, name) for name in comparison.sets],
        pictures=pictures,
        means=_means(comparison, rows),
        published=published(comparison.published),
        differences=[_difference(one) for one in differences(comparison)],
        costs=_costs(rows),
        columns=[(of.heading, of.text) for of in FIGURES.values()],
        about=list(comparison.about.items()),
    )


def _set(comparison: Comparison, rows: Sequence[Row], name: str) -> Table:
    """Our rows, what failed, and the published rows of one set."""
    cells: list[Sequence[object]] = [
        [_name(row.method, row.score), *_shares(row), ", ".join(map(str, row.seeds))]
        for row in rows
        if row.set == name
    ]
    for one in comparison.troubles:
        if one.set == name:
            seeds = f", seed {', '.join(map(str, one.seeds))}" if one.seeds else ""
            cells.append([(one.method or "set is missing") + seeds, one.reason])
    empty = [""] * (len(SHARES) - len(POSTER_FIGURES) + 1)
    for row in published_rows(comparison):
        if row.set == name:
            mark = "published, of batch sums" if row.flawed else "published"
            heading = f"{row.method}: {row.score} ({mark})"
            cells.append([heading, *published_cells(row, POSTER_FIGURES), *empty])
    caption = f"{name}: in per cent, mean and standard deviation over the seeds."
    return Table(["method: score", *_HEADINGS, "seeds"], cells, caption)


def _name(method: str, score: str) -> str:
    return f"{method}: {score}"


def _shares(row: Row) -> list[str]:
    return [shown(name, row.spreads.get(name)) for name in SHARES]


def _means(comparison: Comparison, rows: Sequence[Row]) -> Table | None:
    """Mean over the sets of each method; the sets that it has figures of stand beside it."""
    if len({row.set for row in rows}) < 2:
        return None
    cells: list[Sequence[object]] = [
        [_name(row.method, row.score), *_shares(row), row.set] for row in means_over_sets(rows)
    ]
    mean = published(comparison.published).get("mean", {})
    for row in mean.get("rows", ()):
        empty = [""] * (len(SHARES) - len(POSTER_FIGURES))
        figures = [f"{row[name]:.1f}" for name in POSTER_FIGURES]
        cells.append([f"{row['method']} (published)", *figures, *empty, mean["note"]])
    caption = "Mean over sets and standard deviation between them, in per cent."
    return Table(["method: score", *_HEADINGS, "sets"], cells, caption)


def _difference(one: Difference) -> dict[str, Any]:
    figure = None if one.ranking is None else Figure(difference_svg(one.ranking), large=True)
    heading = f"{FIGURES[one.figure].heading} over {one.blocks}"
    return {"heading": heading, "words": words_of(one), "figure": figure, "pairs": _pairs(one)}


def _pairs(one: Difference) -> Table | None:
    if one.ranking is None:
        return None
    cells = [
        [f"{pair.names[0]} – {pair.names[1]}", f"{pair.wins[0]} : {pair.wins[1]}"]
        + [f"{pair.p:.3g}", f"{pair.adjusted:.3g}", verdict_of(one, pair)]
        for pair in one.ranking.pairs
    ]
    head = ["pair", "better on", "p", "adjusted p", "difference"]
    return Table(head, cells, "Signed-rank tests of all pairs, adjusted by Holm.", narrow=True)


def _costs(rows: Sequence[Row]) -> Table | None:
    measured = [row for row in rows if set(COSTS) & set(row.spreads)]
    if not measured:
        return None
    cells = [
        [f"{row.set}, {row.method}", *(shown(name, row.spreads.get(name)) for name in COSTS)]
        for row in measured
    ]
    caption = "Time and memory of a run, mean and standard deviation over its seeds."
    head = ["set, method", *(FIGURES[name].heading for name in COSTS)]
    return Table(head, cells, caption, narrow=True)
