"""A lot that is cut short, as processes of their own, and what its output says."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ad_core.errors import UserError
from ad_core.runtime import sealed
from ad_core.scoring.engines import local
from ad_core.scoring.engines.local import score_files

ROOT = Path(__file__).parents[2]
# The real script, with blocks so small that a lot of the tests has many parts; no file may then
# grow beyond so many bytes, as on a disk that is full, unless that is 0.
SMALL = """
import resource, runpy, sys
from ad_core.scoring.engines import local
local.BLOCK, largest = map(int, sys.argv[1:3])
if largest:
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
sys.argv = sys.argv[3:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def images(tmp_path):
    """Draws a lot of small images."""

    def draw(count):
        root = tmp_path / "images"
        root.mkdir()
        rng = np.random.default_rng(0)
        for number in range(count):
            values = rng.integers(0, 256, (40, 40), dtype=np.uint8)
            Image.fromarray(values).save(root / f"{number:04}.png")
        (root / "0001.png").write_bytes(b"no image")
        return root

    return draw


@pytest.fixture
def start(workdir, tmp_path):
    """Starts a scoring with maps, on one device, in blocks of so many images."""
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}

    def start(images, output, *, block, largest=0):
        command = [sys.executable, "-c", SMALL, block, largest, ROOT / "launch" / "score.py"]
        command = [*command, f"--detector={workdir / 'detector'}", f"--input={images}"]
        command = [*command, f"--output={output}", "--maps", "--batch_size=8", "--workers=1"]
        with (tmp_path / "log").open("a") as log:
            return subprocess.Popen(
                list(map(str, command)), env=environment, stdout=log, stderr=log
            )

    return start


def rows_of(output):
    return pq.read_table(output / "scores.parquet").to_pylist()


def content(output):
    """What a user finds, without what a clock says."""
    files = {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.name not in ("summary.json", "scores.parquet", ".lock")
    }
    summary = json.loads((output / "summary.json").read_text())
    kept = {key: summary[key] for key in ("finished", "counts", "clipped", "left_out")}
    return rows_of(output), files, kept


def check_unfinished(output, names):
    """Nothing that a kill leaves is torn, or says that it is whole."""
    assert not (output / "summary.json").exists()
    for part in (output / "parts").glob("*.parquet"):
        assert pq.read_table(part).num_rows
    for picture in (output / "maps").rglob("*.png"):
        with Image.open(picture) as image:
            image.load()
        assert picture.name.removesuffix(".png").removesuffix(".heat") in names


def kill_and_go_on(start, images, output, *, block, kills, seed):
    """Kills `kills` times at random moments, the same command each time; how far each came."""
    rng, names, reached = np.random.default_rng(seed), set(os.listdir(images)), []
    for number in range(kills):
        process = start(images, output, block=block)
        before = len(list((output / "parts").glob("*.parquet")))
        # Every other time somewhere in its start, else once it has sealed a part: later and later.
        last = time.monotonic() + (rng.uniform(0, 6) if number % 2 == 0 else 600)
        while process.poll() is None and time.monotonic() < last:
            if len(list((output / "parts").glob("*.parquet"))) > before:
                time.sleep(rng.uniform(0, 0.05))
                break
            time.sleep(0.005)
        process.kill()
        if process.wait() != -9:
            break
        if (output / "lot.json").exists() and not (output / "summary.json").exists():
            check_unfinished(output, names)
        reached.append(len(list((output / "parts").glob("*.parquet"))))
    return reached


