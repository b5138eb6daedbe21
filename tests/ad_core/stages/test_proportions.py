"""A run whose images are wider than high: its sides, its detector, and going on with it."""

import numpy as np
import pytest
from PIL import Image

from ad_core.data.likeness import Likeness
from ad_core.data.shape import image_shape
from ad_core.runtime.config import from_json
from ad_core.runtime.stop import Stop
from ad_core.scoring.files import load_detector
from ad_core.stages.calibrate import run_calibration
from ad_core.stages.job import prepare
from ad_core.stages.train import run_training
from tests.small_config import small_config

WIDTH, HEIGHT = 80, 40


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for kind, count in (("train/good", 12), ("train/bad", 6), ("test/good", 2), ("test/bad", 2)):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(90, 110, (HEIGHT, WIDTH)).astype(np.uint8)
            if kind.endswith("bad"):
                pixels[10:14, 60:64] = 250
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    return folder


def config_of(root, **data):
    return small_config(
        method="tests.toys.recalling",
        data={"root": str(root), "image_size": 32, "workers": 1, **data},
        statistics={"names": ("loss",)},
        decision={"classifier": "logistic_regression", "folds": 2, "rule": "accuracy"},
        score={"batch_size": 8, "workers": 1},
    )


@pytest.fixture(scope="module")
def job(root, tmp_path_factory):
    job = prepare(config_of(root), tmp_path_factory.mktemp("run"), Stop())
    run_calibration(job, run_training(job))
    return job


def test_a_method_that_learns_in_one_pass_sees_images_in_their_proportions(job):
    assert image_shape(job.config.data) == job.source.image_shape == (32, 64, 1)
    written = from_json((job.workdir.root / "config.json").read_text())
    assert (written.data.image_size, written.data.resize) == ("32,64", "stretch")


def test_images_stay_grouped_as_they_were(root, tmp_path, monkeypatch):
    def pairs(source, data):
        records = enumerate(source.records)
        source.records = tuple(r._replace(group=f"pair {n // 2}") for n, r in records)
        return Likeness()

    monkeypatch.setattr("ad_core.stages.job.group_alike", pairs)
    wide = prepare(config_of(root), tmp_path / "wide", Stop()).source
    square = prepare(config_of(root, resize="stretch"), tmp_path / "square", Stop()).source
    assert (wide.image_shape, square.image_shape) == ((32, 64, 1), (32, 32, 1))
    assert wide.records == square.records and wide.records[1].group == "pair 0"


def test_the_detector_keeps_the_sides_and_tells_places_in_the_files_pixels(job, root):
    detector = load_detector(job.workdir.detector)
    (verdict,) = detector.judge([str(root / "test/bad/0.png")])
    assert verdict.map.shape == (32, 64)
    (region,) = [r for r in verdict.regions if r["area"] == max(x["area"] for x in verdict.regions)]
    assert abs(region["x"] - 62) < 6 and abs(region["y"] - 12) < 6


def test_the_same_command_goes_on_and_its_own_configuration_too(job, root):
    again = prepare(config_of(root), job.workdir.root, Stop())
    assert again.config.to_dict() == job.config.to_dict()
    written = from_json((job.workdir.root / "config.json").read_text())
    assert prepare(written, job.workdir.root, Stop()).config.to_dict() == job.config.to_dict()
