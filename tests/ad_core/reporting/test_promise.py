import json

import numpy as np
import pytest

from ad_core.decision.thresholds.price import price
from ad_core.decision.thresholds.threshold import Threshold
from ad_core.reporting.contents import Report
from ad_core.reporting.report import render
from ad_core.reporting.results import held_out, judged_price, plain
from tests.html_page import Page

LABELS = np.repeat([0, 1], [200, 120])
SCORES = np.concatenate([np.linspace(0, 0.8, 200), np.linspace(0.3, 1, 120)])
COMMAND = "python launch/calibrate.py --workdir='a </script> b' --config.decision.miss_rate=BOUND"


def report(n_abnormal=120, *, judged=True, threshold=0.3, bound=0.05):
    kept = np.arange(200 + n_abnormal)
    offers = price(SCORES[kept], LABELS[kept], confidence=0.95)
    test = (SCORES[kept], LABELS[kept]) if judged else None
    fitted = {"split": "calibration", "normal": 200, "abnormal": n_abnormal}
    promise = {"statement": "words", "miss_rate_bound": bound, "confidence": 0.95}
    promise |= {"n_abnormal": n_abnormal, "n_groups": n_abnormal}
    decided = {"zfn": Threshold(threshold, "zfn", fitted, promise)}
    results = {
        "held_out": held_out(LABELS[kept], SCORES[kept], decided),
        "price": judged_price(offers, test),
    }
    return Report("a", results, "zfn", LABELS[kept], SCORES[kept], command=COMMAND)


def data_of(page):
    """What the slider reads."""
    (at,) = [k for k, (_, a) in enumerate(page.tags) if a.get("id") == "price-data"]
    assert page.tags[at] == ("script", {"type": "application/json", "id": "price-data"})
    return json.loads(page.scripts[0])


def test_the_slider_reads_the_price_as_results_json_has_it():
    given = report()
    data = data_of(Page(render(given)))
    assert data["price"] == json.loads(json.dumps(plain(given.results["price"])))
    assert data["command"] == COMMAND and data["threshold"] == 0.3


@pytest.mark.parametrize(("bound", "start"), [(0.025, 0), (0.05, 2), (0.051, 3), (0.9, 17)])
def test_the_slider_starts_from_the_bound_that_is_promised(bound, start):
    # 120 groups keep 2.5 % by the lowest score, so the first bound of the slider is 3 %.
    data = data_of(Page(render(report(bound=bound))))
    kept = [offer["bound"] for offer in data["price"] if offer["threshold"] is not None]
    assert kept[0] == 0.03 and data["start"] == start


def test_without_a_program_the_table_stands_with_every_bound():
    given = report()
    page = Page(render(given))
    (slider,) = [a for a in page.all("div") if a.get("id") == "try"]
    (table,) = [a for a in page.all("details") if a.get("id") == "bounds"]
    assert "hidden" in slider and "open" in table
    for offer in given.results["price"]:
        if offer["threshold"] is not None:
            row = (
                f"{100 * offer['bound']:g} % {offer['threshold']:.4g} {offer['rank'] - 1} "
                f"{offer['calibration']['fp']} of 200 ({100 * offer['calibration']['fpr']:.3g} %)"
            )
            assert row in page.text
    assert "up to 2 % with 120 the best bound at 95 % confidence is 2.47 %" in page.text


def test_where_nothing_judges_no_test_figures_are_shown():
    page = Page(render(report(judged=False)))
    names = {a.get("id") for _, a in page.tags}
    assert "calibration-alarms" in names and "test-alarms" not in names
    assert "needs new images to judge" not in page.text


def test_where_no_bound_can_be_kept_there_is_a_sentence_and_no_slider():
    page = Page(render(report(5)))
    assert len(page.scripts) == 1 and not page.all("input")
    assert "No bound up to 20 % can be kept: with 5 the best bound" in page.text
    assert "All bounds as a table" not in page.text


def test_what_the_page_may_set_is_labelled():
    page = Page(render(report()))
    (slider,) = page.all("input")
    assert [label["for"] for label in page.all("label")] == [slider["id"]] == ["bound"]
    assert [output["for"] for output in page.all("output")] == ["bound"]
