"""The statistic `fid` from weights that the user gives, through the whole main job."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ad_core.errors import UserError
from ad_core.scoring import load_detector

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
