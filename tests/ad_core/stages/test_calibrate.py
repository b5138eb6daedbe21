"""What the profile of normal maps changes of a detector, and what it leaves alone."""

import numpy as np
import pytest
from PIL import Image

from ad_core.decision.table import read_table
from ad_core.runtime.stop import Stop
from ad_core.scoring.files import load_detector, load_parts
from ad_core.stages.calibrate import recalibrate, run_calibration
from ad_core.stages.job import prepare
from ad_core.stages.train import run_training
from tests.small_config import small_config

SIDE = 16


def picture(rng, abnormal):
    """Grey noise with a border that varies from image to image; a dim spot where abnormal."""
    pixels = rng.integers(100, 120, (SIDE, SIDE))
    pixels[:2] = rng.integers(20, 240, (2, SIDE))
    if abnormal:
        pixels[10, 6] = 200
    return pixels.astype(np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for kind, count in (("train/good", 24), ("train/bad", 8), ("test/good", 2), ("test/bad", 2)):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            shown = picture(rng, kind.endswith("bad"))
            Image.fromarray(shown).save(folder / kind / f"{number}.png")
    return folder


def job_of(root, position, workdir):
    config = small_config(
        method="tests.toys.recalling",
        data={"root": str(root), "image_size": SIDE, "workers": 1},
        statistics={"names": ("loss",)},
        localisation={"position": position, "sigma": 0.0},
        decision={"classifier": "logistic_regression", "folds": 2, "rule": "accuracy"},
        score={"batch_size": 8, "workers": 1},
    )
    job = prepare(config, workdir, Stop())
    run_calibration(job, run_training(job))
    return job


@pytest.fixture(scope="module")
def jobs(root, tmp_path_factory):
    return {p: job_of(root, p, tmp_path_factory.mktemp(p)) for p in ("none", "auto")}


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(5)
    shown = np.stack([picture(rng, abnormal=True) for _ in range(6)])
    return (shown[..., None] / 127.5 - 1).astype(np.float32)


def test_maps_change_and_no_bit_of_what_decides(jobs, images):
    raw, told = (load_detector(jobs[p].workdir.detector, batch_size=8) for p in ("none", "auto"))
    tables = [read_table(jobs[p].workdir.statistics("calibration")) for p in ("none", "auto")]
    np.testing.assert_array_equal(tables[0].values, tables[1].values)
    assert raw.parts.thresholds == told.parts.thresholds
    before, after = raw.score(images), told.score(images)
    for name in ("score", "decision", "statistics"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    # Calibrating images chose it: the border was the hottest place, and now the spot is.
    spot = 10 * SIDE + 6
    assert (before.anomaly_map.reshape(6, -1).argmax(axis=1) != spot).all()
    assert (after.anomaly_map.reshape(6, -1).argmax(axis=1) == spot).all()
    profile = told.parts.profile
    np.testing.assert_array_equal(after.anomaly_map, profile(before.anomaly_map))
    verdicts = told.judge((images + 1) / 2, value_range=(0, 1), explain=False)
    assert sum(v.regions != [] for v in verdicts) >= 5


def test_calibrating_again_keeps_the_profile(root, tmp_path):
    job = job_of(root, "mean", tmp_path)
    before = load_parts(job.workdir.detector)
    recalibrate(job)
    after = load_parts(job.workdir.detector)
    assert before.scale == after.scale
    for one, other in zip(before.profile, after.profile, strict=True):
        np.testing.assert_array_equal(one, other)