@pytest.mark.slow
def test_a_lot_that_is_killed_goes_on_to_the_rows_of_an_undisturbed_one(start, images, tmp_path):
    root = images(40)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(root, whole, block=8).wait() == 3, (tmp_path / "log").read_text()
    reached = kill_and_go_on(start, root, cut, block=8, kills=4, seed=1)
    assert max(reached) > 0, reached
    assert start(root, cut, block=8).wait() == 3
    assert content(cut) == content(whole)
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_twenty_kills_of_three_hundred_images_leave_no_trace(start, images, tmp_path):
    root = images(300)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(root, whole, block=8).wait() == 3, (tmp_path / "log").read_text()
    # What another lot has left there.
    shutil.copytree(whole, cut)
    (cut / "maps" / "stale.png").write_bytes(b"")
    (root / "0000.png").write_bytes((root / "0002.png").read_bytes())
    assert start(root, whole, block=8).wait() == 3
    reached = kill_and_go_on(start, root, cut, block=8, kills=20, seed=0)
    assert len(set(reached)) > 5, reached
    assert start(root, cut, block=8).wait() == 3
    assert content(cut) == content(whole)
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_full_disk_is_one_message_and_the_command_goes_on(start, images, tmp_path):
    root, output = images(20), tmp_path / "out"
    (root / "0001.png").unlink()
    process = start(root, output, block=64, largest=4000)
    assert process.wait() == 2
    log = (tmp_path / "log").read_text()
    (message,) = [line for line in log.splitlines() if line.startswith("error: ")]
    assert f"`--output` (={output})" in message and "File too large" in message
    assert "free disk space" in message and "Traceback" not in log
    assert not (output / "summary.json").exists()
    assert start(root, output, block=64).wait() == 0
    assert len(rows_of(output)) == 19
    assert {path.name for path in (output / "maps").iterdir()} == {
        f"{name}{end}" for name in os.listdir(root) for end in (".png", ".heat.png")
    }


def test_a_map_that_cannot_be_written_is_told_in_its_row_and_costs_no_other(
    workdir, images, tmp_path
):
    root = images(4)
    longest = "x" * 250 + ".png"
    shutil.copy(root / "0000.png", root / longest)
    summary = score_files(workdir / "detector", root, tmp_path / "out", maps=True, batch_size=8)
    rows = {row["path"]: row for row in rows_of(tmp_path / "out")}
    assert len(rows) == 5 and rows[longest]["status"] == "ok"
    assert rows[longest]["error"].startswith("no map: ")
    assert "File name too long" in rows[longest]["error"]
    assert rows[longest]["score"] == rows["0000.png"]["score"]
    assert summary["counts"]["without_map"] == 1
    assert len(list((tmp_path / "out" / "maps").iterdir())) == 2 * 3
    assert all(
        row["error"] is None for path, row in rows.items() if path not in (longest, "0001.png")
    )


def test_a_lot_whose_rows_are_all_sealed_is_only_merged(workdir, images, tmp_path, monkeypatch):
    root, output = images(5), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(local.Lot, "finish", _cut)
        with pytest.raises(KeyboardInterrupt):
            score_files(workdir / "detector", root, output, batch_size=8)
    assert not (output / "scores.csv").exists()
    monkeypatch.setattr(local, "eval_batches", None)  # nothing is read again
    summary = score_files(workdir / "detector", root, output, batch_size=8)
    assert summary["resumed"] == 5 == len(rows_of(output))
    assert json.loads((output / "summary.json").read_text())["finished"] is True


def _cut(*_):
    raise KeyboardInterrupt


def test_another_detector_or_image_begins_a_new_lot(workdir, images, tmp_path, monkeypatch):
    root, output = images(5), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(local.Lot, "finish", _cut)
        with pytest.raises(KeyboardInterrupt):
            score_files(workdir / "detector", root, output, batch_size=8)
    detector = shutil.copytree(workdir / "detector", tmp_path / "detector")
    manifest = json.loads((detector / sealed.MANIFEST).read_text())
    (detector / sealed.MANIFEST).write_text(json.dumps(manifest, indent=1))
    assert score_files(detector, root, output, batch_size=8)["resumed"] == 0


def test_the_output_below_the_input_is_no_input_of_the_next_lot(workdir, images, tmp_path):
    root = images(3)
    (root / "notes.txt").write_text("no image, and named as none")
    for output in (root / "scored", root / "scored", root):
        summary = score_files(workdir / "detector", root, output, maps=True, batch_size=8)
        assert summary["counts"]["images"] == 3 and summary["counts"]["error"] == 1
        assert summary["left_out"] == ["notes.txt"]


def test_a_folder_that_is_removed_under_way_is_one_message(workdir, images, tmp_path, monkeypatch):
    root, output = images(20), tmp_path / "out"
    monkeypatch.setattr(local, "BLOCK", 8)
    write = local._write_map

    def remove(lot, task, index, *rest):
        if index == 10:
            shutil.rmtree(output)
        return write(lot, task, index, *rest)

    monkeypatch.setattr(local, "_write_map", remove)
    with pytest.raises(UserError, match="was removed while the lot ran, and the rows of 8 images"):
        score_files(workdir / "detector", root, output, maps=True, batch_size=8)
