"""The benchmark as a process: killed and started again, with what fails and what is missing."""

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ad_core.scoring.pictures import png_uri

ROOT = Path(__file__).parents[2]
RECIPE = '''"""A small recipe."""

RECIPE = {"name": "small", "method": "baselines_ad.blur", "data": {"channels": 1}}
'''
# Two of the methods are one: whatever happens to a run, both must come to the same figures.
BENCHMARK = '''"""A small benchmark."""

SMALL = {
    "data": {"image_size": 32, "workers": 1},
    "statistics": {"names": ("mse", "residual_abs_max", "residual_std")},
    "decision": {"folds": 3, "classifier": "logistic_regression"},
    "score": {"batch_size": 8, "workers": 1},
}
BLUR = {"method": "baselines_ad.blur", "settings": SMALL, "scores": {"MSE": "mse"}}
BENCHMARK = {"name": "small", "title": "A small one", "size": "cpu", "parallel": 1, "seeds": (3,)}
METHODS = {
    "blur": BLUR | {"title": "blur"},
    "broken": BLUR | {"title": "broken", "settings": {"statistics": {"names": ("unheard_of",)}}},
    "again": BLUR | {"title": "blur again"},
}
SETS = {
    "screw": {"recipe": "small.py", "folders": ("screws",)},
    "gone": {"recipe": "small.py", "folders": ("nowhere",)},
}
PUBLISHED = "fig3"
'''
NO_FIGURES = ("minutes", "peak_gb", "images_per_s")  # that two runs could share


def draw(path, seed, *, spot):
    rng = np.random.default_rng(seed)
    rows = np.sin(np.arange(32)[:, None] / 4 + rng.uniform(0, 6)) * np.ones(32)
    image = 127 + 60 * rows + rng.normal(0, 8, (32, 32))
    if spot:
        y, x = rng.integers(4, 24, 2)
        image[y : y + 4, x : x + 4] += rng.uniform(20, 90)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Arguments of the benchmark but for --workdir; its file, its recipe and its images."""
    root = tmp_path_factory.mktemp("benchmark")
    for folder, count, seed in (("train/good", 14, 0), ("test/good", 8, 50), ("test/dot", 8, 99)):
        for number in range(count):
            path = root / "sets" / "screws" / folder / f"{number}.png"
            draw(path, seed + number, spot=folder == "test/dot")
    masks = root / "sets" / "screws" / "ground_truth" / "dot"
    masks.mkdir(parents=True)
    for number in range(8):
        Image.fromarray(np.uint8(255 * np.eye(32))).save(masks / f"{number}_mask.png")
    (root / "small.py").write_text(RECIPE)
    (root / "benchmark_small.py").write_text(BENCHMARK)
    return [f"--config={root}/benchmark_small.py", f"--config.root={root / 'sets'}"]


def start(given, workdir):
    """A process of its own, whose runs compile once for all."""
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    command = [sys.executable, ROOT / "launch" / "benchmark.py", *given, f"--workdir={workdir}"]
    with workdir.with_name(f"{workdir.name}.log").open("a") as log:
        return subprocess.Popen(
            command,
            env=environment | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"},
            stdout=log,
            stderr=log,
        )


def wait_for(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def said(path, words):
    return path.is_file() and words in path.read_text()


def holder(cell):
    """Number of the process that holds a cell's workdir; 0 before one does."""
    lock = cell / ".lock"
    return int(lock.read_text() or 0) if lock.is_file() else 0


def is_gone(number):
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"  # ended, and nobody has asked for its status


def figures(workdir):
    """(method, score) -> the figures of its row that two runs share."""
    content = json.loads((workdir / "table.json").read_text())
    return {
        (row["method"], row["score"]): {
            name: of for name, of in row["spreads"].items() if name not in NO_FIGURES
        }
        for row in content["rows"]
    }


