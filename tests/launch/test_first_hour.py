"""A folder of photos and nothing else, as a newcomer has it."""

import json
import shlex

import numpy as np
import pytest
from PIL import Image

from tests.launch.conftest import ROOT


def draw(path, seed, *, width=40, spot=False):
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 10, (32, width))
    if spot:
        image[8:20, 8:20] += 120
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture
def small(job_arguments):
    """The recipe for any folder, made as small as the main job of the tests."""
    own = [argument for argument in job_arguments if not argument.startswith("--config=")]
    drawn = [argument for argument in own if "phantom" not in argument]
    return (f"--config={ROOT}/configs/folder.py:cpu", *drawn)


def test_two_folders_become_a_detector_by_one_command(launch, small, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(24):
        draw(tmp_path / f"parts/OK/{number}.png", number, width=32 + 16 * (number % 2))
    for number in range(16):
        draw(tmp_path / f"parts/not ok/{number}.png", 100 + number, spot=True)
    assert launch("train", "parts", *small) == 0
    out = capsys.readouterr().out
    for words in (
        "normal    24 images, in OK",
        "abnormal  16 images: not ok 16",
        "chosen: data.protocol=cyclegan_ad",
        "chosen: data.resize=letterbox",
        "of 8 defective parts slipped through",
        "Of 1,000 defective parts up to",
    ):
        assert words in out, words
    assert json.loads((tmp_path / "runs/parts/results.json").read_text())["name"] == "parts"
    said = next(line for line in out.splitlines() if line.strip().startswith("python "))
    assert launch("train", *shlex.split(said)[2:]) == 0  # every choice said: the same run
    assert "nothing is computed again" in capsys.readouterr().out
    assert launch("train", "parts", *small) == 0
    assert "nothing is computed again" in capsys.readouterr().out
    for number in range(3):
        draw(tmp_path / f"other/parts/{number}.png", number)
    assert launch("train", "other/parts") == 2
    assert "holds a run on other images" in capsys.readouterr().err


def test_normal_images_alone_train_and_one_that_is_broken_is_left_out(
    launch, small, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for number in range(24):
        draw(tmp_path / f"parts/{number:02}.png", number)
    (tmp_path / "parts/05.png").write_bytes(b"broken")
    (tmp_path / "parts/17.png").write_bytes(b"broken")
    assert launch("train", "parts", "--config.data.unreadable=refuse", *small) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "2 images to learn from cannot be read: 05.png, 17.png." in error
    assert launch("train", "parts", *small) == 0
    out = capsys.readouterr().out
    for words in (
        "normal    24 images, in no folder",
        "chosen: decision.rule=normal_quantile",
        "warning: 2 images cannot be read and left out of training:",
        "no test images: the run ends after calibration",
        "nothing has judged it yet",
    ):
        assert words in out, words
    results = json.loads((tmp_path / "runs/parts/results.json").read_text())
    assert results["judged_on"] is None and results["counts"]["left_out"] == 2
    assert results["counts"]["test"] == {"normal": 0, "abnormal": 0}
    assert results["held_out"]["normal_quantile"]["fitted_on"]["normal"] > 0
    page = (tmp_path / "runs/parts/report/index.html").read_text()
    assert "No image was left to test this detector" in page


def test_a_question_is_one_message(launch, tmp_path, capsys):
    draw(tmp_path / "a/1.png", 0)
    draw(tmp_path / "b/1.png", 1)
    assert launch("train", tmp_path) == 2
    error = capsys.readouterr().err
    assert "which of its folders hold normal images?" in error and error.count("\n") == 1
    for argv in ((tmp_path / "gone",), ()):
        assert launch("train", *argv) == 2
        assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("command", ["train", "inspect_data"])
def test_a_flag_that_is_not_there_is_told_before_the_images_are_looked_at(
    command, launch, tmp_path, capsys
):
    draw(tmp_path / "ok/1.png", 0)
    known = ("--config.seed", "-1", "--config.train.steps=3", "--normal=ok")
    assert launch(command, tmp_path, *known, "--fotos=x") == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err == "error: Unknown command line flag 'fotos'.\n"
