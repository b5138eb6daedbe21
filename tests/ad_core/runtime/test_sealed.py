import errno
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ad_core.errors import UserError
from ad_core.runtime import sealed
from ad_core.runtime.sealed import OWN_OUTPUT, mark_own, own_names

ROOT = Path(__file__).parents[3]

# Writes one result again and again, each time killed one step later than before, and says what is
# there after each kill. The last line is that of a writing that came to its end.
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ad_core.runtime import sealed
from ad_core.runtime.sealed import OWN_OUTPUT, mark_own, own_names

def step(function):
    def stepped(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **options)
    return stepped

def fill(text):
    def write(folder):
        (folder / "deep").mkdir()
        for name in ("a", "deep/b"):
            (folder / name).write_text(text)
    return write

def write(text):
    if sys.argv[2] == "file":
        sealed.write_text(place, text)
    else:
        sealed.write_folder(place, fill(text))

def found():
    if sys.argv[2] == "file":
        return place.read_text()
    folder = sealed.find_folder(place)
    sealed.verify_folder(folder)
    return "".join(sorted({(folder / name).read_text() for name in ("a", "deep/b")}))

place, again = Path(sys.argv[3]) / "result", sys.argv[4] == "again"
for kills in range(100):
    shutil.rmtree(place.parent, ignore_errors=True)
    place.parent.mkdir()
    write("old")
    child = os.fork()
    if child == 0:
        left = kills
        for module, name in (
            (os, "open"), (os, "fsync"), (os, "replace"), (os, "rename"), (os, "mkdir"),
            (os, "unlink"), (os, "rmdir"), (shutil, "rmtree"),
        ):
            setattr(module, name, step(getattr(module, name)))
        Path.write_text = step(Path.write_text)
        Path.replace, Path.rename = step(Path.replace), step(Path.rename)
        write("new")
        os._exit(0)
    killed = os.waitpid(child, 0)[1] != 0
    print(found(), flush=True)
    if again:
        write("newest")
        assert found() == "newest"
        assert [path.name for path in place.parent.iterdir()] == ["result"]
    if not killed:
        break
