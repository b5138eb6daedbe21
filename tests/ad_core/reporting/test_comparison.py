"""Tables of a comparison: means by hand, what failed, and the poster's own numbers beside them."""

import csv
import io
import json
import math

import pytest

from ad_core.reporting.comparison import (
    DETECTOR,
    Comparison,
    Measurement,
    Trouble,
    by_block,
    means_over_sets,
    published_rows,
    rows_of,
    shown,
    spread,
)
from ad_core.reporting.comparison_files import as_csv, as_json, markdown, write_comparison
from ad_core.reporting.comparison_page import render
from ad_core.reporting.differences import differences, words_of
from tests.html_page import Page

AUC = {"a": {"screw": (0.5, 0.6, 1.0), "wood": (0.9,)}, "b": {"screw": (0.4, 0.5), "wood": (0.8,)}}


def measured(method, name, seed, auc, **more):
    figures = {"auc": auc, "zfn": auc / 2, "acc": 0.5, "bound_missed": None, "minutes": 2.0} | more
    return Measurement(name, method, DETECTOR, seed, figures)


@pytest.fixture
def comparison():
    runs = tuple(
        measured(method, name, seed, auc)
        for method, sets in AUC.items()
        for name, values in sets.items()
        for seed, auc in enumerate(values)
    )
    troubles = (
        Trouble("screw", "b", (2,), "killed by signal 9 | out of memory"),
        Trouble("tile", "", (), "data/tile: no such folder. Fetch <it>."),
    )
    sets = ("screw", "wood", "tile")
    return Comparison("poster_fig3", "Figure 3", sets, runs, troubles, "fig3", {"commit": "abc"})


def test_means_and_deviations_are_those_by_hand(comparison):
    """0.5, 0.6, 1.0: mean 0.7; squares 0.04 + 0.01 + 0.09 over 3, not over 2."""
    row = rows_of(comparison.measurements)[0]
    assert (row.set, row.method, row.seeds) == ("screw", "a", (0, 1, 2))
    auc = row.spreads["auc"]
    assert auc.mean == pytest.approx(0.7) and auc.std == pytest.approx(math.sqrt(0.14 / 3))
    assert auc.values == (0.5, 0.6, 1.0)
    assert shown("auc", auc) == "70.0 ± 21.6"
    # One value tells nothing of a spread.
    assert shown("auc", spread((0.9,))) == "90.0" and shown("minutes", spread((2.0,))) == "2"
    assert "bound_missed" not in row.spreads and shown("bound_missed", None) == "–"


def test_the_posters_population_deviation_is_ours():
    """Hazelnut, FID, ACC: five runs with 1, 1, 1, 0, 0 errors of 70 are 99.14 ± 0.70."""
    runs = [measured("m", "hazelnut", s, 1 - e / 70) for s, e in enumerate((1, 1, 1, 0, 0))]
    spread = rows_of(runs)[0].spreads["auc"]
    assert round(100 * spread.mean, 2) == 99.14 and round(100 * spread.std, 2) == 0.70


def test_a_mean_over_sets_is_one_of_the_sets_means(comparison):
    first = means_over_sets(rows_of(comparison.measurements))[0]
    assert first.spreads["auc"].mean == pytest.approx((0.7 + 0.9) / 2)
    assert first.set == "screw, wood"


def test_the_posters_numbers_stand_beside_ours(comparison):
    rows = {(r.set, r.method, r.score): r for r in published_rows(comparison)}
    best = rows["wood", "PatchCore", "SSE"]
    assert best.flawed and best.spreads["zfn"] == (100.0, 0.0)
    assert rows["screw", "GANomaly", "SSE"].spreads["auc"] == (80.86, 3.49)
    assert {name for name, _, _ in rows} == {"screw", "wood", "tile"}
    text = markdown(comparison)
    assert (
        "| screw | GANomaly, published | SSE |  | 62.7 ± 10.4 | 77.1 ± 5.2 | 80.9 ± 3.5 |" in text
    )
    assert "PaDiM, published (batch sum)" in text and "Bougaham" in text


def test_the_posters_mean_is_the_mean_of_its_better_scores():
    """Of CycleGAN-AD at 256 px over the seven sets: 91.43 by AUC; so the rows were copied right."""
    sets = "hazelnut screw tile wood brain_mri breast_ultrasound retina_oct".split()
    rows = published_rows(Comparison("", "", tuple(sets), (), (), "fig3", {}))
    assert len(rows) == 7 * (3 * 2 + 2)
    for figure, mean in (("zfn", 79.89), ("acc", 89.93), ("auc", 91.43)):
        best = [
            max(r.spreads[figure][0] for r in rows if r[:2] == (name, "CycleGAN-AD, 256 px"))
            for name in sets
        ]
        assert sum(best) / 7 == pytest.approx(mean, abs=0.05)


