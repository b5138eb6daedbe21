import os
import threading

import pytest

from ad_core.console.chain import Event
from ad_core.console.store import Store, StoreError
from ad_core.console.watch import Watcher
from ad_core.errors import UserError
from tests.ad_core.console.conftest import png
from tests.ad_core.console.test_line import wait_until

GOOD, BAD = png(20), png(220)


def refuse(*_):
    raise StoreError("the store refused (database or disk is full)")


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def told():
    return []


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "watched").mkdir()
    return tmp_path / "watched"


@pytest.fixture
def look(folder, line, clock, told):
    """Looks twice, with as many seconds between; gives the decisions by name."""
    watcher = Watcher(folder, line, most_bytes=10_000, clock=clock, tell=told.append)

    def look(seconds=2.0):
        first = watcher.look()
        clock.now += seconds
        answers = first + watcher.look()
        names = [line.store.event(answer.event.about or answer.event.seq) for answer in answers]
        return {
            event.detail["name"]: answer.decision
            for event, answer in zip(names, answers, strict=True)
        }

    return look


def files(folder):
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".zfn-output"
    }


def test_each_image_is_scored_once_and_lies_in_the_folder_of_its_decision(folder, look, store):
    (folder / "deep").mkdir()
    (folder / "good.png").write_bytes(GOOD)
    (folder / "deep" / "bad.png").write_bytes(BAD)
    assert look() == {"good.png": "normal", "deep/bad.png": "inspect"}
    assert files(folder) == {"normal/good.png", "inspect/deep/bad.png"}
    assert look() == {} and len(store.events("scored")) == 2
    assert store.last("scored").origin == "watch"


def test_a_file_that_grows_is_left_until_it_is_whole(folder, look):
    path = folder / "part.png"
    path.write_bytes(GOOD[:30])
    assert look(0.5) == {}
    path.write_bytes(GOOD[:60])
    assert look(0.9) == {}
    path.write_bytes(GOOD)
    assert look(0.9) == {}
    assert look(0.2) == {"part.png": "normal"}


@pytest.mark.parametrize("name", [".hidden.png", "a.png.partial", "a.PNG.TMP", "b.part"])
def test_a_name_of_what_is_not_finished_waits_for_its_renaming(folder, look, name):
    (folder / name).write_bytes(GOOD)
    assert look() == {} and files(folder) == {name}
    (folder / name).rename(folder / "whole.png")
    assert look() == {"whole.png": "normal"}


def test_what_is_no_image_stays_and_is_told_once_by_name(folder, look, told, store):
    (folder / "notes.txt").write_text("hello")
    assert look() == {} and look() == {}
    assert files(folder) == {"notes.txt"} and store.events("error") == []
    assert len(told) == 1 and "notes.txt: is no image" in told[0]


def test_an_image_that_cannot_be_read_or_is_too_large_is_inspected(folder, look):
    (folder / "torn.png").write_bytes(GOOD[:40])
    (folder / "large.png").write_bytes(GOOD + b"x" * 10_000)
    assert look() == {"torn.png": "inspect", "large.png": "inspect"}
    assert files(folder) == {"inspect/torn.png", "inspect/large.png"}


def test_links_are_not_followed(folder, look, told, tmp_path):
    (tmp_path / "outside.png").write_bytes(GOOD)
    (folder / "link.png").symlink_to(tmp_path / "outside.png")
    os.mkfifo(folder / "pipe.png")
    (folder / "inside").symlink_to(tmp_path)
    assert look() == {} and len(told) == 2
    assert (tmp_path / "outside.png").exists()


def test_a_file_never_replaces_another_one(folder, look):
    for content in (GOOD, png(21), png(22)):
        (folder / "same.png").write_bytes(content)
        assert look() == {"same.png": "normal"}
    assert files(folder) == {"normal/same.png", "normal/same-1.png", "normal/same-2.png"}
    assert (folder / "normal" / "same.png").read_bytes() == GOOD


def test_a_file_scored_by_a_process_that_was_killed_before_moving_it_is_not_scored_again(
    folder, look, store, monkeypatch
):
    (folder / "one.png").write_bytes(GOOD)
    with monkeypatch.context() as killed:
        killed.setattr("ad_core.console.watch.Watcher._move", lambda *_: None)
        assert look() == {"one.png": "normal"}
    assert files(folder) == {"one.png"}
    assert look() == {} and files(folder) == {"normal/one.png"}
    assert len(store.events("scored")) == 1
    (folder / "one.png").write_bytes(GOOD)  # the same bytes in another file are another image
    assert look() == {"one.png": "normal"} and len(store.events("scored")) == 2


def test_a_file_accepted_by_a_process_that_was_killed_before_it_answered_is_scored(
    folder, look, store
):
    (folder / "one.png").write_bytes(GOOD)
    status = (folder / "one.png").stat()
    file = ["one.png", status.st_ino, status.st_size, status.st_mtime_ns]
    sha = store.archive.keep(GOOD)
    store.append(Event(kind="received", image_sha=sha, origin="watch", detail={"file": file}))
    ended = {"outcome": "interrupted"}
    store.append(
        Event(kind="error", image_sha=sha, decision="inspect", about=store.last().seq, detail=ended)
    )
    assert look() == {"one.png": "normal"}


def test_a_file_that_the_full_disk_keeps_from_being_noted_stays_and_is_tried_again(
    folder, line, clock, told, store, monkeypatch
):
    watcher = Watcher(folder, line, most_bytes=10_000, clock=clock, tell=told.append)
    (folder / "one.png").write_bytes(GOOD)
    watcher.look()
    clock.now += 2
    with monkeypatch.context() as full:
        full.setattr(Store, "append_all", refuse)
        (answer,) = watcher.look()
    assert (answer.decision, answer.outcome) == ("inspect", "not_stored")
    assert files(folder) == {"one.png"} and store.events("error") == []
    clock.now += 1
    assert watcher.look() == []
    clock.now += 5
    assert [answer.decision for answer in watcher.look()] == ["normal"]
    assert files(folder) == {"normal/one.png"}


def test_a_folder_that_is_not_there_or_holds_anothers_results_is_refused(folder, line):
    with pytest.raises(UserError, match="no such folder"):
        Watcher(folder / "none", line, most_bytes=1)
    (folder / "normal").mkdir()
    with pytest.raises(UserError, match="normal there is not this program's"):
        Watcher(folder, line, most_bytes=1)


def test_the_thread_scores_what_is_put_there_and_ends(folder, line, monkeypatch):
    monkeypatch.setattr("ad_core.console.watch.STABLE_S", 0.05)
    monkeypatch.setattr("ad_core.console.watch.EVERY_S", 0.02)
    watcher = Watcher(folder, line, most_bytes=10_000)
    watcher.start()
    for number in range(5):
        (folder / f"{number}.png").write_bytes(png(number))
    wait_until(lambda: len(list((folder / "normal").glob("*.png"))) == 5)
    watcher.stop()
    assert not any(thread.name == "watch" for thread in threading.enumerate())
    (folder / "late.png").write_bytes(GOOD)
    assert (folder / "late.png").exists()
