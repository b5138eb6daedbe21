"""A lot in shards comes to what one machine makes of it, whoever scores them and however often."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ad_core.errors import UserError
from ad_core.runtime import sealed
from ad_core.scoring.engines import shards as engine
from ad_core.scoring.engines.local import score_files
from ad_core.scoring.engines.shards import merge_shards, open_shards, score_shard, shard_numbers
from ad_core.scoring.files import load_detector

ROOT = Path(__file__).parents[2]
TIMING = ("images_per_s", "seconds")


def draw_images(root, count):
    """A table of images of which one cannot be read, and one is not there."""
    root.mkdir()
    rng = np.random.default_rng(0)
    names = [f"{number:04}.png" for number in range(count)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (40, 40), np.uint8)).save(root / name)
    (root / names[1]).write_bytes(b"no image")
    (root / names[-2]).unlink()
    pa.csv.write_csv(pa.table({"path": names}), root / "images.csv")
    return root / "images.csv"


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return draw_images(tmp_path_factory.mktemp("shards") / "images", 11)


@pytest.fixture(scope="module")
def local(workdir, images, tmp_path_factory):
    output = tmp_path_factory.mktemp("local") / "scored"
    score_files(workdir / "detector", images, output, maps=True, batch_size=8)
    return output


@pytest.fixture(scope="module")
def loaded():
    """`load_detector`, but once of each folder: its program is then made once, too."""
    return lru_cache(load_detector)


@pytest.fixture
def start(workdir, images, loaded, tmp_path, monkeypatch):
    """Opens the lot as a process of its own does."""
    monkeypatch.setattr(engine, "load_detector", loaded)

    def start(output=tmp_path / "out", *, detector=workdir / "detector", shards=4, **options):
        options = {"maps": True, "batch_size": 8, **options}
        return open_shards(detector, options.pop("given", images), output, shards=shards, **options)

    return start


def content(output):
    """All that a user finds, without what a clock says."""
    made = {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in sorted(output.rglob("*.*"))
        if path.is_file() and path.suffix in (".png", ".csv")
    }
    summary = json.loads((output / "summary.json").read_text())
    for name in TIMING:
        del summary[name]
    return pq.read_table(output / "scores.parquet").to_pylist(), made, summary


def test_shards_in_any_order_are_merged_to_the_last_digit_of_one_machine(start, local, tmp_path):
    for number in (2, 0, 3, 1):
        assert score_shard(start(), number)
    torn = tmp_path / "out" / "shards" / "00001-of-00004.f00.partial"
    (torn / "parts").mkdir(parents=True)
    (torn / "parts" / "00000000.parquet").write_bytes(b"PAR1")
    assert not score_shard(start(), 2)
    merge_shards(start(shards=None))
    assert content(tmp_path / "out") == content(local)
    assert len(list((tmp_path / "out" / "maps").rglob("*.png"))) == 2 * 9
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".lock", ".zfn-output", "maps", "plan.json", "scores.csv", "scores.parquet", "summary.json"
    ]  # fmt: skip
    # What comes late finds nothing to do, and leaves the tables as they are.
    before = (tmp_path / "out" / "summary.json").stat().st_mtime_ns
    assert not score_shard(start(), 1)
    assert merge_shards(start())["counts"]["images"] == 11
    assert (tmp_path / "out" / "summary.json").stat().st_mtime_ns == before


def test_of_two_workers_on_one_shard_the_late_one_drops_its_rows(start, tmp_path, monkeypatch):
    early, late, score = start(), start(), engine.score_lot

    def meanwhile(*given):
        with monkeypatch.context() as patch:
            patch.setattr(engine, "score_lot", score)
            assert score_shard(early, 0)
        score(*given)

    monkeypatch.setattr(engine, "score_lot", meanwhile)
    assert not score_shard(late, 0)
    assert [path.name for path in (tmp_path / "out" / "shards").iterdir()] == ["00000-of-00004"]


def test_a_worker_whose_lot_was_merged_meanwhile_ends_in_peace(start, monkeypatch):
    others, late, score = start(), start(), engine.score_lot

    def meanwhile(*given):
        with monkeypatch.context() as patch:
            patch.setattr(engine, "score_lot", score)
            for number in range(4):
                score_shard(others, number)
            merge_shards(others)
        score(*given)

    monkeypatch.setattr(engine, "score_lot", meanwhile)
    assert not score_shard(late, 3)


def test_another_detector_option_or_image_is_refused(start, workdir, images, tmp_path):
    score_shard(start(), 0)
    other = shutil.copytree(workdir / "detector", tmp_path / "other")
    manifest = json.loads((other / sealed.MANIFEST).read_text())
    (other / sealed.MANIFEST).write_text(json.dumps(manifest, indent=1))
    with pytest.raises(UserError, match="differs in: detector. Give the command"):
        start(detector=other)
    with pytest.raises(UserError, match="differs in: --maps, --shards"):
        start(maps=False, shards=5)
    with pytest.raises(UserError, match="differs in: images in --input, --input"):
        start(given=images.parent)
    copy = shutil.copytree(images.parent, tmp_path / "copy")
    plan = start(tmp_path / "changed", given=copy / "images.csv")
    Image.new("L", (40, 40)).save(copy / "0000.png")
    assert score_shard(plan, 3)
    with pytest.raises(UserError, match="images of shard 0 have another size or time of change"):
        score_shard(plan, 0)


def test_a_merge_names_the_shards_that_are_missing_or_damaged(start, tmp_path):
    for number in (0, 2):
        score_shard(start(), number)
    with pytest.raises(UserError, match="2 of 4 shards are not finished.*--shards=4 --shard=1,3"):
        merge_shards(start())
    for number in (1, 3):
        score_shard(start(), number)
    rows = tmp_path / "out" / "shards" / "00002-of-00004" / "rows.parquet"
    whole = rows.read_bytes()
    rows.write_bytes(whole[:-9])
    with pytest.raises(UserError, match="was changed or damaged; remove it, give --shard=2 again"):
        merge_shards(start())
    shutil.rmtree(rows.parent)
    shutil.copytree(rows.parents[1] / "00001-of-00004", rows.parent)
    with pytest.raises(UserError, match="is of another lot"):
        merge_shards(start())


def test_a_merge_that_was_killed_goes_on(start, local, tmp_path, monkeypatch):
    for number in range(4):
        score_shard(start(), number)
    move, moved = engine._move_maps, []

    def killed(source, target):
        move(source, target)
        moved.append(source)
        if len(moved) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(engine, "_move_maps", killed)
        with pytest.raises(KeyboardInterrupt):
            merge_shards(start())
    merge_shards(start())
    assert content(tmp_path / "out") == content(local)


def test_a_folder_holds_a_lot_of_one_kind(start, workdir, images, local, tmp_path):
    score_shard(start(), 0)
    with pytest.raises(UserError, match="holds a lot that is scored in shards"):
        score_files(workdir / "detector", images, tmp_path / "out", batch_size=8)
    with pytest.raises(UserError, match="holds .zfn-output, which is no part of a lot in shards"):
        start(local)
    with pytest.raises(UserError, match="holds no lot in shards"):
        start(tmp_path / "empty", shards=None)
    with pytest.raises(UserError, match=r"`--shards` \(=12\) must lie from 1 to .*\(=11\)"):
        start(tmp_path / "empty", shards=12)
    with pytest.raises(UserError, match=r"`--shard` \(=4\) must lie from 0 to 3"):
        score_shard(start(), 4)


def test_the_launcher_tells_a_process_its_shard():
    assert shard_numbers("0,4,8", {"SLURM_ARRAY_TASK_ID": "5"}) == [0, 4, 8]
    assert shard_numbers(None, {"SLURM_ARRAY_TASK_ID": "5"}) == [5]
    assert shard_numbers(None, {"JOB_COMPLETION_INDEX": "7"}) == [7]
    with pytest.raises(UserError, match="`--shard` is missing"):
        shard_numbers(None, {})
    with pytest.raises(UserError, match=r"`--shard` \(=a\) must be a number"):
        shard_numbers("a", {})


def test_the_command_scores_shards_and_merges_them(
    launch, workdir, local, images, tmp_path, capsys
):
    files = [f"--detector={workdir / 'detector'}", f"--input={images}"]
    files += [f"--output={tmp_path / 'out'}", "--maps", "--batch_size=8"]
    assert launch("score", *files, "--shards=3", "--shard=0,2") == 0
    assert "2 of 3 shards are finished" in capsys.readouterr().out
    assert launch("score", *files, "--merge") == 2
    assert "--shards=3 --shard=1" in capsys.readouterr().err
    os.environ["JOB_COMPLETION_INDEX"] = "1"
    try:
        assert launch("score", *files, "--shards=3") == 0
    finally:
        del os.environ["JOB_COMPLETION_INDEX"]
    assert launch("score", *files, "--merge") == 3  # two images could not be read
    assert content(tmp_path / "out") == content(local)
    for wrong in (("--merge", "--shard=1"), ("--shard=1",)):
        assert launch("score", *files, *wrong) == 2


@pytest.fixture
def process(workdir, tmp_path):
    """Starts launch/score.py in a process of its own."""
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}

    def process(given, output, *flags):
        command = [sys.executable, ROOT / "launch" / "score.py", "--maps", "--batch_size=8"]
        command += [f"--detector={workdir / 'detector'}", f"--input={given}", f"--output={output}"]
        with (tmp_path / "log").open("a") as log:
            return subprocess.Popen(
                list(map(str, [*command, *flags])), env=environment, stdout=log, stderr=log
            )

    return process


def finished(output):
    return sorted(path.name for path in (output / "shards").glob("*") if path.suffix != ".partial")


def wait_until(condition, seconds=300):
    last = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < last
        time.sleep(0.02)


@pytest.mark.slow
def test_three_processes_on_eight_shards_of_which_one_is_killed(process, tmp_path):
    given = draw_images(tmp_path / "images", 60)
    output, whole = tmp_path / "out", tmp_path / "whole"
    assert process(given, whole).wait() == 3
    shares = ("0,3,6", "1,4,7", "2,5,0")
    running = [process(given, output, "--shards=8", f"--shard={share}") for share in shares]
    wait_until(lambda: len(finished(output)) >= 2)
    running[1].kill()
    assert [each.wait() for each in running] == [0, -signal.SIGKILL, 0]
    assert process(given, output, "--merge").wait() == 2
    assert process(given, output, "--shards=8", "--shard=1,4,7").wait() == 0
    assert process(given, output, "--merge").wait() == 3
    assert content(output) == content(whole)
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_ends_with_the_table_of_one_machine_whatever_dies(process, workdir, tmp_path):
    pytest.importorskip("ray")
    given = draw_images(tmp_path / "images", 36)
    output, whole = tmp_path / "out", tmp_path / "whole"
    assert process(given, whole).wait() == 3
    flags = ("--engine=ray", "--actors=3", "--shards=12")
    driver = process(given, output, *flags)
    wait_until(lambda: driver.poll() is not None or len(finished(output)) >= 1)
    _workers_of(driver.pid)[0].kill()
    before = len(finished(output))
    wait_until(lambda: driver.poll() is not None or len(finished(output)) > before + 1)
    workers = _workers_of(driver.pid)
    driver.kill()
    driver.wait()
    _, alive = psutil.wait_procs(workers, timeout=120)  # each ends with the shard that it is at
    assert not alive
    done = finished(output)
    assert 3 <= len(done) < 12
    changed = shutil.copytree(workdir / "detector", tmp_path / "changed")
    manifest = json.loads((changed / sealed.MANIFEST).read_text())
    (changed / sealed.MANIFEST).write_text(json.dumps(manifest, indent=1))
    assert process(given, output, *flags, f"--detector={changed}").wait() == 2
    assert "differs in: detector" in (tmp_path / "log").read_text()
    assert finished(output) == done
    assert process(given, output, *flags).wait() == 3, (tmp_path / "log").read_text()
    assert content(output) == content(whole)


def _workers_of(driver):
    """Processes of the actors below a driver that is scoring."""
    return [
        child
        for child in psutil.Process(driver).children(recursive=True)
        if "ray::_Scorer" in " ".join(child.cmdline())
    ]
