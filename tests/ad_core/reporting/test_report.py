import base64
import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from ad_core.decision.thresholds.threshold import Threshold
from ad_core.metrics import oracle
from ad_core.reporting.contents import Example, Report
from ad_core.reporting.panels import Panel
from ad_core.reporting.report import render, write_report
from ad_core.reporting.results import held_out, operation, review
from ad_core.scoring.localisation import MapScale
from tests.html_page import Page

HOSTILE = "test/<script>alert('1')</script>\"><img src=http://x/\u202egnp.exe\udcff"


def _scores():
    """60 normal scores from -1 to 0.77 and 30 abnormal ones from 0.1 to 3, evenly spaced."""
    return np.repeat([0, 1], [60, 30]), np.concatenate(
        [-1 + 0.03 * np.arange(60), 0.1 * np.arange(1, 31)]
    )


def _threshold(rule, value):
    fitted_on = {"split": "calibration", "normal": 60, "abnormal": 30}
    promise = {
        "statement": f"At most 9.5 % pass by the rule {rule}.",
        "miss_rate_bound": 0.095,
        "confidence": 0.95,
        "n_abnormal": 30,
        "n_groups": 30,
    }
    return Threshold(float(value), rule, fitted_on, promise)


def _example(path=HOSTILE, score=0.25):
    return Example(path, "a <b>", score, (Panel("image", np.zeros((4, 16, 3), np.uint8)),))


def _report(*, zfn=0.49, **changes):
    labels, scores = _scores()
    values = {"zfn": zfn, "accuracy": 1.0, "target_fpr": 1.5}
    thresholds = {rule: _threshold(rule, value) for rule, value in values.items()}
    given = {
        "title": HOSTILE,
        "results": {
            "method": "vqgan_ad.vqgan",
            "oracle": oracle(labels, scores),
            "held_out": {
                **held_out(labels, scores, thresholds),
                "normal_quantile": {"refused": "a reason <&>"},
            },
            "pixel": {"auroc": 0.9, "aupro": None, "ap": 0.5},
            "counts": {"test": {"normal": 60, "abnormal": 30}, "unreadable": 0},
            "timing": {"train": {"seconds": 12.5, "images_per_second": 80.0}},
            "versions": {"jax": "0.12.0"},
        },
        "rule": "zfn",
        "labels": labels,
        "scores": scores,
        "defects": ["good"] * 60 + ["scratch", HOSTILE] * 15,
        "misses": [_example()],
        "false_alarms": [_example(), _example(score=float("nan"))],
        "hits": [_example()],
        "passed": [_example()],
        "scale": MapScale(0.0, 1.0, 0.5),
        "importances": {"ssim": 0.7, HOSTILE: 0.3},
        "curves": {"loss": ([1, 2, 3], [3.0, 2.0, 1.0]), HOSTILE: ([1, 2], [1.0, np.nan])},
        "samples": [("step 3", np.zeros((8, 8, 3), np.uint8))],
        "config_json": '{"a": "</pre><script>"}',
    }
    return Report(**{**given, **changes})


@pytest.fixture(scope="module")
def page():
    return Page(render(_report()))


def test_the_page_refers_to_nothing_outside_itself(page):
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name == "src":
                assert value.startswith("data:image/png;base64,")
            if name in ("href", "xlink:href"):
                assert value.startswith("#")
    html = render(_report())
    style = html[html.index("<style>") : html.index("</style>")]
    assert "@import" not in style and "url(" not in style
    assert "//" not in "".join(page.scripts)


