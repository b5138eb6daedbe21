import csv
import json
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ad_core.data.layouts.files import FileSource
from ad_core.errors import UserError
from ad_core.runtime.sealed import own_names
from ad_core.scoring.lot import Lot, identify, open_lot
from ad_core.scoring.rows import row_of
from ad_core.scoring.verdict import Verdict
from tests.small_config import small_config

ONE = {"detector": "a", "listing": "b"}


def row(number, **changes):
    verdict = Verdict(f"{number}.png", "ok", None, number / 8, "normal", None, 0.0, [], (), None)
    return row_of(verdict._replace(**changes), 0.5)


def seal(lot, *index):
    lot.seal(index, [row(number) for number in index])


def rows_of(output):
    return pq.read_table(output / "scores.parquet").to_pylist()


def test_a_whole_lot_leaves_its_tables_and_says_that_it_is_finished(tmp_path):
    with open_lot(tmp_path, ONE, count=5) as lot:
        assert lot.remaining.tolist() == [0, 1, 2, 3, 4]
        seal(lot, 0, 1, 2)
        seal(lot, 3, 4)
        assert not (tmp_path / "scores.csv").exists()
        lot.finish({"a": 1})
    assert rows_of(tmp_path) == [row(number) for number in range(5)]
    with (tmp_path / "scores.csv").open(newline="") as file:
        assert [cells["path"] for cells in csv.DictReader(file)] == [f"{n}.png" for n in range(5)]
    assert json.loads((tmp_path / "summary.json").read_text()) == {"finished": True, "a": 1}
    assert not (tmp_path / "parts").exists() and not (tmp_path / "lot.json").exists()


def test_a_lot_that_was_cut_short_goes_on_with_what_has_no_row(tmp_path):
    with open_lot(tmp_path, ONE, count=6) as lot:
        seal(lot, 0, 1)
        seal(lot, 4)
    with open_lot(tmp_path, ONE, count=6) as lot:
        assert lot.remaining.tolist() == [2, 3, 5] and lot.before == 3
        seal(lot, 2, 3, 5)
        lot.finish({})
    assert rows_of(tmp_path) == [row(number) for number in range(6)]


def test_engines_may_seal_parts_in_any_order(tmp_path):
    for order in ([0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 0, 1]):
        with open_lot(tmp_path / f"{order}", ONE, count=8) as lot:
            for part in order:
                seal(lot, 2 * part, 2 * part + 1)
            lot.finish({})
    tables = [(tmp_path / f"{o}/scores.csv").read_bytes() for o in ([0, 1, 2, 3], [3, 1, 0, 2])]
    assert tables[0] == tables[1]
    assert rows_of(tmp_path / "[2, 3, 0, 1]") == [row(number) for number in range(8)]


def test_a_stop_leaves_the_rows_so_far_and_says_that_they_are_not_all(tmp_path):
    with open_lot(tmp_path, ONE, count=3) as lot:
        seal(lot, 0)
        lot.finish({})
    assert json.loads((tmp_path / "summary.json").read_text())["finished"] is False
    assert rows_of(tmp_path) == [row(0)]
    with open_lot(tmp_path, ONE, count=3) as lot:
        assert not (tmp_path / "summary.json").exists()
        assert not (tmp_path / "scores.csv").exists()
        seal(lot, 1, 2)
        lot.finish({})
    assert json.loads((tmp_path / "summary.json").read_text())["finished"] is True


@pytest.mark.parametrize("whole", [True, False])
def test_nothing_of_a_lot_is_left_when_another_begins(tmp_path, whole):
    with open_lot(tmp_path, ONE, count=2) as lot:
        (tmp_path / "maps").mkdir()
        (tmp_path / "maps" / "old.png").write_bytes(b"")
        seal(lot, 0, *([1] if whole else []))
        lot.finish({})
    (tmp_path / "mine.txt").write_text("kept")
    with open_lot(tmp_path, ONE | {"listing": "c"}, count=2) as lot:
        there = {path.name for path in tmp_path.iterdir()}
        assert there == {"lot.json", "mine.txt", ".lock", ".zfn-output"}
        assert lot.remaining.tolist() == [0, 1]


def test_a_lot_that_was_killed_while_it_was_removed_is_removed_whole(tmp_path):
    with open_lot(tmp_path, ONE, count=2) as lot:
        seal(lot, 0)
    (tmp_path / "parts").rename(tmp_path / "parts.partial")
    (tmp_path / "maps.partial").mkdir()
    with open_lot(tmp_path, ONE | {"listing": "c"}, count=2):
        assert not list(tmp_path.glob("*.partial"))


def test_parts_that_are_damaged_or_of_more_images_are_done_again(tmp_path):
    with open_lot(tmp_path, ONE, count=6) as lot:
        for number in range(4):
            seal(lot, number)
    (tmp_path / "parts" / "00000001.parquet").write_bytes(b"PAR1")
    (tmp_path / "parts" / "00000002.parquet.partial").write_bytes(b"")
    assert Lot(tmp_path, 6).remaining.tolist() == [1, 4, 5]
    assert Lot(tmp_path, 3).remaining.tolist() == [1]


