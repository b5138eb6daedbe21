import json
import subprocess
import sys

import pytest

from ad_core.runtime.workdir import Workdir
from ad_core.stages.finished import (
    forget_results,
    is_finished,
    mark_command,
    mark_finished,
    tell_finished,
)


@pytest.fixture
def workdir(tmp_path):
    """Of a run that is finished, as far as its files tell."""
    run = Workdir(tmp_path / "run")
    figures = {"tp": 1, "fn": 0, "fp": 0, "tn": 1, "fpr": 0.0, "guarantee": None}
    results = {"rule": "zfn", "held_out": {"zfn": figures}}
    for path, text in (
        (run.config, "{}"),
        (run.detector / "MANIFEST.json", "{}"),
        (run.results, json.dumps(results)),
        (run.report, "page"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for stage in ("calibrate", "evaluate"):
        mark_finished(run, stage)
    return run


def test_a_stage_is_finished_while_its_files_are_the_same(workdir):
    assert is_finished(workdir, "calibrate") and is_finished(workdir, "evaluate")
    workdir.results.write_text("{}")
    assert is_finished(workdir, "calibrate") and not is_finished(workdir, "evaluate")
    (workdir.detector / "MANIFEST.json").write_text("[]")
    assert not is_finished(workdir, "calibrate")
    assert not is_finished(Workdir(workdir.root / "other"), "evaluate")


def test_a_detector_to_be_replaced_takes_its_results_along(workdir):
    forget_results(workdir)
    assert not workdir.results.exists() and not workdir.report.parent.exists()
    assert not is_finished(workdir, "calibrate")
    assert workdir.config.exists() and workdir.detector.exists()
    forget_results(workdir)  # there is nothing left to forget


def test_a_finished_command_is_told_by_its_words(workdir, tmp_path, capsys):
    recipe = tmp_path / "own.py"
    recipe.write_text("RECIPE = {}")
    argv = ["prog", f"--config={recipe}:cpu", "--config.seed=1", f"--workdir={workdir.root}"]
    assert not tell_finished(argv)
    mark_command(workdir, argv, "evaluate")
    assert tell_finished(argv)
    assert tell_finished([argv[0], "--workdir", str(workdir.root), *argv[1:3]])
    out = capsys.readouterr().out
    assert "nothing is computed again" in out and "none of 1 defective part" in out
    assert not tell_finished([*argv, "--config.seed=2"])
    recipe.write_text("RECIPE = {'seed': 3}")
    assert not tell_finished(argv)
    recipe.write_text("RECIPE = {}")
    workdir.report.unlink()
    assert not tell_finished(argv)


def test_the_answer_needs_no_jax():
    code = "import ad_core.stages.finished, sys; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
