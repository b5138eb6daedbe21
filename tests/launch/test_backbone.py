"""Statistics in features of a backbone, through the whole main job."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.backbones import load_backbone
from ad_core.errors import UserError
from ad_core.runtime.keys import image_keys
from ad_core.scoring import load_detector
from ad_core.scoring.files import load_method
from ad_core.statistics import Context, compute, expand

GOLDEN = Path(__file__).parents[1] / "golden" / "inception_torchvision.npz"


@pytest.mark.slow
def test_a_detector_carries_the_backbone_that_its_statistics_need(
    launch, job_arguments, tmp_path, capsys
):
    rng = np.random.default_rng(0)
    with np.load(GOLDEN) as file:
        shapes = {n: s[s > 0] for n, s in zip(file["names"], file["shapes"], strict=True)}
    np.savez(
        tmp_path / "inception.npz",
        **{
            name: np.ones(shape, np.float32)
            if shape.size == 1
            else rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
            for name, shape in shapes.items()
        },
    )
    run = tmp_path / "run"
    # Given twice, a tuple on the command line holds the values of both.
    job = [x if ".names=" not in x else "--config.statistics.names=fid,mse" for x in job_arguments]
    assert launch("train", *job, f"--workdir={tmp_path / 'none'}") == 2
    assert "give its weights by `--config.statistics.backbone=FILE`" in capsys.readouterr().err
    given = f"--config.statistics.backbone={tmp_path / 'inception.npz'}"
    assert launch("train", *job, given, f"--workdir={run}") == 0
    (tmp_path / "inception.npz").unlink()
    detector = load_detector(run / "detector", batch_size=8)
    image = rng.uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)
    scores = detector.score(image)
    assert detector.names == ("fid", "mse")
    assert (scores.statistics[:, 0] > 0).all()
    manifest = json.loads((run / "detector" / "MANIFEST.json").read_text())
    assert {"backbones/inception.npz", "backbones/inception.json"} < set(manifest)
    del manifest["backbones/inception.npz"]
    copied = tmp_path / "copied"
    shutil.copytree(run / "detector", copied)
    (copied / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="inception.npz is not in MANIFEST"):
        load_detector(copied)


@pytest.mark.slow
def test_a_loaded_detector_measures_features_as_they_are_computed_by_hand(
    launch, job_arguments, tmp_path
):
    toy, run = "tests.baselines_ad.toy_backbone:toy", tmp_path / "run"
    job = [x if ".names=" not in x else "--config.statistics.names=deep" for x in job_arguments]
    term = [f"--config.reconstructor.perceptual.backbone={toy}"]
    given = [*term, f"--config.statistics.backbone={toy}", f"--workdir={run}"]
    assert launch("train", *job, *given) == 0
    image = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 1)), jnp.float32)
    detector = load_detector(run / "detector", batch_size=8)
    method, state = load_method(run / "detector")
    view = jax.jit(method.view)(state, image, image_keys(image))
    context = Context(backbone=load_backbone(toy))
    assert detector.names == expand("deep", view, context=context)
    by_hand = compute(detector.names, image, view, context)
    found = detector.score(np.asarray(image)).statistics
    for name, column in zip(detector.names, found.T, strict=True):
        np.testing.assert_allclose(column, by_hand[name], rtol=1e-3, atol=1e-5, err_msg=name)
    manifest = json.loads((run / "detector" / "MANIFEST.json").read_text())
    assert {"backbones/toy.npz", "backbones/toy.json"} < set(manifest)
    assert set(state.params) == {"generator", "discriminator"}
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < row["perceptual"] < 16 for row in metrics if "loss" in row)