def test_figure_2_names_its_nine_sets_and_its_classifiers():
    sets = "pcba cable carpet grid hazelnut leather screw transistor zipper".split()
    rows = published_rows(Comparison("", "", tuple(sets), (), (), "fig2", {}))
    assert [row.set for row in rows] == sets
    assert rows[7].spreads == {"zfn": (49.15, None), "acc": (88.7, None)}
    assert rows[7].score == "LGBM"


def test_csv_holds_every_row_with_its_source(comparison):
    rows = list(csv.DictReader(io.StringIO(as_csv(comparison))))
    ours = [row for row in rows if row["source"] == "ours"]
    assert ours[0]["auc_values"] == "0.5;0.6;1.0" and float(ours[0]["auc_mean"]) == pytest.approx(
        0.7
    )
    assert [row["trouble"] for row in ours if row["trouble"]] == [
        "killed by signal 9 | out of memory",
        "data/tile: no such folder. Fetch <it>.",
    ]
    (row,) = [
        r for r in rows if r["method"] == "GANomaly" and r["set"] == "screw" and r["score"] == "SSE"
    ]
    assert row["source"] == "published" and float(row["auc_mean"]) == pytest.approx(0.8086)


def test_a_cell_cannot_break_the_markdown_table(comparison):
    (line,) = [line for line in markdown(comparison).splitlines() if "signal 9" in line]
    assert "signal 9 \\| out of memory" in line


def test_the_page_shows_rows_troubles_poster_and_tests(comparison):
    page = Page(render(comparison, {}))
    for words in ("70.0 ± 21.6", "out of memory", "Fetch <it>.", "62.7 ± 10.4", "91.4", "abc"):
        assert words in page.text, words
    assert "2 sets are few" in page.text and "missing 1 set: tile" in page.text


def test_blocks_are_sets_or_sets_with_seeds(comparison):
    assert by_block(comparison.measurements, "auc", each_seed=False)["b"] == {
        "screw": pytest.approx(0.45),
        "wood": 0.8,
    }
    assert set(by_block(comparison.measurements, "auc", each_seed=True)["a"]) == {
        "screw, seed 0", "screw, seed 1", "screw, seed 2", "wood, seed 0",
    }  # fmt: skip


def test_words_say_that_few_sets_show_little(comparison):
    over_sets = differences(comparison)[0]
    text = " ".join(words_of(over_sets))
    assert over_sets.blocks == "sets" and "a 1.00, b 2.00" in text
    assert "no difference of two methods is shown" in text
    assert "cannot come below an adjusted p of 0.5" in text
    seeds = " ".join(words_of(differences(comparison)[1]))
    assert "Seeds of one set share its images" in seeds


def test_a_real_difference_is_told():
    runs = tuple(
        measured(method, f"set{i}", 0, 0.5 + lead + 0.001 * i * (1 + lead))
        for method, lead in (("good", 0.1), ("bad", 0.0), ("worse", -0.1))
        for i in range(12)
    )
    sets = tuple(f"set{i}" for i in range(12))
    one = differences(Comparison("n", "t", sets, runs, (), "", {}))[0]
    text = " ".join(words_of(one))
    assert "the methods differ" in text
    assert "adjustment: real, good above bad (adjusted p" in text and "12 to 0" in text
    assert "few" not in text


def test_over_seeds_nothing_is_called_real():
    runs = tuple(
        measured(method, "screw", seed, 0.5 + lead + 0.001 * seed * (1 + lead))
        for method, lead in (("good", 0.1), ("bad", 0.0))
        for seed in range(12)
    )
    over_sets, over_seeds = differences(Comparison("n", "t", ("screw",), runs, (), "", {}))[:2]
    assert "nothing can be tested" in " ".join(words_of(over_sets))
    text = " ".join(words_of(over_seeds))
    assert "on these sets, good above bad" in text and "real" not in text


def test_one_method_alone_is_not_ranked():
    runs = (measured("a", "s", 0, 0.5), measured("a", "t", 0, 0.5))
    assert differences(Comparison("n", "t", ("s", "t"), runs, (), "", {})) == []


def test_the_files_are_written_and_json_is_strict(comparison, tmp_path):
    write_comparison(tmp_path, comparison)
    content = json.loads((tmp_path / "table.json").read_text())
    assert content == json.loads(json.dumps(as_json(comparison), allow_nan=False))
    assert len(content["runs"]) == 7 and content["rows"][0]["spreads"]["auc"]["values"]
    assert (tmp_path / "table.md").read_text().startswith("# Figure 3\n")
    assert {path.name for path in tmp_path.iterdir()} == {
        "table.md", "table.csv", "table.json", "index.html",
    }  # fmt: skip
