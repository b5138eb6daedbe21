"""A comparison as files: Markdown to read, CSV and JSON to go on with."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ad_core.errors import UserError
from ad_core.reporting.comparison import (
    COSTS,
    FIGURES,
    POSTER_FIGURES,
    SHARES,
    Comparison,
    Measurement,
    Published,
    Row,
    Trouble,
    published,
    published_cells,
    published_rows,
    rows_of,
    shown,
)
from ad_core.reporting.comparison_page import render
from ad_core.reporting.differences import differences, words_of
from ad_core.runtime.sealed import write_json, write_text
from ad_core.scoring.pictures import png_uri

NAMES = ("table.md", "table.csv", "table.json", "index.html")


def write_comparison(
    folder: Path, comparison: Comparison, pictures: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Writes the four files of NAMES, each whole or not at all.

    Args:
        pictures: set -> figure of localisation, a PNG file below `folder`; the page holds it.
    """
    write_text(folder / "table.md", markdown(comparison))
    write_text(folder / "table.csv", as_csv(comparison))
    write_json(folder / "table.json", as_json(comparison))
    shown_by_set = {name: png_uri((folder / path).read_bytes()) for name, path in pictures.items()}
    write_text(folder / "index.html", render(comparison, shown_by_set))


def markdown(comparison: Comparison) -> str:
    """The tables as Markdown, shares in per cent."""
    rows, stated = rows_of(comparison.measurements), published_rows(comparison)
    lines = [f"# {comparison.title}", "", *_results(comparison, rows, stated), ""]
    lines += [*_table(("set", "method", "score", *_headings(COSTS)), _costs(rows)), ""]
    if stated:
        note = published(comparison.published)
        lines += [f"Published: {note['source']}. {note['note']}", ""]
    lines += [sentence for one in differences(comparison) for sentence in (*words_of(one), "")]
    lines += [f"- {word}: {fact}" for word, fact in comparison.about.items()]
    return "\n".join(lines) + "\n"


def _results(comparison: Comparison, rows: Sequence[Row], stated: Sequence[Published]) -> list[str]:
    head = ("set", "method", "score", "seeds", *_headings(SHARES))
    cells = []
    for name in comparison.sets:
        cells += [
            (*row[:3], _seeds(row), *(shown(f, row.spreads.get(f)) for f in SHARES))
            for row in rows
            if row.set == name
        ]
        cells += [
            (one.set, one.method, one.reason) for one in comparison.troubles if one.set == name
        ]
        cells += [_published(row) for row in stated if row.set == name]
    return _table(head, cells)


def _published(row: Published) -> tuple[str, ...]:
    mark = ", published" + (" (batch sum)" if row.flawed else "")
    return (row.set, row.method + mark, row.score, "", *published_cells(row, POSTER_FIGURES))


def _costs(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    return [
        (*row[:3], *(shown(f, row.spreads.get(f)) for f in COSTS))
        for row in rows
        if set(COSTS) & set(row.spreads)
    ]


def _headings(names: Sequence[str]) -> list[str]:
    return [FIGURES[name].heading for name in names]


def _seeds(row: Row) -> str:
    return ", ".join(map(str, row.seeds))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    filled = [[*row, *[""] * (len(head) - len(row))] for row in rows]
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in [list(head), *filled]]
    lines.insert(1, " | ".join("---" for _ in head))
    return [f"| {line} |" for line in lines]


def as_csv(comparison: Comparison) -> str:
    """A line a row: ours, published (`source`) and troubles; shares are fractions."""
    head = ["source", "set", "method", "score", "seeds", "trouble"]
    head += [f"{name}_{what}" for name in FIGURES for what in ("mean", "std", "values")]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, head, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows_of(comparison.measurements):
        line: dict[str, Any] = {"source": "ours", "set": row.set, "method": row.method}
        line |= {"score": row.score, "seeds": ";".join(map(str, row.seeds))}
        for name, (mean, std, values) in row.spreads.items():
            line |= {f"{name}_mean": mean, f"{name}_std": std}
            line[f"{name}_values"] = ";".join(map(repr, values))
        writer.writerow(line)
    for one in comparison.troubles:
        line = {"source": "ours", "set": one.set, "method": one.method, "trouble": one.reason}
        writer.writerow(line | {"seeds": ";".join(map(str, one.seeds))})
    for row in published_rows(comparison):
        line = {"source": "published", "set": row.set, "method": row.method, "score": row.score}
        for name, (mean, std) in row.spreads.items():
            line |= {f"{name}_mean": mean / 100, f"{name}_std": "" if std is None else std / 100}
        writer.writerow(line)
    return stream.getvalue()


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything as plain data, each run by itself and each row; shares are fractions."""
    return {
        "name": comparison.name,
        "title": comparison.title,
        "sets": list(comparison.sets),
        "figure": comparison.published,
        "about": dict(comparison.about),
        "runs": [one._asdict() for one in comparison.measurements],
        "rows": [
            row._asdict() | {"spreads": {name: of._asdict() for name, of in row.spreads.items()}}
            for row in rows_of(comparison.measurements)
        ],
        "troubles": [one._asdict() for one in comparison.troubles],
        "published": [row._asdict() for row in published_rows(comparison)],
        "tests": [
            {"figure": one.figure, "blocks": one.blocks, "words": words_of(one)}
            | {"ranking": _ranking(one.ranking)}
            for one in differences(comparison)
        ],
    }


def read_comparison(path: Path) -> Comparison:
    """The comparison of a table.json, of which `rows`, `published` and `tests` are made again.

    Raises:
        UserError: no such file, or a file of another kind.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        return Comparison(
            content["name"],
            content["title"],
            tuple(content["sets"]),
            tuple(Measurement(**run) for run in content["runs"]),
            tuple(Trouble(**one | {"seeds": tuple(one["seeds"])}) for one in content["troubles"]),
            content["figure"],
            content["about"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no table.json of launch/benchmark.py ({error!r}).") from error


def _ranking(ranking: Any) -> dict[str, Any] | None:
    if ranking is None:
        return None
    return ranking._asdict() | {"pairs": [pair._asdict() for pair in ranking.pairs]}