def test_two_processes_do_not_write_one_lot(tmp_path):
    with open_lot(tmp_path, ONE, count=1):
        with pytest.raises(UserError, match=r"`--output` \(=.*is in use by process"):
            with open_lot(tmp_path, ONE, count=1):
                pass


def test_what_others_have_there_is_neither_removed_nor_written_through(tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "city.png").write_bytes(b"mine")
    with pytest.raises(UserError, match="maps there is not this program's"):
        with open_lot(tmp_path, ONE, count=1):
            pass
    assert (tmp_path / "maps" / "city.png").read_bytes() == b"mine"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scores.csv").symlink_to("/dev/full")
    with pytest.raises(UserError, match="scores.csv there is not this program's"):
        with open_lot(tmp_path / "out", ONE, count=1):
            pass
    assert not (tmp_path / "out" / "lot.json").exists()


def test_what_an_earlier_version_scored_here_is_replaced(tmp_path):
    (tmp_path / "maps").mkdir()
    (tmp_path / "scores.csv").write_text("path,status,error,score,decision,threshold\n")
    (tmp_path / "summary.json").write_text("{}")
    with open_lot(tmp_path, ONE, count=1):
        assert not (tmp_path / "summary.json").exists() and not (tmp_path / "maps").exists()


def test_what_a_lot_leaves_is_marked_as_the_programs_own(tmp_path):
    with open_lot(tmp_path, ONE, count=1) as lot:
        seal(lot, 0)
        lot.finish({})
    assert {path.name for path in tmp_path.iterdir()} <= own_names(tmp_path)
    assert {"maps", "parts", "lot.json"} <= own_names(tmp_path)


def test_a_folder_that_was_removed_under_way_is_one_message(tmp_path):
    output = tmp_path / "out"
    with open_lot(output, ONE, count=3) as lot:
        seal(lot, 0)
        for path in sorted(output.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        output.rmdir()
        with pytest.raises(UserError, match="was removed while the lot ran, and the rows of 1"):
            seal(lot, 1)
    assert not output.exists()


def test_a_disk_that_is_full_keeps_the_rows_so_far_and_says_so(tmp_path, monkeypatch):
    with open_lot(tmp_path, ONE, count=3) as lot:
        seal(lot, 0)
        full = {"write_table": _full, "ParquetWriter": _full}
        with monkeypatch.context() as patch:
            for name, function in full.items():
                patch.setattr(pq, name, function)
            for act in (lambda: seal(lot, 1), lambda: lot.finish({})):
                with pytest.raises(UserError) as refused:
                    act()
                text = str(refused.value)
                assert f"`--output` (={tmp_path})" in text and "No space left on device" in text
                assert "free disk space" in text and "The rows of 1 of 3 images are kept" in text
    assert not list(tmp_path.rglob("*.partial")) and not (tmp_path / "summary.json").exists()
    assert Lot(tmp_path, 3).remaining.tolist() == [1, 2]


def _full(*_, **__):
    raise OSError(28, os.strerror(28))


def test_an_output_that_cannot_be_made_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"`--output` \(=.*cannot be written \(Not a directory\)"):
        with open_lot(tmp_path / "file" / "out", ONE, count=1):
            pass


def test_rows_are_counted_from_what_is_sealed(tmp_path):
    rows = [
        row(0),
        row(1, decision="inspect", review="person", clipped=0.5),
        row(2, status="error", decision="inspect", clipped=None),
        row(3, clipped=0.125),
    ]
    with open_lot(tmp_path, ONE, count=4) as lot:
        lot.seal(range(4), rows)
        counts, clipped = lot.count_rows(clipped=0.25)
    assert counts == {"ok": 3, "error": 1, "normal": 2, "inspect": 2, "person": 1}
    assert clipped == {"images": 2, "beyond": 1, "largest": 0.5, "normals": 0.25}


def test_a_lot_is_known_by_detector_images_and_options(tmp_path):
    detector, images = tmp_path / "detector", tmp_path / "images"
    detector.mkdir()
    images.mkdir()
    (detector / "MANIFEST.json").write_text("{}")
    for name in "ab":
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(images / f"{name}.png")
    data = small_config(data={"image_size": 16}).data

    def identity(*names, **options):
        return identify(detector, FileSource(images, names, data), **options)

    one = identity("a.png", "b.png", maps=True)
    assert one == identity("a.png", "b.png", maps=True)
    others = [identity("a.png", maps=True), identity("b.png", "a.png", maps=True)]
    others.append(identity("a.png", "b.png", maps=False))
    os.utime(images / "a.png", (1, 1))
    others.append(identity("a.png", "b.png", maps=True))
    (detector / "MANIFEST.json").write_text("{ }")
    others.append(identity("a.png", "b.png", maps=True))
    assert one not in others and len({json.dumps(other) for other in others}) == len(others)
