"""Tables of launch/benchmark.py from several machines or sessions as one.

    python benchmarks/joined_tables.py --tables RUNS/table.json MORE/table.json --to=DIR
        [--matrix=auc] [--keep=benchmarks/tables/NAME.json], in one line

Runs are taken one by one: where two tables hold the same method on the same set with the same seed,
the first counts. A run that failed in one table and has figures in another did not fail. Writes
table.md, table.csv, table.json and index.html below DIR, with means, tests and the poster's figures
made anew from all runs. With --matrix it prints that figure alone, a row a set and a column a
method, by what decides in each. --keep writes the runs alone, a line each, as --tables takes them.
The tables must be of one benchmark and protocol.
"""

import argparse
import json
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

from ad_core.errors import UserError  # noqa: E402
from ad_core.reporting.comparison import DETECTOR, FIGURES, rows_of, shown  # noqa: E402
from ad_core.reporting.comparison_files import (  # noqa: E402
    NAMES,
    as_json,
    markdown,
    read_comparison,
    write_comparison,
)
from ad_core.runtime.sealed import write_text  # noqa: E402


def main():
    """Joins the tables, writes the files and prints the Markdown."""
    parser = argparse.ArgumentParser(description="Joins tables of launch/benchmark.py.")
    parser.add_argument("--tables", type=Path, nargs="+", required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--matrix", choices=tuple(FIGURES))
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    try:
        found = join([read_comparison(path) for path in given.tables])
    except UserError as error:
        sys.exit(f"error: {error}")
    write_comparison(given.to, found)
    if given.keep is not None:
        write_text(given.keep, runs_alone(found))
    print(matrix(found, given.matrix) if given.matrix else markdown(found))
    print(f"tables: {', '.join(str(given.to / name) for name in NAMES)}")


def join(comparisons):
    """One comparison of all runs, set by set and method by method as the first table has them."""
    first = comparisons[0]
    for other in comparisons[1:]:
        if other.name != first.name or other.published != first.published:
            raise UserError(f"Tables of two benchmarks cannot be one: {first.name}, {other.name}.")
        protocols = {of.about.get("protocol", "") for of in (first, other)}
        if len(protocols) > 1:
            raise UserError(
                f"Tables of two protocols cannot be one: {', '.join(sorted(protocols))}."
            )
    runs = {}
    for of in comparisons:
        for one in of.measurements:
            runs.setdefault(one[:4], one)
    sets = tuple(dict.fromkeys(name for of in comparisons for name in of.sets))
    methods = list(dict.fromkeys(one.method for one in runs.values()))
    ordered = sorted(
        runs.values(), key=lambda one: (sets.index(one.set), methods.index(one.method), one.seed)
    )
    return first._replace(
        sets=sets,
        measurements=tuple(ordered),
        troubles=tuple(_open_troubles(comparisons, runs.values())),
        about=_about([of.about for of in comparisons]),
    )


def runs_alone(comparison):
    """A table.json without what is made again from its runs, each of which is a line."""
    content = as_json(comparison)
    runs = ",\n    ".join(json.dumps(run) for run in content["runs"])
    made_again = ("runs", "rows", "published", "tests")
    rest = json.dumps(
        {name: of for name, of in content.items() if name not in made_again}, indent=2
    )
    return f'{rest[:-2]},\n  "runs": [\n    {runs}\n  ]\n}}\n'


def matrix(comparison, figure):
    """A figure as Markdown: sets down, methods across, in brackets how many seeds."""
    rows = {
        (row.set, row.method): row
        for row in rows_of(comparison.measurements)
        if row.score == DETECTOR
    }
    methods = list(dict.fromkeys(method for _, method in rows))
    lines = [["set", *methods], ["---"] * (len(methods) + 1)]
    for name in comparison.sets:
        lines.append([name, *(_cell(rows.get((name, method)), figure) for method in methods)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(row, figure):
    spread = None if row is None else row.spreads.get(figure)
    return shown(figure, spread) + (f" ({len(spread.values)})" if spread else "")


def _open_troubles(comparisons, runs):
    """Each trouble once, without those that another table has no more."""
    sets = {one.set for one in runs}
    made = {(one.set, one.method, one.seed) for one in runs}
    found = dict.fromkeys(trouble for of in comparisons for trouble in of.troubles)
    for one in found:
        seeds = tuple(seed for seed in one.seeds if (one.set, one.method, seed) not in made)
        if seeds or (not one.method and one.set not in sets):
            yield one._replace(seeds=seeds)


def _about(facts):
    """What each table says, each word of it once."""
    words = dict.fromkeys(word for of in facts for word in of)
    said = {word: [part for of in facts for part in of.get(word, "").split(", ")] for word in words}
    return {word: ", ".join(filter(None, dict.fromkeys(parts))) for word, parts in said.items()}


if __name__ == "__main__":
    main()