def test_the_page_forbids_other_origins_and_every_script_but_its_own(page):
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    (program,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    assert policy == (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'"
    )


def test_hostile_names_are_shown_and_never_obeyed(page):
    shown = HOSTILE.replace("\u202e", "\\u202e").replace("\udcff", "\\udcff")
    assert shown in page.text
    assert any(shown in image["alt"] for image in page.all("img"))
    assert "</pre><script>" in page.text


def test_links_lead_to_parts_of_the_page(page):
    targets = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [link["href"][1:] for link in page.all("a")]
    assert len(links) > 6 and set(links) <= targets


def test_every_picture_says_what_it_is_and_decodes(page):
    images = page.all("img")
    assert len(images) == 6
    for image in images:
        assert image["alt"]
        with Image.open(io.BytesIO(base64.b64decode(image["src"].split(",")[1]))) as picture:
            assert picture.size == (int(image["width"]), int(image["height"]))
    assert all(drawing.get("aria-label") for drawing in page.all("svg"))


def test_what_scrolls_can_be_reached_by_keyboard(page):
    scrolling = [div for div in page.all("div") if "wide" in (div.get("class") or "").split()]
    assert scrolling and all(div["tabindex"] == "0" and div["aria-label"] for div in scrolling)


def test_the_page_leads_with_the_verdict():
    text = Page(render(_report(zfn=0.49))).text
    body = text[text.index("Appendix") :]  # past the contents
    # Abnormal scores 0.1 to 0.4 pass, normal scores 0.5 to 0.77 do not.
    verdict = (
        "4 of 30 defective parts slipped through, and 10 of 60 good parts would be inspected in "
        "vain: it lets defects pass as its promise allows."
    )
    promise = "Of 1,000 defective parts up to 95 may pass; we are 95 % sure"
    assert "Usable, with reservations" in body and verdict in body and promise in body
    assert "At most 9.5 % pass by the rule zfn." in body
    assert body.index(verdict) < body.index(promise) < body.index("What the promise rests on")
    assert body.index("What the promise rests on") < body.index("All rules")


@pytest.mark.parametrize(
    ("zfn", "level", "tag"),
    [
        (0.49, "fair", "Usable, with reservations"),  # 4 of 30 passed, at most 9.5 % promised
        (0.75, "bad", "Not fit for use as it is"),  # 7 of 30: P(7 or more) = 0.02
        (0.09, "fair", "Usable, with reservations"),  # none passed, a third alarms
    ],
)
def test_the_verdict_has_a_colour_and_the_words_for_it(zfn, level, tag):
    page = Page(render(_report(zfn=zfn)))
    assert [d["class"] for d in page.all("div") if "worth" in (d.get("class") or "")] == [
        f"worth {level}"
    ]
    assert tag in page.text


def test_a_detector_without_a_miss_says_so():
    text = Page(render(_report(zfn=0.09, misses=[]))).text
    assert "none of 30 defective parts slipped through" in text
    assert "There is none: every abnormal image was sent to inspection." in text


def test_a_detector_without_a_false_alarm_says_so():
    text = Page(render(_report(zfn=0.8, false_alarms=[]))).text
    assert "none of 60 good parts would be inspected in vain" in text
    assert "There is none: no normal image was sent to inspection." in text


def test_the_oracle_is_labelled_as_what_it_is(page):
    assert (
        "Thresholds chosen on the very scores they are judged on; for comparison with the "
        "published tables only." in page.text
    )


def test_a_rule_that_refused_gives_its_reason(page):
    assert "a reason <&>" in page.text
    text = Page(render(_report(rule="normal_quantile"))).text
    assert "There is no decision." in text


def test_images_without_a_score_are_told_and_inspected():
    report = _report()
    report.scores[-1] = np.nan
    assert report.decisions()[-1]
    assert "1 of 90 images gave no finite score" in Page(render(report)).text


def test_decisions_that_are_given_count_by_kind_of_defect():
    report = _report(inspected=np.zeros(90, bool))
    assert "scratch: 15 of 15 slipped through" in Page(render(report)).text


def test_a_split_of_one_class_gives_a_report_without_a_roc_curve():
    labels, scores = np.zeros(20, int), np.linspace(0, 1, 20)
    threshold = _threshold("normal_quantile", 0.9)
    figures = {"held_out": held_out(labels, scores, {"normal_quantile": threshold})}
    report = Report("normals", figures, "normal_quantile", labels, scores)
    text = Page(render(report)).text
    assert "there was no defective part to miss" in text
    assert "true-positive" not in text


def test_the_pool_is_called_a_pool():
    report = _report()
    text = Page(render(_report(results={**report.results, "judged_on": "pool"}))).text
    assert "Oracle figures of the pool." in text and "test split" not in text


def test_the_report_is_written_in_one_move(tmp_path):
    path = tmp_path / "report" / "index.html"
    write_report(path, _report())
    assert [file.name for file in path.parent.iterdir()] == ["index.html"]
    assert path.read_text("utf-8").startswith("<!DOCTYPE html>")


def test_the_page_says_what_an_operator_pays_and_what_a_person_looks_at():
    report = _report()
    held = {
        rule: of | {"operation": operation(of, prevalence=0.02)}
        for rule, of in report.results["held_out"].items()
        if "refused" not in of
    }
    labels, scores = _scores()
    found = review(labels, scores >= 0.49, scores >= 1.5, rule="target_fpr")
    text = Page(render(_report(results={"held_out": held, "review": found}))).text
    assert "What an operator pays" in text and "decision.prevalence" in text
    of = held["zfn"]["operation"]["false_alarms_per_thousand"]
    assert of["estimate"] == pytest.approx(980 * held["zfn"]["fpr"])
    assert f"{of['estimate']:.3g} ({of['low']:.3g} to {of['high']:.3g})" in text
    assert "Doubtful images: a person looks at 10 of 60 normal and 10 of 30 abnormal" in text
    assert "What an operator pays" not in Page(render(report)).text
    assert "per 1,000 groups" not in text
    counts = {"tp": 9, "fn": 1, "fp": 4, "tn": 16}
    for figures in held.values():
        figures["groups"] = counts | {"operation": operation(counts, prevalence=0.02)}
    text = Page(render(_report(results={"held_out": held, "review": found}))).text
    assert "misses per million groups" in text and "false alarms per 1,000 images" in text
    assert "2,000 (50.6 to 8,900)" in text  # 1 of 10, of 20,000: Clopper-Pearson 0.25 to 44.5 %


def test_the_page_says_how_the_classifier_was_chosen_and_why_an_image_stands_out():
    selection = {
        "name": "svm",
        "criterion": "fpr_at_tpr1",
        "inside": {"extra_trees": 0.5, "svm": 0.25},
        "outside": 0.375,
        "chosen": ["svm", "extra_trees", "svm"],
        "optimism": 0.125,
    }
    results = {"held_out": _report().results["held_out"], "selection": selection}
    reasons = ("ssim<b> 0.41, normals 0.83 to 0.97 (+0.12)",)
    report = _report(results=results, misses=[_example()._replace(reasons=reasons)])
    text = Page(render(report)).text
    assert "svm was chosen among 2 classifiers by fpr_at_tpr1" in text
    assert "flatters itself by 0.125" in text
    assert reasons[0] in text


def test_an_example_shows_each_panel_by_its_name_and_where_it_stands_out():
    black = np.zeros((8, 8, 3), np.uint8)
    panels = (Panel("image", black), Panel("map <over> it", black))
    example = Example("a.png", "dent", 0.5, panels, places="no place stands out <here>")
    page = Page(render(_report(misses=[example], false_alarms=[], hits=[], passed=[])))
    shown = [image["alt"] for image in page.all("img") if "a.png" in image["alt"]]
    assert shown == ["Missed a.png: image", "Missed a.png: map <over> it"]
    assert page.text.count("map <over> it") == 1
    assert page.text.count("no place stands out <here>") == 1
    assert "normal version" not in page.text


def test_a_method_that_draws_nothing_is_not_said_to_draw(page):
    assert "model" not in page.text and "reconstruct" not in page.text.lower()


def test_no_two_parts_of_the_page_have_one_name(page):
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names)) > 18


def test_a_test_split_bounds_nothing_alone_where_its_images_hang_together():
    words = "alone</b> shows that at most"
    apart = _report()
    assert words in render(apart)
    alike = apart.results | {"grouping": {"runs": [], "copies": 8}}
    assert words not in render(_report(results=alike))
    promise = apart.results["held_out"]["zfn"]["guarantee"] | {"n_groups": 10}
    held = apart.results["held_out"]
    grouped = held | {"zfn": held["zfn"] | {"guarantee": promise}}
    assert words not in render(_report(results=apart.results | {"held_out": grouped}))
