import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest

from ad_core.console.archive import Archive
from ad_core.errors import UserError


def kept(archive, *contents):
    return [archive.keep(content) for content in contents]


def test_a_picture_is_kept_under_its_hash_and_unchanged(tmp_path):
    archive = Archive(tmp_path, None)
    sha = archive.keep(b"picture")
    assert sha == hashlib.sha256(b"picture").hexdigest()
    assert archive.picture(sha).read_bytes() == b"picture"
    assert archive.keep(b"picture") == sha and archive.used == 7
    archive.keep_map(sha, b"map")
    archive.keep_map(sha, b"longer map")
    assert archive.map(sha).read_bytes() == b"longer map" and archive.used == 17
    assert Archive(tmp_path, None).used == 17


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", "/" + "a" * 63]
)
def test_no_name_but_a_hash_leads_to_a_file(tmp_path, name):
    archive = Archive(tmp_path, None)
    assert archive.picture(name) is None and archive.map(name) is None


def test_the_oldest_go_first_and_those_that_await_a_person_last(tmp_path):
    spared = set()
    archive = Archive(tmp_path, 250, spared=lambda: spared)
    first, second = kept(archive, b"a" * 100, b"b" * 100)
    archive.keep_map(second, b"m" * 10)
    spared.add(first)
    third = archive.keep(b"c" * 100)  # 310 bytes: the second goes with its map
    assert archive.picture(first) and archive.picture(third)
    assert archive.picture(second) is None and archive.map(second) is None
    spared.add(third)
    fourth = archive.keep(b"d" * 100)  # all others await a person: the older one of them goes
    assert [archive.picture(sha) is None for sha in (first, third, fourth)] == [True, False, False]
    assert archive.used == 200


def test_one_picture_that_comes_many_times_at_once_is_kept_once(tmp_path):
    archive, content = Archive(tmp_path, None), b"x" * 200_000
    with ThreadPoolExecutor(8) as others:
        shas = set(others.map(archive.keep, [content] * 40))
        list(others.map(lambda _: archive.keep_map(min(shas), b"map"), range(40)))
    assert len(shas) == 1 and archive.used == 200_003


def test_one_picture_above_the_limit_is_kept_alone(tmp_path):
    archive = Archive(tmp_path, 50)
    first, second = kept(archive, b"a" * 40, b"b" * 100)
    assert archive.picture(first) is None and archive.picture(second)


def test_age_is_known_after_a_restart_and_what_a_kill_left_is_gone(tmp_path):
    first, second = kept(Archive(tmp_path, None), b"a" * 100, b"b" * 100)
    (tmp_path / first[:2] / f"{first}.partial").write_bytes(b"half")
    archive = Archive(tmp_path, 250)
    assert archive.used == 200
    archive.keep(b"c" * 100)
    assert archive.picture(first) is None and archive.picture(second)


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="could not be written"):
        Archive(tmp_path / "file" / "pictures", None).keep(b"picture")
