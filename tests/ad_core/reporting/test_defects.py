import numpy as np

from ad_core.data.source import Record
from ad_core.decision.facts import by_defect
from ad_core.decision.table import make_table
from ad_core.decision.thresholds.threshold import Threshold
from ad_core.reporting import defects
from ad_core.reporting.contents import Report
from ad_core.reporting.report import render
from ad_core.reporting.results import held_out
from tests.html_page import Page

LABELS = np.array([0, 0, 1, 1, 1])
SCORES = np.array([0.1, 0.9, 0.2, 0.3, np.nan])
KINDS = ["good", "good", "dent", "crack", "crack"]
FITTED = Threshold(0.25, "zfn", {"split": "calibration", "normal": 2, "abnormal": 3}, None)


def report(**results):
    figures = {"held_out": held_out(LABELS, SCORES, {"zfn": FITTED}), **results}
    picture = {"b.png": np.zeros((4, 6, 3), np.uint8)}
    return Report("a", figures, "zfn", LABELS, SCORES, defects=KINDS, pictures=picture)


def test_the_types_with_most_misses_come_first():
    svg = defects.types(report())["figure"].svg
    told = ["normal: 1 of 2 inspected in vain", "dent: 1 of 1 slipped", "crack: none of 2 slipped"]
    places = [svg.index(words) for words in told]
    assert places == sorted(places)


def test_types_beyond_a_screen_are_counted():
    kinds = [f"kind {k}" for k in range(15)]
    scores, labels = np.linspace(0.3, 1, 15), np.ones(15, int)
    given = {"held_out": held_out(labels, scores, {"zfn": FITTED})}
    shown = defects.types(Report("a", given, "zfn", labels, scores, defects=kinds))["figure"]
    assert shown.svg.count("slipped through") == defects.MOST == 12
    assert shown.caption.endswith("Types with fewer misses are left out: 3.")


def test_the_figures_of_the_table_are_those_of_the_results():
    records = [
        Record(f"{k}.png", label, kind, f"part {k // 2}", "", False)
        for k, (label, kind) in enumerate(zip(LABELS.tolist(), KINDS, strict=True))
    ]
    table = make_table(records, ("a",), SCORES[:, None], [""] * 5)
    test = {"dent": by_defect(table, SCORES, FITTED)["dent"]}
    given = {"calibration": by_defect(table, SCORES, FITTED), "test": test}
    shown = defects.types(report(defects=given))["table"]
    # Two cracks in two parts, neither missed, one without a score; one dent, missed.
    assert shown.rows == [
        ("crack", "2", "2", "0", "0.3", "0", "\u2013", "\u2013"),
        ("dent", "1", "1", "1", "0.2", "1", "1", "0.2"),
    ]


def test_the_lowest_images_are_shown_with_their_labels():
    named = [
        {"path": "b.png", "defect": "dent", "group": "b", "score": 0.2},
        {"path": "gone.png", "defect": "crack", "group": "c", "score": 0.3},
    ]
    left_out = [{"path": "c.png", "who": "Ann", "why": "dust", "when": "2026-01-31T00:00:00"}]
    page = Page(render(report(lowest=named, left_out=left_out)))
    assert [one["alt"] for one in page.all("img")] == ["b.png"]
    assert "score 0.2 , dent b.png" in page.text
    assert "no picture score 0.3 , crack gone.png" in page.text
    assert "c.png, left out by Ann (dust) on 2026-01-31" in page.text


def test_without_abnormal_images_there_is_no_such_section():
    assert defects.lowest(report()) == {}
    given = {"held_out": held_out(LABELS[:2], SCORES[:2], {"zfn": FITTED})}
    assert defects.types(Report("a", given, "zfn", LABELS[:2], SCORES[:2], defects=KINDS[:2])) == {}
