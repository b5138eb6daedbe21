"""The console's pages without a browser: who may do what, what is blind, what is noted."""

import re

import pytest

from ad_core.console.chain import COLUMNS, RECALIBRATED, VERDICT
from ad_core.console.day_drift import DayDrift
from ad_core.console.store import StoreError
from ad_core.decision.facts import read_scored
from ad_core.scoring.files import load_parts
from ad_core.scoring.verdict import Verdict
from tests.console_parts import PASSWORD, Console, save_detector
from tests.in_process import client_of

ORIGIN = "http://testserver"


@pytest.fixture(scope="module")
def console(tmp_path_factory):
    """Every part is drawn, so that every verdict counts; the faint scratch passes."""
    root = tmp_path_factory.mktemp("pages")
    made = Console(root / "store", save_detector(root), origin=ORIGIN, audit_share=1.0)
    yield made
    made.close()


class Person:
    """Somebody who is logged in."""

    def __init__(self, console, name):
        self.client = client_of(console.app, base_url=ORIGIN, headers={"Origin": ORIGIN})
        self.post("/login", name=name, password=PASSWORD)
        self.csrf = re.search(r'name="csrf" content="([^"]+)"', self.get("/").text)[1]

    def get(self, path):
        return self.client.get(path, follow_redirects=True)

    def post(self, path, **fields):
        given = {"csrf": getattr(self, "csrf", "")} | fields
        return self.client.post(path, data=given, follow_redirects=True)


@pytest.fixture(scope="module")
def people(console):
    made = {name: Person(console, name) for name in ("Wim", "Wes", "Lea", "Lou")}
    yield made
    for person in made.values():
        person.client.close()


def test_blind_image_shows_neither_score_nor_map_until_it_is_judged(console, people):
    sha = console.send(300, contrast=0.9).sha
    score = f"{console.store.image(sha).score:.4g}"
    before = people["Wim"].get(f"/inspect/{sha}").text
    assert f"/v1/pictures/{sha}" in before and f"/v1/maps/{sha}" not in before
    assert score not in before and "inspected from" not in before
    assert people["Wim"].get(f"/v1/maps/{sha}").status_code == 403
    for page in ("/?show=all", "/history"):
        assert score not in people["Wim"].get(page).text
    people["Wim"].post(f"/inspect/{sha}", verdict="defect", defect="scratch")
    after = people["Wim"].get(f"/inspect/{sha}").text
    assert score in after and f"/v1/maps/{sha}" in after
    assert people["Wim"].get(f"/v1/maps/{sha}").status_code == 200
    event = console.store.last(VERDICT)
    assert (event.user, event.verdict, event.defect, event.origin) == (
        "Wim", "defect", "scratch", "audit",
    )  # fmt: skip


def test_undo_takes_back_ones_own_last_verdict_alone(console, people):
    first, second = (console.send(seed).sha for seed in (210, 211))
    people["Wim"].post(f"/inspect/{first}", verdict="normal")
    people["Wes"].post(f"/inspect/{second}", verdict="normal")
    people["Wim"].post("/undo")
    assert console.store.image(first).verdict == ""
    assert console.store.image(second).verdict == "normal"
    people["Wim"].post(f"/inspect/{first}", verdict="normal")


def test_what_is_no_verdict_or_no_image_is_refused(console, people):
    sha = console.store.images()[0].sha
    events = console.store.last().seq
    assert people["Wim"].post(f"/inspect/{sha}", verdict="fine").status_code == 400
    assert people["Wim"].post(f"/inspect/{'0' * 64}", verdict="normal").status_code == 404
    assert people["Wim"].get("/inspect/nothing").status_code == 404
    assert console.store.last().seq == events


def test_coins_are_noted_as_images_are_scored(console, people):
    sha = console.send(220).sha
    assert [event.kind for event in console.store.events(image=sha)][-1] == "audit"
    people["Wim"].post(f"/inspect/{sha}", verdict="normal")


def test_verdict_that_the_disk_refuses_is_told_to_be_lost(console, people, monkeypatch):
    sha = console.store.images()[0].sha

    def refuse(event):
        raise StoreError("the disk is full")

    monkeypatch.setattr(console.store, "append", refuse)
    answer = people["Wim"].post(f"/inspect/{sha}", verdict="normal")
    assert answer.status_code == 507 and "was not noted: the disk is full" in answer.text
    assert people["Wim"].post("/undo").status_code == 507


def test_names_of_images_are_text_and_nothing_else(console, people):
    console.line.score(b"no image", "<script>alert(1)</script>.png", "http")
    for path in ("/?show=all", "/history", "/health"):
        text = people["Lea"].get(path).text
        assert "<script>alert" not in text
    assert "&lt;script&gt;" in people["Lea"].get("/?show=all").text


