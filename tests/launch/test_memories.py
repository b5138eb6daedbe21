"""Methods that learn in one pass through the main job: alone, in a composite, resumed, loaded."""

import json

import numpy as np
import pytest

from ad_core.scoring import load_detector
from tests.baselines_ad import toy_backbone

TOY = "tests.baselines_ad.toy_backbone:toy"
COMPOSITE = "vqgan_ad.vqgan,baselines_ad.padim,baselines_ad.patchcore,baselines_ad.gaussian"


@pytest.fixture(scope="session")
def phantom(job_arguments):
    """The command line of the tiny job without what belongs to its method."""
    return [x for x in job_arguments if ".reconstructor." not in x]


def scores_of(run):
    image = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 1)).astype(np.float32)
    detector = load_detector(run / "detector", batch_size=8)
    return detector, detector.score(image)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["padim", "patchcore", "gaussian"])
def test_a_memory_alone_is_trained_resumed_and_loaded(name, launch, phantom, tmp_path, monkeypatch):
    job = [*phantom, f"--config.method=baselines_ad.{name}"]
    job += [f"--config.reconstructor.backbone={TOY}"]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert launch("train", *job, f"--workdir={whole}") == 0
    assert launch("train", *job, f"--workdir={resumed}", "--until=calibrate") == 0

    def missing(spec):
        raise AssertionError("weights are read again")

    monkeypatch.setattr(toy_backbone, "load", missing)
    assert launch("train", *job, f"--workdir={resumed}") == 0
    (detector, once), (_, again) = scores_of(whole), scores_of(resumed)
    np.testing.assert_array_equal(once.statistics, again.statistics)
    np.testing.assert_array_equal(once.score, again.score)
    assert {"loss_score"} < set(detector.names) and np.isfinite(once.score).all()
    results = json.loads((whole / "results.json").read_text())
    assert 0 <= results["oracle"]["auc"] <= 1
    assert (whole / "report" / "index.html").is_file()


@pytest.mark.slow
def test_memories_stand_beside_a_generator_and_one_of_them_localises(
    launch, job_arguments, tmp_path
):
    own = [x.replace(".reconstructor.", ".reconstructor.vqgan.") for x in job_arguments]
    names = ("padim", "patchcore", "gaussian")
    settings = [f"--config.reconstructor.{name}.backbone={TOY}" for name in names]
    method = [f"--config.method={COMPOSITE}", "--config.localisation.map=padim"]
    run = tmp_path / "run"
    assert launch("train", *own, *method, *settings, f"--workdir={run}") == 0
    detector, scores = scores_of(run)
    expected = {"mse", "padim.loss_score", "patchcore.loss_top", "gaussian.loss_distance_stage3"}
    assert expected < set(detector.names)
    assert np.isfinite(scores.statistics).all()
