import csv
import sqlite3

import pytest

from ad_core.console.chain import Event
from ad_core.console.store import Store
from ad_core.console.trail import add_device, check_trail, export_trail
from ad_core.console.users import Users
from ad_core.errors import UserError


@pytest.fixture
def path(tmp_path):
    with Store(tmp_path / "store") as store:
        for _ in range(3):
            store.append(Event(kind="scored", image_sha="a" * 64, decision="inspect"))
    return tmp_path / "store"


def change(path, statement):
    """What somebody does who has the file."""
    connection = sqlite3.connect(path / "events.sqlite")
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for (name,) in names:
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute(statement)
    connection.commit()
    connection.close()


def head_of(path):
    with Store(path, read_only=True) as store:
        last = store.last()
    return f"{last.seq}:{last.hash}"


def test_a_whole_trail_is_told_with_its_head(path, capsys):
    assert check_trail(path) == 0
    assert head_of(path) in capsys.readouterr().out
    assert check_trail(path, head=head_of(path)) == 0


def test_a_changed_event_is_told_by_its_number(path, capsys):
    change(path, "UPDATE events SET decision = 'normal' WHERE seq = 2")
    assert check_trail(path) == 3
    assert "event 2 is missing or not what was written" in capsys.readouterr().err


def test_a_trail_that_was_cut_off_is_found_by_the_head_that_was_noted(path, capsys):
    head = head_of(path)
    change(path, "DELETE FROM events WHERE seq = 3")
    assert check_trail(path, head=head) == 3
    assert "event 3 is missing" in capsys.readouterr().err


def test_a_trail_that_was_written_anew_is_found_by_the_head_that_was_noted(path, tmp_path):
    with Store(tmp_path / "forged") as forged:
        for _ in range(3):
            forged.append(Event(kind="scored", image_sha="a" * 64, decision="normal"))
    assert check_trail(tmp_path / "forged") == 0
    assert check_trail(tmp_path / "forged", head=head_of(path)) == 3


def test_a_changed_state_of_an_image_is_told(path, capsys):
    change(path, "UPDATE images SET decision = 'normal'")
    assert check_trail(path) == 3 and "state of image aaaa" in capsys.readouterr().err


def test_no_head_or_no_store_or_no_database_is_a_message(path, tmp_path):
    for head in ("3", "x:y", ":abc", "3:"):
        with pytest.raises(UserError, match="`--head`"):
            check_trail(path, head=head)
    with pytest.raises(UserError, match="no store there"):
        check_trail(tmp_path / "none")
    (tmp_path / "events.sqlite").write_text("no database at all, but long enough to be read" * 9)
    for command in (check_trail, Store):
        with pytest.raises(UserError, match="cannot be opened|cannot be read"):
            command(tmp_path)


def test_a_store_without_an_event_is_whole(tmp_path, capsys):
    Store(tmp_path / "store").close()
    assert check_trail(tmp_path / "store") == 0 and "no event yet" in capsys.readouterr().out


def test_the_table_of_events_is_whole_or_not_there(path, tmp_path):
    assert export_trail(path, tmp_path / "events.csv").startswith("3 events in")
    with (tmp_path / "events.csv").open(newline="") as file:
        assert [row["seq"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    change(path, "DROP TABLE events")
    with pytest.raises(UserError):
        export_trail(path, tmp_path / "events.csv")
    assert len((tmp_path / "events.csv").read_text().splitlines()) == 4


def test_a_trail_is_read_while_the_service_writes_it(path, tmp_path):
    with Store(path) as store:
        store.append(Event(kind="login"))
        assert check_trail(path, head=head_of(path)) == 0
        assert export_trail(path, tmp_path / "events.csv").startswith("4 events")
        with pytest.raises(UserError, match="in use"):
            add_device(path, "camera", "score")


def test_a_device_gets_a_token_that_serves(path):
    token = add_device(path, "camera", "score").split()[-1]
    with Store(path) as store:
        assert Users(store).device(token, "score") == "camera"
        assert store.last().user == "command line"
