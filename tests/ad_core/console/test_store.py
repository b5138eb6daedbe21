import csv
import hashlib
import io
import json
import sqlite3

import pytest

from ad_core.console.chain import Event
from ad_core.console.store import Store, StoreError
from ad_core.errors import UserError


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "store") as store:
        yield store


def scored(sha="a" * 64, decision="inspect", score=0.5, **more):
    return Event(kind="scored", image_sha=sha, decision=decision, score=score, **more)


def raw(store):
    """A connection of somebody who has the file."""
    return sqlite3.connect(store.file)


def rows(store):
    connection = raw(store)
    found = connection.execute("SELECT * FROM events ORDER BY seq").fetchall()
    names = [row[1] for row in connection.execute("PRAGMA table_info(events)")]
    connection.close()
    return [dict(zip(names, row, strict=True)) for row in found]


def test_each_hash_is_that_of_the_row_and_of_the_hash_before_by_hashlib_alone(store):
    store.append(scored(detail={"regions": [{"x": 1, "peak": 0.25}]}, reason="caf\u00e9"))
    store.append(Event(kind="verdict", user="ann", image_sha="a" * 64, verdict="defect", about=1))
    before = "0" * 64
    for number, row in enumerate(rows(store), start=1):
        told = {name: value for name, value in row.items() if name != "hash"}
        told["detail"] = json.loads(told["detail"])
        text = json.dumps(told, sort_keys=True, separators=(",", ":"))
        assert row["hash"] == hashlib.sha256(text.encode()).hexdigest()
        assert (row["seq"], row["prev_hash"]) == (number, before)
        before = row["hash"]


def test_what_is_appended_is_what_is_read_after_the_store_was_opened_again(tmp_path):
    with Store(tmp_path) as store:
        made = [store.append(scored(score=1.0)), store.append(Event(kind="login", user="ann"))]
    with Store(tmp_path) as store:
        assert store.events() == made and store.last() == made[1]
        assert store.events("login") == made[1:] and store.events(after=1) == made[1:]
        assert store.events(image="a" * 64) == made[:1]
        assert store.append(Event(kind="logout")).prev_hash == made[1].hash


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET decision = 'normal' WHERE seq = 2",
        "DELETE FROM events WHERE seq = 3",
        "DELETE FROM events",
        "REPLACE INTO events SELECT * FROM events WHERE seq = 2",
        "INSERT OR REPLACE INTO events SELECT * FROM events WHERE seq = 3",
        "UPDATE OR REPLACE events SET seq = 1 WHERE seq = 2",
    ],
)
def test_sqlite_itself_refuses_to_change_or_remove_an_event(store, statement):
    for _ in range(3):
        store.append(scored())
    before = rows(store)
    connection = raw(store)
    with pytest.raises(sqlite3.IntegrityError, match="event"):
        connection.execute(statement)
    connection.close()
    assert rows(store) == before and store.verify() is None


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        ("UPDATE events SET decision = 'normal' WHERE seq = 2", 2),
        ("UPDATE events SET score = 0.4999999 WHERE seq = 4", 4),
        ("UPDATE events SET detail = '{\"a\": 2}' WHERE seq = 1", 1),
        ("UPDATE events SET detail = 'no JSON' WHERE seq = 3", 3),
        ("UPDATE events SET about = 1 WHERE seq = 5", 5),
        ("DELETE FROM events WHERE seq = 3", 3),
        ("DELETE FROM events WHERE seq = 1", 1),
        ("UPDATE events SET hash = prev_hash WHERE seq = 2", 2),
    ],
)
def test_the_chain_names_the_first_event_that_somebody_with_the_file_has_changed(
    store, statement, broken
):
    for number in range(5):
        store.append(scored(score=number / 2, detail={"a": 1}))
    assert store.verify() is None
    connection = raw(store)
    for name in ("events_stay", "events_remain", "events_follow"):
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(statement)
    connection.commit()
    connection.close()
    assert store.verify() == broken


def test_a_store_whose_newest_events_were_changed_is_not_opened_but_may_be_looked_at(tmp_path):
    with Store(tmp_path) as store:
        store.append(scored())
        connection = raw(store)
        connection.execute("DROP TRIGGER events_stay")
        connection.execute("UPDATE events SET user = 'bob'")
        connection.commit()
        connection.close()
    with pytest.raises(UserError, match="event 1 is not what was written"):
        Store(tmp_path)
    with Store(tmp_path, read_only=True) as looked_at:
        assert looked_at.verify() == 1


def test_one_process_holds_a_store_and_others_may_look(store):
    store.append(scored())
    with pytest.raises(UserError, match="is in use by process"):
        Store(store.path)
    with Store(store.path, read_only=True) as other:
        assert other.verify() is None and len(other.events()) == 1
        with pytest.raises(StoreError, match="look at it only"):
            other.append(scored())
    assert store.append(scored()).seq == 2


def test_nothing_is_there_to_look_at_where_no_store_is(tmp_path):
    with pytest.raises(UserError, match="no store there"):
        Store(tmp_path / "none", read_only=True)
    assert not (tmp_path / "none").exists()


