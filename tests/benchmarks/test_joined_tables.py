"""Tables of a benchmark from several machines, joined run by run."""

import json
from pathlib import Path

import pytest

from ad_core.errors import UserError
from ad_core.reporting.comparison import DETECTOR, Comparison, Measurement, Trouble, rows_of
from ad_core.reporting.comparison_files import as_json, read_comparison, write_comparison
from tests.benchmark_script import script

ROOT = Path(__file__).resolve().parents[2]
joined_tables = script("joined_tables")


def run(name, method, seed, auc):
    return Measurement(name, method, DETECTOR, seed, {"auc": auc, "bound_missed": None})


def table(sets, runs, *troubles, name="quick", **about):
    return Comparison(name, "Quick", sets, tuple(runs), troubles, "fig3", about)


@pytest.fixture
def tables():
    """One machine made seed 0, the other seeds 0 and 1, of which one method failed on the first."""
    one = table(
        ("screw", "wood"),
        [run("screw", "a", 0, 0.5), run("wood", "a", 0, 0.7)],
        Trouble("screw", "b", (0, 1), "killed"),
        Trouble("tile", "", (), "no such folder"),
        commit="abc",
        seeds="0",
    )
    other = table(
        ("screw", "tile"),
        [run("screw", "b", 0, 0.8), run("screw", "a", 0, 0.1), run("screw", "a", 1, 0.6)],
        Trouble("wood", "", (), "no such folder"),
        commit="abc",
        seeds="0, 1",
    )
    return one, other


def test_every_run_counts_once(tables):
    joined = joined_tables.join(tables)
    rows = {(row.set, row.method): row for row in rows_of(joined.measurements)}
    assert rows["screw", "a"].spreads["auc"].values == (0.5, 0.6)  # of seed 0 the first table's
    assert rows["screw", "b"].spreads["auc"].values == (0.8,)
    assert rows["wood", "a"].seeds == (0,)
    assert joined.sets == ("screw", "wood", "tile")
    assert joined.about == {"commit": "abc", "seeds": "0, 1"}


def test_a_trouble_stays_where_no_table_has_the_run(tables):
    left = joined_tables.join(tables).troubles
    assert left == (
        Trouble("screw", "b", (1,), "killed"),
        Trouble("tile", "", (), "no such folder"),
    )


def test_a_table_read_again_is_the_same(tables, tmp_path):
    write_comparison(tmp_path, tables[0])
    assert as_json(read_comparison(tmp_path / "table.json")) == as_json(tables[0])


def test_runs_that_were_kept_are_the_same_table_a_line_each(tables, tmp_path):
    path = tmp_path / "quick.json"
    path.write_text(joined_tables.runs_alone(tables[0]))
    assert as_json(read_comparison(path)) == as_json(tables[0])
    assert sum('"auc": 0.' in line for line in path.read_text().splitlines()) == 2


def test_the_runs_that_the_project_keeps_can_be_read():
    kept = sorted((ROOT / "benchmarks" / "tables").glob("*.json"))
    assert kept and all(read_comparison(path).measurements for path in kept)


def test_two_benchmarks_are_not_joined(tables):
    other = tables[1]._replace(name="generators")
    with pytest.raises(UserError, match="two benchmarks"):
        joined_tables.join((tables[0], other))


def test_two_protocols_are_not_joined(tables):
    one, other = (table(("screw",), [], protocol=name) for name in ("folders", "cyclegan_ad"))
    with pytest.raises(UserError, match="two protocols cannot be one: cyclegan_ad, folders"):
        joined_tables.join((one, other))


def test_a_figure_is_shown_by_set_and_method(tables):
    joined = joined_tables.join(tables)
    assert joined_tables.matrix(joined, "auc").splitlines() == [
        "| set | a | b |",
        "| --- | --- | --- |",
        "| screw | 55.0 ± 5.0 (2) | 80.0 (1) |",
        "| wood | 70.0 (1) | – |",
        "| tile | – | – |",
    ]
    assert "–" in joined_tables.matrix(joined, "bound_missed").splitlines()[2]


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"name": "quick"})])
def test_another_file_is_refused_by_its_name(tmp_path, text):
    path = tmp_path / "table.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"table\.json: no table\.json of launch/benchmark\.py"):
        read_comparison(path)
