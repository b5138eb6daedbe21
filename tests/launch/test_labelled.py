"""Methods that learn from labelled images, in the main job beside another, on a toy backbone."""

import json

import jax.numpy as jnp
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ad_core.decision.table import read_table
from ad_core.metrics import auroc
from ad_core.scoring import load_method
from ad_core.scoring.engines.local import score_files
from tests.baselines_ad.test_fine_tuned import labelled
from tests.launch.test_methods import FLAT, ROOT

METHODS = {  # settings, and what a state holds beside the backbone
    "fine_tuned": (("tuned_from=stage5", "steps=100", "lr=0.03"), "members"),
    "multiple_instance": (("levels=stage3,stage5",), "head"),
}
ARGUMENTS = (
    f"--config={ROOT}/configs/folder.py:cpu",
    "--config.data.image_size=32",
    "--config.data.channels=1",
    "--config.statistics.names=loss",
    "--config.score.batch_size=8",
    "--config.data.calibration.folds=3",
    "--config.decision.folds=3",
    "--config.decision.classifier=logistic_regression",
)


@pytest.fixture(scope="module", params=METHODS)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Striped textures, those with a bright square as defects: 64 to learn from, 40 to test."""
    root = tmp_path_factory.mktemp("photos")
    for split, count, seed in (("train", 64, 0), ("test", 40, 1)):
        for number, (image, label) in enumerate(zip(*labelled(count, seed), strict=True)):
            folder = root / split / ("defect" if label else "good")
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.round((image[..., 0] + 1) * 127.5).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return root


@pytest.fixture(scope="module")
def run(name, launch, photos, tmp_path_factory):
    """The workdir of the main job with a setting."""
    settings = ("backbone=tests.baselines_ad.toy_backbone:toy", *METHODS[name][0])

    def run(setting):
        workdir = tmp_path_factory.mktemp("labelled") / "run"
        own = [f"--config.reconstructor.{name}.{one}" for one in (*settings, setting)]
        method = f"--config.method={FLAT},baselines_ad.{name}"
        given = (*ARGUMENTS, method, f"--config.data.root={photos}", *own)
        assert launch("train", *given, f"--workdir={workdir}") == 0
        return workdir

    return run


@pytest.fixture(scope="module")
def workdir(run):
    return run("least_images=16")


@pytest.fixture(scope="module")
def column_of(name):
    """A table of a workdir, and what the method says of each image."""

    def column_of(workdir, split):
        table = read_table(workdir / "statistics" / f"{split}.parquet")
        return table, table.values[:, table.names.index(f"{name}.loss_likeness")]

    return column_of


def test_what_calibrates_is_measured_unseen_and_as_well_as_what_comes_later(workdir, column_of):
    table, column = column_of(workdir, "calibration")
    assert len(table.path) == 64 and np.isfinite(column).all()
    test, later = column_of(workdir, "test")
    assert auroc(table.label, column) > 0.9 and auroc(test.label, later) > 0.9
    assert json.loads((workdir / "results.json").read_text())["held_out"]["zfn"]["tpr"] > 0.8


def test_the_final_state_would_have_measured_otherwise(workdir, photos, name, column_of):
    table, column = column_of(workdir, "calibration")
    method, state = load_method(workdir / "detector", name)
    images = [np.asarray(Image.open(photos / path), np.float32) for path in table.path]
    image = jnp.asarray(np.stack(images)[..., None] / 127.5 - 1)
    learnt = np.asarray(method.view(state, image, None).losses["likeness"])
    assert auroc(table.label, learnt) > 0.9
    assert np.abs(learnt - column).min() > 0


def test_a_detector_scores_by_it_and_says_why(workdir, photos, name, tmp_path):
    _, state = load_method(workdir / "detector", name)
    assert set(state.params) == {"backbone", METHODS[name][1]}
    score_files(workdir / "detector", photos / "test", tmp_path, maps=False, batch_size=8)
    rows = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert len(rows) == 40 and all(np.isfinite(row["score"]) for row in rows)
    told = " ".join(str(row["reasons"]) for row in rows)
    assert "the abnormal images that calibrated" in told


def test_with_too_few_images_the_rest_decides(run, column_of, caplog):
    with caplog.at_level("INFO"):
        workdir = run("least_images=500")
    assert "it learns nothing and decides nothing" in caplog.text
    assert not column_of(workdir, "calibration")[1].any()
    assert 0 <= json.loads((workdir / "results.json").read_text())["oracle"]["auc"] <= 1