def test_events_that_go_together_stand_all_or_not_at_all(store):
    store.append(scored())
    with pytest.raises(ValueError, match="must be one of"):
        store.append_all([scored(), Event(kind="guess")])
    with pytest.raises(ValueError, match="JSON compliant"):
        store.append_all([scored(), scored(score=float("nan"))])
    assert len(store.events()) == 1
    assert [event.seq for event in store.append_all([scored(), scored()])] == [2, 3]


def test_a_commit_that_the_disk_refuses_leaves_no_event_and_the_next_one_is_whole(store):
    store.append(scored())
    with store.writing() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match="full"):
        for _ in range(100):
            store.append(scored(detail={"long": "x" * 5000}))
    kept = len(store.events())
    store._connection.execute("PRAGMA max_page_count = 1000000")
    assert store.append(scored()).seq == kept + 1
    assert store.verify() is None and store.stale_image() is None


def test_the_state_of_an_image_is_that_of_its_last_scoring_and_its_last_standing_verdict(store):
    a, b = "a" * 64, "b" * 64
    store.append(Event(kind="received", image_sha=a, origin="http", detail={"name": "one.png"}))
    waiting = store.image(a)
    assert (waiting.status, waiting.decision, waiting.name) == ("waiting", "inspect", "one.png")
    assert [event.image_sha for event in store.unanswered()] == [a]
    store.append(scored(a, "normal", 0.1, about=1))
    assert store.image(a).decision == "normal" and store.unanswered() == []
    store.append(scored(b, "inspect", 0.9))
    first = store.append(
        Event(kind="verdict", user="ann", image_sha=b, verdict="normal", origin="flagged")
    )
    second = store.append(
        Event(kind="verdict", user="bob", image_sha=b, verdict="defect", defect="scratch")
    )
    state = store.image(b)
    assert (state.verdict, state.defect, state.judged_by, state.verdicts) == (
        "defect", "scratch", "bob", 2,
    )  # fmt: skip
    store.append(Event(kind="undo", user="bob", image_sha=b, about=second.seq))
    assert (store.image(b).verdict, store.image(b).how) == ("normal", "flagged")
    store.append(Event(kind="undo", user="ann", image_sha=b, about=first.seq))
    assert store.image(b).verdict == "" and store.image(b).verdicts == 0
    assert store.stale_image() is None
    assert store.image("c" * 64) is None


def test_an_image_that_comes_again_is_inspected_until_it_is_scored_again(store):
    sha = "a" * 64
    store.append_all([Event(kind="received", image_sha=sha), scored(sha, "normal", about=1)])
    assert store.image(sha).decision == "normal"
    store.append(Event(kind="received", image_sha=sha))
    assert (store.image(sha).decision, store.image(sha).score) == ("inspect", None)
    assert [event.seq for event in store.unanswered()] == [3]
    store.append(scored(sha, "normal", about=3))
    assert store.image(sha).decision == "normal"


def test_of_an_image_that_came_twice_at_once_both_ends_are_awaited(store):
    sha = "a" * 64
    store.append_all([Event(kind="received", image_sha=sha) for _ in range(2)])
    store.append(scored(sha, "normal", about=2))
    assert store.image(sha).status == "waiting" and store.image(sha).decision == "inspect"
    assert [event.seq for event in store.unanswered()] == [1]


def test_images_come_worst_first_and_those_without_a_score_before_all(store):
    for letter, score in (("a", 0.2), ("b", 0.9), ("c", None), ("d", 0.5)):
        store.append(scored(letter * 64, score=score))
    store.append(scored("e" * 64, "normal", 0.01))
    store.append(Event(kind="verdict", image_sha="b" * 64, verdict="normal", user="ann"))

    def letters(**given):
        return "".join(state.sha[0] for state in store.images(**given))

    assert letters(decision="inspect") == "cdab"
    assert letters(decision="inspect", judged=False) == "cda"
    assert letters(judged=True) == "b" and letters(decision="normal") == "e"
    assert letters(decision="inspect", limit=2, offset=1) == "da"
    assert letters(since="9") == "" and len(letters(before="9")) == 5
    assert store.count_images(decision="inspect") == 4
    assert store.count_images(judged=True) == 1
    assert store.awaiting() == {letter * 64 for letter in "acd"}


def test_a_changed_state_of_an_image_is_found(store):
    store.append(scored())
    connection = raw(store)
    connection.execute("UPDATE images SET decision = 'normal'")
    connection.commit()
    connection.close()
    assert store.verify() is None and store.stale_image() == "a" * 64


def test_the_export_has_every_event_and_no_formula(store):
    store.append(scored(reason="=cmd|' /C calc'!A0", detail={"a": [1, 2]}))
    store.append(Event(kind="login", user="ann"))
    file = io.StringIO(newline="")
    assert store.export(file) == 2
    file.seek(0)
    first, second = csv.DictReader(file)
    assert first["reason"].startswith("'=cmd") and first["detail"] == '{"a":[1,2]}'
    assert (first["seq"], first["score"], second["user"]) == ("1", "0.5", "ann")
    assert second["prev_hash"] == first["hash"]
