import errno
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ad_core.console import active
from ad_core.console import archive as archive_module
from ad_core.console import line as line_module
from ad_core.console.answer import worst
from ad_core.console.chain import Event
from ad_core.console.line import Line, _renamed, shown_name
from ad_core.console.service import Options, _announce
from ad_core.console.store import Store
from ad_core.console.users import Users
from ad_core.errors import UserError
from ad_core.scoring.verdict import Verdict
from tests.ad_core.console.conftest import png

GOOD, BAD = png(20), png(220)


def wait_until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_an_image_is_answered_when_its_event_is_on_the_disk(line, store):
    answer = line.score(GOOD, "one.png", "http", user="camera")
    received, scored = store.events(("received", "scored"))
    assert (answer.decision, answer.status) == ("normal", 200)
    assert scored == answer.event and scored.about == received.seq
    assert scored.score == answer.verdict.score and scored.threshold == 0.5
    assert (scored.user, scored.origin, scored.detector_sha) == ("camera", "http", "d" * 64)
    assert store.image(answer.sha).name == "one.png"
    assert store.archive.picture(answer.sha).read_bytes() == GOOD
    assert store.archive.map(answer.sha).is_file()
    with Store(store.path, read_only=True) as other:
        assert other.events()[-1] == scored


def test_an_image_above_the_threshold_is_inspected(line):
    answer = line.score(BAD, "one.png", "http")
    assert (answer.decision, answer.outcome, answer.status) == ("inspect", "scored", 200)


def told(answer, outcome, status, store):
    """Whether an answer is inspect with this outcome, and its event says the same."""
    assert (answer.decision, answer.outcome, answer.status) == ("inspect", outcome, status)
    event = store.last()
    assert (event.kind, event.decision) == ("error", "inspect") and answer.event == event
    assert event.reason == answer.reason and event.detail["outcome"] == outcome
    assert answer.to_dict()["decision"] == "inspect" and answer.to_dict()["score"] is None
    return True


def test_what_is_no_image_is_inspected_under_the_name_that_it_came_by(line, store):
    answer = line.score(b"no image", "../../etc/passwd", "http")
    assert told(answer, "unreadable", 422, store)
    assert answer.reason.startswith("../../etc/passwd: is none of")
    assert str(store.path) not in answer.reason


def test_a_message_about_a_kept_file_tells_no_path_of_the_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = Path("store") / "ab"
    for path in (kept, kept.absolute()):
        assert _renamed(f"{path}#2: is cut off", kept, "") == "the image#2: is cut off"


def test_a_detector_that_raises_is_answered_inspect_and_the_next_image_is_scored(
    line, store, judge, capsys
):
    judge.error = MemoryError("a secret path")
    answer = line.score(GOOD, "one.png", "http")
    assert told(answer, "failed", 500, store)
    assert answer.reason == "the detector failed (MemoryError)"
    assert "a secret path" in capsys.readouterr().err
    judge.error = None
    assert line.score(GOOD, "one.png", "http").decision == "normal"


