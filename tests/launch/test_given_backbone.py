"""Memories on networks that the user gives, through the main job: a file, and a trained VQGAN."""

import json
import shutil

import numpy as np
import pytest

from ad_core.backbones import resnet
from ad_core.scoring import load_detector
from tests.ad_core.backbones.test_given import write_pth

METHODS = ("padim", "patchcore")


@pytest.fixture
def memory(job_arguments):
    """The command line of the tiny job without what belongs to its method."""
    return [x for x in job_arguments if ".reconstructor." not in x]


def write_resnet18(path):
    """Drawn weights, as PyTorch before version 1.6 saved them."""
    rng, arrays = np.random.default_rng(0), {}
    for place in resnet.places("resnet18"):
        scale = np.sqrt(2 / np.prod(place.shape[1:]))
        arrays[f"{place.convolution}.weight"] = scale * rng.standard_normal(place.shape)
        for part, value in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            arrays[f"{place.norm}.{part}"] = np.full(place.shape[0], value)
    write_pth(path, {name: x.astype("<f4") for name, x in arrays.items()})


def scores_of(run):
    image = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 1)).astype(np.float32)
    return load_detector(run / "detector", batch_size=8).score(image)


@pytest.mark.slow
def test_memories_on_a_users_resnet_need_its_file_no_more(launch, memory, tmp_path, monkeypatch):
    monkeypatch.setenv("ZFN_CACHE", str(tmp_path / "cache"))
    write_resnet18(tmp_path / "resnet18.pth")
    run, job = (
        tmp_path / "run",
        [*memory, f"--config.method={','.join(f'baselines_ad.{m}' for m in METHODS)}"],
    )
    for name in METHODS:
        job += [f"--config.reconstructor.{name}.backbone=resnet18:{tmp_path}/resnet18.pth"]
        job += [f"--config.reconstructor.{name}.levels=layer2,layer3"]
    job += ["--config.reconstructor.padim.channels=12"]
    assert launch("train", *job, f"--workdir={run}") == 0
    before = scores_of(run)
    (tmp_path / "resnet18.pth").unlink()
    shutil.rmtree(tmp_path / "cache")
    np.testing.assert_array_equal(scores_of(run).statistics, before.statistics)
    assert np.isfinite(before.score).all() and np.ptp(before.statistics, axis=0).min() > 0

    told = json.loads((run / "results.json").read_text())["backbones"]
    assert told == json.loads((run / "detector" / "detector.json").read_text())["backbones"]
    assert set(told) == {f"reconstructor.{name}.backbone" for name in METHODS}
    for facts in told.values():
        assert facts["name"] == "resnet18" and facts["licence"] == "that of the given file"
        assert facts["origin"].startswith("resnet18.pth, a file of SHA-256 ")
    report = (run / "report" / "index.html").read_text()
    assert told["reconstructor.padim.backbone"]["sha256"] in report
    assert launch("calibrate", f"--workdir={run}", "--config.decision.rule=accuracy") == 0
    again = json.loads((run / "detector" / "detector.json").read_text())
    assert again["backbones"] == told


@pytest.mark.slow
def test_a_memory_on_a_users_vqgan_needs_its_detector_no_more(
    launch, workdir, memory, tmp_path, capsys
):
    encoder = shutil.copytree(workdir / "detector", tmp_path / "vqgan" / "detector")
    job = [*memory, "--config.method=baselines_ad.padim", "--config.reconstructor.levels=stage2"]
    job += [f"--config.reconstructor.backbone=vqgan:{encoder}"]
    assert launch("train", *job, f"--workdir={tmp_path / 'refused'}") == 2
    message = capsys.readouterr().err
    assert "was trained with data.calibration.normal = 0.4 and here it is 1.0" in message
    assert "give --config.data.calibration.normal=0.4 here" in message
    job += ["--config.data.calibration.normal=0.4"]
    assert launch("train", *job, "--config.seed=1", f"--workdir={tmp_path / 'refused'}") == 2
    assert "was trained with seed = 0 and here it is 1" in capsys.readouterr().err

    run = tmp_path / "run"
    assert launch("train", *job, f"--workdir={run}") == 0
    before = scores_of(run)
    shutil.rmtree(tmp_path / "vqgan")
    np.testing.assert_array_equal(scores_of(run).statistics, before.statistics)
    assert np.isfinite(before.score).all()
    told = json.loads((run / "results.json").read_text())["backbones"]["reconstructor.backbone"]
    assert told["origin"].startswith(f"the encoder of the VQGAN in {encoder}")
    described = json.loads((run / "detector" / "padim" / "method.json").read_text())
    named = described["config"]["reconstructor"]["backbone"]
    assert named == f"vqgan_ad.backbone:{told['name']}"