@pytest.fixture(scope="module", autouse=True)
def shared_programs():
    """Runs keep whatever they compile for the next one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


@pytest.fixture(scope="module")
def killed(given, launch, tmp_path_factory):
    """Workdir and status of a benchmark that was killed in its last run and started again."""
    workdir = tmp_path_factory.mktemp("killed") / "run"
    process = start(given, workdir)
    last = workdir / "cells" / "screw" / "again"
    wait_for(lambda: said(last / "3.log", "learn") or process.poll() is not None)
    process.kill()
    assert process.wait() == -9, (workdir.parent / "run.log").read_text()
    assert not (last / "3" / "results.json").exists(), "the last run was not killed"
    wait_for(lambda: is_gone(holder(last / "3")))
    first = (last.parent / "blur" / "3" / "results.json").stat()
    status = launch("benchmark", *given, f"--workdir={workdir}")
    assert (last.parent / "blur" / "3" / "results.json").stat().st_mtime_ns == first.st_mtime_ns
    return workdir, status


def test_a_killed_benchmark_goes_on_and_a_run_that_was_cut_comes_to_the_same(killed):
    rows = figures(killed[0])
    assert set(rows) == {(m, s) for m in ("blur", "blur again") for s in ("all", "MSE")}
    assert rows["blur", "all"] == rows["blur again", "all"]
    assert rows["blur", "MSE"] == rows["blur again", "MSE"]
    assert 0.5 < rows["blur", "all"]["auc"]["mean"] <= 1


def test_each_set_with_masks_has_a_picture_of_every_method_that_ran(killed):
    picture = killed[0] / "localisation" / "screw.png"
    rows = 2 * (3 + 1)  # methods that ran, three abnormal images and a normal one
    with Image.open(picture) as opened:
        assert opened.height > rows * 160
    page = (killed[0] / "index.html").read_text()
    assert f'src="{png_uri(picture.read_bytes())}"' in page


def test_what_fails_and_what_is_missing_are_rows_and_the_status_is_1(killed):
    workdir, status = killed
    assert status == 1
    troubles = json.loads((workdir / "table.json").read_text())["troubles"]
    gone, broken = troubles
    assert (gone["set"], gone["method"], gone["seeds"]) == ("gone", "", [])
    assert "nowhere: no such folder." in gone["reason"]
    assert (broken["method"], broken["seeds"]) == ("broken", [3])
    assert "unheard_of" in broken["reason"] and "\n" not in broken["reason"]
    text = (workdir / "table.md").read_text()
    assert gone["reason"] in text and broken["reason"].replace("|", "\\|") in text


def test_the_tables_hold_costs_seeds_versions_and_the_posters_rows(killed):
    workdir, _ = killed
    content = json.loads((workdir / "table.json").read_text())
    (run,) = [r for r in content["runs"] if (r["method"], r["score"]) == ("blur", "all")]
    assert run["seed"] == 3 and run["figures"]["minutes"] > 0
    assert 0.05 < run["figures"]["peak_gb"] < 16 and run["figures"]["images_per_s"] > 0
    assert content["about"]["seeds"] == "3" and "jax " in content["about"]["versions"]
    rows = list(csv.DictReader(io.StringIO((workdir / "table.csv").read_text())))
    stated = {r["method"]: float(r["auc_mean"]) for r in rows if r["source"] == "published"}
    assert stated["PatchCore"] == pytest.approx(0.8483)
    assert "84.8" in (workdir / "index.html").read_text()


def test_a_finished_benchmark_runs_nothing_again(killed, given, launch, capsys):
    workdir, _ = killed
    arguments = [*given, "--config.methods=blur,again", "--config.sets=screw"]
    assert launch("benchmark", *arguments, f"--workdir={workdir}") == 0
    told = capsys.readouterr().out
    assert "2 of 2 runs are finished from before" in told and "started" not in told


def test_a_missing_set_alone_is_status_3(given, launch, tmp_path, capsys):
    assert launch("benchmark", *given, "--config.sets=gone", f"--workdir={tmp_path}") == 3
    assert "gone is missing: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.methods=blurr", "'blurr'.*known: blur, broken, again"),
        ("--config.sets=screws", "'screws'.*known: screw, gone"),
        ("--config.seeds=one", "whole numbers"),
        ("--config.size=huge", "cpu, accelerator"),
        ("--config.root=/nowhere", "no such folder"),
        ("--config.colour=red", "config.colour"),
    ],
)
def test_a_mistake_is_one_message_and_runs_nothing(
    argument, message, given, launch, tmp_path, capsys
):
    workdir = tmp_path / "run"
    assert launch("benchmark", *given, argument, f"--workdir={workdir}") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and re.search(message, line)
    assert not (workdir / "cells").exists()


def test_a_benchmark_needs_a_file(launch, tmp_path, capsys):
    assert launch("benchmark", f"--workdir={tmp_path}") == 2
    assert "configs/benchmark_quick.py" in capsys.readouterr().err


@pytest.mark.slow
def test_ten_kills_at_random_moments_end_with_the_same_table(given, tmp_path):
    rng = np.random.default_rng(0)
    given = [*given, "--config.methods=blur,again", "--config.sets=screw", "--config.seeds=0,1"]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(given, whole).wait() == 0
    kills = 0
    for _ in range(10):
        process = start(given, cut)
        time.sleep(rng.uniform(1, 12))
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert start(given, cut).wait() == 0
    assert kills >= 5
    assert figures(cut) == figures(whole)
    assert (cut / "table.csv").read_text().count("\n") == (
        (whole / "table.csv").read_text().count("\n")
    )