def test_an_error_behind_the_detector_is_answered_inspect_too(line, store, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(line_module, "decided", fail)
    answer = line.score(GOOD, "one.png", "http")
    assert told(answer, "failed", 500, store) and "unforeseen" in capsys.readouterr().err
    assert store.unanswered() == [] and store.image(answer.sha).decision == "inspect"
    assert line.waiting == 0


def test_a_verdict_that_comes_too_late_is_dropped(make_line, store, judge):
    line = make_line(timeout_s=0.2)
    judge.may_judge.clear()
    answer = line.score(GOOD, "one.png", "http")
    assert told(answer, "timeout", 504, store)
    judge.may_judge.set()
    wait_until(lambda: judge.judged)
    time.sleep(0.1)
    assert store.image(answer.sha).decision == "inspect" and store.events("scored") == []
    line.timeout_s = 10.0
    assert line.score(GOOD, "one.png", "http").decision == "normal"


def test_an_image_whose_upload_took_all_the_time_is_not_judged_any_more(line, store):
    answer = line.score(GOOD, "one.png", "http", began=time.monotonic() - 6)
    assert told(answer, "timeout", 504, store)


def test_a_full_queue_is_answered_at_once_and_never_by_waiting(line, store, judge):
    judge.may_judge.clear()
    with ThreadPoolExecutor(2) as others:
        first = [others.submit(line.score, png(10 + n), "a.png", "http") for n in range(2)]
        wait_until(lambda: len(store.events("received")) == 2)
        answer = line.score(GOOD, "one.png", "http")
        assert told(answer, "queue_full", 503, store) and judge.judged == []
        judge.may_judge.set()
        assert [each.result().decision for each in first] == ["normal", "normal"]
    assert line.waiting == 0 and line.score(GOOD, "one.png", "http").decision == "normal"


def test_stopping_finishes_what_was_accepted_and_accepts_nothing_more(line, store, judge):
    judge.may_judge.clear()
    with ThreadPoolExecutor(2) as others:
        accepted = others.submit(line.score, GOOD, "one.png", "http")
        wait_until(lambda: store.last("received") is not None)
        stopping = others.submit(line.stop)
        wait_until(lambda: line.stopping)
        assert told(line.score(GOOD, "two.png", "http"), "stopping", 503, store)
        judge.may_judge.set()
        assert accepted.result().decision == "normal"
        stopping.result()
    assert store.verify() is None and store.unanswered() == []


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_too_full_for_the_picture_is_answered_inspect(line, store, judge, monkeypatch):
    monkeypatch.setattr(archive_module.Path, "write_bytes", full_disk)
    answer = line.score(GOOD, "one.png", "http")
    assert told(answer, "not_stored", 507, store)
    assert "No space left" in answer.reason and judge.judged == []


def test_a_disk_too_full_for_an_event_is_answered_inspect_without_one(line, store, judge):
    with store.writing() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
    answers = [line.score(png(n), "x" * 200, "http") for n in range(60)]
    refused = [answer for answer in answers if answer.outcome == "not_stored"]
    assert refused and all(
        (answer.decision, answer.status, answer.event) == ("inspect", 507, None)
        for answer in refused
    )
    sound = [answer for answer in answers if answer.decision == "normal"]
    assert all(store.event(answer.event.seq) == answer.event for answer in sound)
    with store.writing() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    assert line.score(GOOD, "one.png", "http").decision == "normal"
    assert store.verify() is None and store.stale_image() is None


def test_a_disk_too_full_for_the_last_event_takes_the_normal_back(line, store, monkeypatch):
    append = store.append_all

    def refuse_scored(events):
        if events[0].kind == "scored":
            raise line_module.StoreError("the store refused (disk I/O error)")
        return append(events)

    monkeypatch.setattr(store, "append_all", refuse_scored)
    answer = line.score(GOOD, "one.png", "http")
    assert told(answer, "not_stored", 507, store)
    assert store.image(answer.sha).decision == "inspect"


def test_a_map_that_cannot_be_kept_costs_no_decision(line, store, monkeypatch):
    def refuse(*_):
        raise UserError("no space")

    monkeypatch.setattr(store.archive, "keep_map", refuse)
    answer = line.score(GOOD, "one.png", "http")
    assert answer.decision == "normal"
    assert store.last().detail["without_map"] == "the map is not kept: no space"


def test_images_that_a_killed_process_accepted_are_inspected_after_the_restart(make_line, store):
    sha = "a" * 64
    store.append(Event(kind="received", image_sha=sha, origin="http", detail={"name": "one.png"}))
    make_line()
    event = store.events("error")[0]
    assert (event.decision, event.image_sha, event.about) == ("inspect", sha, 1)
    assert store.image(sha).name == "one.png" and store.unanswered() == []


def test_a_switch_is_an_event_and_lasts_beyond_the_restart(make_line, store, tmp_path):
    line = make_line()
    event = line.switch(tmp_path / "new", user="ann", reason="recalibrated")
    assert (event.kind, event.user, event.reason) == ("activated", "ann", "recalibrated")
    assert line.loaded.directory == tmp_path / "new"
    line.stop()
    assert make_line().loaded.directory == tmp_path / "new"
    assert len(store.events("activated")) == 2


def test_another_detector_on_the_command_line_takes_over_as_an_event(make_line, store, tmp_path):
    make_line().switch(tmp_path / "new")
    again = Line(tmp_path / "third", store)
    again.stop()
    assert again.loaded.directory == tmp_path / "third"
    assert store.last("activated").reason == "named by the command line"
    assert store.last("activated").detail["given"] == str(tmp_path / "third")


def test_an_activated_detector_that_is_gone_is_never_replaced_in_silence(
    make_line, store, tmp_path, monkeypatch
):
    make_line().switch(tmp_path / "new")
    monkeypatch.setattr(active, "detector_sha", lambda folder: "")
    with pytest.raises(UserError, match="activated last .* is gone or was changed"):
        make_line()


def test_a_switch_between_two_images_takes_effect_with_the_second(make_line, judge, tmp_path):
    line = make_line()
    judge.may_judge.clear()
    with ThreadPoolExecutor(1) as others:
        first = others.submit(line.score, GOOD, "one.png", "http")
        wait_until(lambda: line.waiting == 1)
        line.switch(tmp_path / "new")
        judge.may_judge.set()
        assert first.result().decision == "normal"


def test_the_answer_has_the_same_keys_whatever_happened(line):
    sound, unread = line.score(GOOD, "a", "http"), line.score(b"x", "b", "http")
    assert sound.to_dict().keys() == unread.to_dict().keys()
    assert sound.to_dict()["picture_url"] == f"/v1/pictures/{sound.sha}"
    assert unread.to_dict()["picture_url"] is None


def test_many_threads_get_one_event_each_and_a_whole_chain(make_line, store):
    line = make_line(queue_limit=8)
    with ThreadPoolExecutor(8) as others:
        answers = list(others.map(lambda n: line.score(png(n), "a", "http"), range(40)))
    assert {answer.outcome for answer in answers} == {"scored"}
    assert len({answer.event.seq for answer in answers}) == 40
    assert store.verify() is None and len(store.events()) == 81
    assert threading.active_count() < 30


def verdict(decision, score, status="ok"):
    return Verdict("", status, None, score, decision, None, None, [], (), None)


def test_of_several_pages_the_worst_stands_for_the_file():
    normal, high = verdict("normal", 0.1), verdict("normal", 0.3)
    inspected, unread = verdict("inspect", 0.2), verdict("inspect", None, "error")
    assert worst([normal, high]) is high and worst([high, inspected]) is inspected
    assert worst([inspected, unread, high]) is unread
    assert worst([verdict("inspect", 0.0), verdict("inspect", -1.0)]).score == 0.0


def test_a_name_is_one_line_and_not_long():
    assert shown_name("a\nb\x1b[2J\u202ec") == "a?b?[2J?c"
    assert len(shown_name("x" * 1000)) == 200


@pytest.mark.parametrize("facts", [None, {"scored": {}}])
def test_a_detector_that_cannot_be_recalibrated_is_told_at_the_start(
    line, store, judge, facts, capsys
):
    judge.parts.facts = facts
    _announce(Options(detector=Path("d"), store=store.path), line, Users(store), "http://here")
    told = capsys.readouterr().out
    assert "answers at http://here/v1/score" in told
    assert ("launch/calibrate.py" in told) == (facts is None)