def test_worker_may_look_at_a_recalibration_and_not_make_one(console, people):
    assert people["Wim"].get("/recalibrate").status_code == 200
    for path in ("/recalibrate", "/recalibrate/back", "/recalibrate/1/confirm"):
        assert people["Wim"].post(path, way="own", reason="r").status_code == 403
    assert people["Wim"].get("/history.csv").status_code == 403


def test_recalibration_takes_a_reason_a_second_person_and_leaves_the_old_detector(console, people):
    store, line, old = console.store, console.line, console.line.loaded
    faint = console.send(301, contrast=0.3)
    assert faint.decision == "normal"
    people["Wim"].post(f"/inspect/{faint.sha}", verdict="defect", defect="scratch")
    files = {path: path.read_bytes() for path in old.directory.rglob("*") if path.is_file()}

    assert "is missing" in people["Lea"].post("/recalibrate", way="own", reason=" ").text
    people["Lea"].post("/recalibrate", way="own", reason="a scratch passed")
    proposal = store.last(RECALIBRATED)
    assert line.loaded.sha == old.sha and proposal.detail["counted"] == 2
    path = f"/recalibrate/{proposal.seq}/confirm"
    assert "you made this proposal yourself" in people["Lea"].post(path).text
    assert "Another proposal waits" in people["Lou"].post("/recalibrate", reason="also").text

    people["Lou"].post(path)
    assert line.loaded.sha != old.sha and line.loaded.threshold == faint.verdict.score
    assert console.send(301, contrast=0.3).decision == "inspect"
    assert {path: path.read_bytes() for path in files} == files
    facts = load_parts(line.loaded.directory).facts
    assert facts["recalibrated"]["by"] == "Lea"
    assert read_scored(facts)[0].path == read_scored(old.detector.parts.facts)[0].path

    people["Lea"].post("/recalibrate/back")
    assert line.loaded.sha == old.sha
    assert "not open any more" in people["Lou"].post(path).text


def test_declined_proposal_changes_nothing(console, people):
    before = console.line.loaded.sha
    people["Lea"].post("/recalibrate", way="own", reason="once more")
    seq = console.store.last(RECALIBRATED).seq
    people["Lou"].post(f"/recalibrate/{seq}/decline")
    assert console.store.last(RECALIBRATED).origin == "declined"
    assert console.line.loaded.sha == before
    assert "Lea proposes" not in people["Lou"].get("/recalibrate").text


def test_drawn_part_without_a_verdict_holds_up_what_came_after(console, people):
    waiting = console.send(212)
    later = console.send(302, contrast=0.8)
    people["Wim"].post(f"/inspect/{later.sha}", verdict="defect")
    text = people["Lea"].get("/recalibrate").text
    assert "1 drawn part still waits" in text.replace("parts still wait", "?")
    people["Wim"].post(f"/inspect/{waiting.sha}", verdict="normal")
    assert "still wait" not in people["Lea"].get("/recalibrate").text


def test_defect_found_later_is_noted_as_such(console, people):
    sha = console.send(213).sha
    people["Wim"].post(f"/inspect/{sha}", verdict="normal")
    people["Lea"].post(f"/inspect/{sha}", verdict="defect", defect="crack", later="1")
    event = console.store.last(VERDICT)
    assert (event.origin, event.verdict) == ("downstream", "defect")


def test_next_image_is_a_blind_one_or_none(console, people):
    for sha in [image.sha for image in console.store.images(judged=False)]:
        people["Wim"].post(f"/inspect/{sha}", verdict="normal")
    assert "Nothing waits" in people["Wim"].get("/next").text
    sha = console.send(214).sha
    assert people["Wim"].get("/next").url.path == f"/inspect/{sha}"


def test_history_checks_the_chain_and_exports_every_event(console, people):
    assert "events are whole" in people["Wim"].get("/history/check").text
    lines = people["Lea"].get("/history.csv").text.strip().splitlines()
    assert lines[0] == ",".join(COLUMNS) and len(lines) > 50


def test_day_that_is_darker_than_calibration_drifts(console):
    loaded, watched = console.line.loaded, DayDrift()
    normals = loaded.detector.normals
    assert watched.found(loaded).drifted is None

    def told(row):
        return Verdict("a.png", "ok", None, 0.0, "normal", None, 0.0, [], (), None, None, row)

    for _ in range(20):
        watched.see(told(normals.values.max(axis=0) + 1), loaded)
    assert watched.found(loaded).drifted
    alike = DayDrift()
    for row in normals.values[:20]:
        alike.see(told(row), loaded)
    assert alike.found(loaded).drifted is False


def test_health_tells_what_cannot_be_read(console, people):
    text = people["Wim"].get("/health").text
    assert console.line.loaded.sha in text
    assert re.search(r"[1-9]\d* images? without a score today", text)