"""


@pytest.mark.parametrize("then", ["end", "again"])
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_kill_at_any_step_leaves_the_old_or_the_new_whole(tmp_path, kind, then):
    command = [sys.executable, "-c", KILLED, ROOT, kind, tmp_path / "place", then]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    found = done.stdout.split()
    assert found == sorted(found, reverse=True), "once the new is there it stays"
    assert set(found) == {"old", "new"}
    assert len(found) > {"file": 5, "folder": 15}[kind]


def record_calls(monkeypatch):
    """The i-nodes that were synced, and the names that were moved, in order."""
    calls = []

    def fsync(handle, former=os.fsync):
        calls.append(("sync", os.fstat(handle).st_ino))
        former(handle)

    def move(path, target, former):
        calls.append(("move", Path(path).name, Path(target).name))
        return former(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    for name in ("replace", "rename"):
        former = getattr(Path, name)
        monkeypatch.setattr(Path, name, lambda path, to, former=former: move(path, to, former))
    return calls


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_after(tmp_path, monkeypatch):
    calls = record_calls(monkeypatch)
    sealed.write_text(tmp_path / "a.txt", "x")
    assert calls == [
        ("sync", (tmp_path / "a.txt").stat().st_ino),
        ("move", "a.txt.partial", "a.txt"),
        ("sync", tmp_path.stat().st_ino),
    ]


def fill(folder):
    (folder / "deep").mkdir()
    (folder / "a").write_text("first")
    (folder / "deep" / "b").write_text("second")


def test_all_of_a_folder_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls = record_calls(monkeypatch)
    sealed.write_folder(tmp_path / "result", fill)
    moved = calls.index(("move", "result.partial", "result"))
    result = tmp_path / "result"
    everything = {path.stat().st_ino for path in (result, *result.rglob("*"))}
    assert len(everything) == 5
    assert {call[1] for call in calls[:moved]} == everything
    assert calls[moved + 1 :] == [("sync", tmp_path.stat().st_ino)]


def test_the_manifest_holds_the_sha256_of_every_file(tmp_path):
    sealed.write_folder(tmp_path / "result", fill)
    listed = json.loads((tmp_path / "result" / "MANIFEST.json").read_text())
    # printf first | sha256sum; printf second | sha256sum
    assert listed == {
        "a": "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e",
        "deep/b": "16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4",
    }


def test_a_folder_with_its_own_manifest_vouches_for_its_files(tmp_path):
    def nest(folder):
        fill(folder)
        sealed.write_folder(folder / "inner", fill)

    sealed.write_folder(tmp_path, nest)
    inner = tmp_path / "inner" / "MANIFEST.json"
    digest = hashlib.sha256(inner.read_bytes()).hexdigest()
    listed = json.loads((tmp_path / "MANIFEST.json").read_text())
    assert listed["inner/MANIFEST.json"] == digest and len(listed) == 3
    (tmp_path / "inner" / "a").write_text("other")
    sealed.verify_folder(tmp_path)
    with pytest.raises(sealed.Damaged, match="its file 'a' was changed"):
        sealed.verify_folder(tmp_path / "inner")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "a").unlink(), "'a' is missing"),
        (lambda folder: (folder / "deep" / "b").write_text("secone"), "'deep/b' was changed"),
        (lambda folder: (folder / "more").touch(), "'more' is not in MANIFEST.json"),
        (lambda folder: (folder / "MANIFEST.json").unlink(), "'MANIFEST.json' is missing"),
        (lambda folder: (folder / "MANIFEST.json").write_text("{"), "'MANIFEST.json' is damaged"),
        (lambda folder: (folder / "MANIFEST.json").write_text("[]"), "'MANIFEST.json' is damaged"),
        (lambda folder: (folder / "MANIFEST.json").write_bytes(b"\xff"), "'MANIFEST.json' is dam"),
    ],
)
def test_damage_names_its_file(tmp_path, harm, message):
    sealed.write_folder(tmp_path / "result", fill)
    sealed.verify_folder(tmp_path / "result")
    harm(tmp_path / "result")
    with pytest.raises(sealed.Damaged, match=message):
        sealed.verify_folder(tmp_path / "result")


def test_where_some_files_are_needed_others_may_lie_beside_them(tmp_path):
    sealed.write_folder(tmp_path / "result", fill)
    (tmp_path / "result" / "note").touch()
    sealed.verify_folder(tmp_path / "result", needed=("a",))
    with pytest.raises(sealed.Damaged, match="'note' is not in MANIFEST"):
        sealed.verify_folder(tmp_path / "result", needed=("a", "note"))
    with pytest.raises(sealed.Damaged, match="'c' is missing"):
        sealed.verify_folder(tmp_path / "result", needed=("a", "c"))
    (tmp_path / "result" / "deep" / "b").unlink()
    with pytest.raises(sealed.Damaged, match="'deep/b' is missing"):
        sealed.verify_folder(tmp_path / "result", needed=("a",))


def full(partial):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(partial):
    partial.touch()
    raise KeyboardInterrupt


@pytest.mark.parametrize("write", [sealed.write_file, sealed.write_folder])
def test_a_full_disk_is_one_message_and_leaves_what_was_there(tmp_path, write):
    path = tmp_path / "result"
    sealed.write_text(path, "old")
    with pytest.raises(UserError, match=r"result could not be written \(No space left .*free disk"):
        write(path, full)
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["result"]


def test_whatever_else_fails_passes_and_leaves_nothing_partial(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        sealed.write_file(tmp_path / "result", interrupted)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match="below/result could not be written"):
        (tmp_path / "below").touch()
        sealed.write_text(tmp_path / "below" / "result", "")


def test_json_is_strict_and_never_half_written(tmp_path):
    sealed.write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        sealed.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_removed_folder_leaves_nothing(tmp_path):
    sealed.write_folder(tmp_path / "result", fill)
    sealed.remove_folder(tmp_path / "result")
    assert not list(tmp_path.iterdir())


def test_names_once_marked_as_own_stay_so_and_their_unfinished_forms_are_too(tmp_path):
    assert own_names(tmp_path) == frozenset()
    mark_own(tmp_path, ["maps"])
    mark_own(tmp_path, ["scores.csv"])
    own = own_names(tmp_path)
    assert {"maps", "scores.csv", "maps.partial", "scores.csv.partial", ".zfn-output"} <= own
    assert "photo.png" not in own


def test_a_damaged_mark_makes_nothing_the_programs_own(tmp_path):
    for content in ("{", '{"maps": 1}', "\udcff"):
        (tmp_path / OWN_OUTPUT).write_text(content, errors="surrogateescape")
        assert own_names(tmp_path) == frozenset()


def test_of_many_that_create_one_file_exactly_one_wins(tmp_path):
    def create(number):
        return sealed.create_file(
            tmp_path / "plan",
            lambda path: path.write_text(f"{number}" * 999),
            beside=tmp_path / "b",
        )

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(create, range(8)))
    assert sum(won) == 1
    assert (tmp_path / "plan").read_text() == f"{won.index(True)}" * 999
    assert not list((tmp_path / "b").iterdir())


def test_a_folder_is_created_once_and_what_came_late_is_dropped(tmp_path):
    def fill(text):
        return lambda path: (path / "rows").write_text(text)

    def late(path):
        assert sealed.create_folder(tmp_path / "shard", fill("early"))
        fill("late")(path)

    assert not sealed.create_folder(tmp_path / "shard", late)
    assert not sealed.create_folder(tmp_path / "shard", fill("later"))
    assert (tmp_path / "shard" / "rows").read_text() == "early"
    assert [path.name for path in tmp_path.iterdir()] == ["shard"]
    sealed.verify_files(tmp_path / "shard", ["rows"])
    (tmp_path / "shard" / "rows").write_text("earl")
    with pytest.raises(sealed.Damaged, match="was changed or damaged"):
        sealed.verify_files(tmp_path / "shard", ["rows"])
    with pytest.raises(sealed.Damaged, match="is not in"):
        sealed.verify_files(tmp_path / "shard", ["other"])
