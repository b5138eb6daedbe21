"""Methods of other kinds through the unchanged main job: toys of at most 40 lines each."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import ad_core.scoring.measuring as measuring
from ad_core.data.phantoms import retina_oct
from ad_core.decision.table import read_table
from ad_core.runtime.config import from_json
from ad_core.runtime.devices import make_mesh
from ad_core.runtime.stop import Stop
from ad_core.scoring import load_detector, load_method
from ad_core.scoring.engines.local import score_files
from ad_core.stages.job import prepare

TOYS = Path(__file__).parents[1] / "toys"
FLAT, NOISY, PAIRED = (f"tests.toys.{name}" for name in ("flat", "noisy", "paired"))
TOGETHER = f"{FLAT},{NOISY},{PAIRED}"
ROOT = Path(__file__).parents[2]
JOB = (
    f"--config={ROOT}/configs/retina_oct.py:phantom,cpu",
    "--config.data.image_size=32",
    "--config.data.protocol=cyclegan_ad",
    "--config.data.calibration.normal=0.3",
    "--config.data.calibration.abnormal=0.3",
    "--config.data.augment=none",
    "--config.data.phantom.normal=48",
    "--config.data.phantom.abnormal=40",
    "--config.train.steps=12",
    "--config.train.batch_size=8",
    "--config.train.checkpoint_every=4",
    "--config.score.batch_size=8",
    "--config.decision.folds=3",
    "--config.decision.classifier=logistic_regression",
    "--config.localisation.level=0.5",
)


def arguments(method, names="loss,mse,residual_abs_mean"):
    """Of the main job; the flat method draws nothing of which a residual could be taken."""
    names = "loss" if method == FLAT else names
    return (*JOB, f"--config.method={method}", f"--config.statistics.names={names}")


@pytest.fixture(scope="module")
def runs(launch, tmp_path_factory):
    """Method -> the workdir of its main job, each run once."""
    root, done = tmp_path_factory.mktemp("toys"), {}

    def run(method):
        if method not in done:
            done[method] = root / f"run{len(done)}"
            assert launch("train", *arguments(method), f"--workdir={done[method]}") == 0
        return done[method]

    return run


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Ten retinas, every other one with a lesion, as files."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(10):
        defect = tuple(retina_oct.DEFECTS)[number % 3] if number % 2 else None
        image, _ = retina_oct.draw((3, number), 0, size=32, defect=defect)
        pixels = np.round((image[..., 0] + 1) * 127.5).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize("method", [FLAT, NOISY, PAIRED, TOGETHER])
def test_every_kind_of_method_trains_calibrates_scores_and_reports(runs, photos, tmp_path, method):
    workdir = runs(method)
    results = json.loads((workdir / "results.json").read_text())
    steps = method not in (FLAT, TOGETHER)
    assert not steps or results["timing"]["train"]["images"] == 12 * 8
    counts = results["counts"]
    learnt = counts["train"]["normal"] + counts["calibration"]["normal"]
    assert method != FLAT or results["timing"]["train"]["images"] == learnt
    assert results["method"] == method and 0 <= results["held_out"]["zfn"]["tpr"] <= 1
    report = (workdir / "report" / "index.html").read_text()
    assert "Right decisions" in report or "False alarms" in report
    summary = score_files(workdir / "detector", photos, tmp_path, maps=True, batch_size=8)
    assert summary["counts"]["images"] == summary["counts"]["ok"] == 10
    rows = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert all(np.isfinite(row["score"]) for row in rows)
    assert all(bool(row["reasons"]) == (row["decision"] == "inspect") for row in rows)
    assert len(list((tmp_path / "maps").glob("*.heat.png"))) == 10
    assert len(list((tmp_path / "maps").glob("*.png"))) == 20


def test_the_toys_are_as_small_as_a_method_may_be():
    for path in TOYS.glob("[a-z]*.py"):
        assert len(path.read_text().splitlines()) <= 40, path


def test_a_method_among_several_learns_what_it_learns_alone(runs):
    """Alone the pairs have the same splits, so that their columns must be the same."""
    together = read_table(runs(TOGETHER) / "statistics" / "test.parquet")
    alone = read_table(runs(PAIRED) / "statistics" / "test.parquet")
    assert alone.path == together.path
    columns = [together.names.index(f"paired.{name}") for name in alone.names]
    np.testing.assert_allclose(together.values[:, columns], alone.values, rtol=1e-4, atol=1e-5)
    assert "mse" not in together.names  # the first method draws nothing
    assert {"noisy.mse", "paired.mse", "loss_distance"} <= set(together.names)


def test_a_one_pass_method_never_sees_abnormal_images(runs, tmp_path):
    """Among others that do: its memory is the mean of the normals that train or calibrate."""
    config = from_json((runs(TOGETHER) / "config.json").read_text())
    job = prepare(config, tmp_path, Stop())
    indices = np.concatenate([job.splits["train"], job.splits["calibration"]])
    labels = np.concatenate([job.labels("train"), job.labels("calibration")])
    images = [job.source.read(int(i)).image for i in indices]
    assert job.labels("train").any()
    _, state = load_method(runs(TOGETHER) / "detector", "flat")
    mean, normals = state.params["memory"]["mean"], np.stack(images)[labels == 0]
    np.testing.assert_allclose(mean, normals.mean(axis=0), atol=1e-5)
    assert not np.allclose(mean, np.mean(images, axis=0), atol=1e-3)


def test_a_finished_one_pass_method_is_found_again(launch, runs, capsys):
    workdir = runs(FLAT)
    before = (workdir / "detector" / "flat" / "parameters.npz").read_bytes()
    argv = (*arguments(FLAT), f"--workdir={workdir}", "--until=train")
    assert launch("train", *argv) == 0
    assert "learn:" not in capsys.readouterr().err
    assert (workdir / "detector" / "flat" / "parameters.npz").read_bytes() == before


def test_a_random_view_depends_on_nothing_but_the_image(runs, monkeypatch):
    """Alone, in another row, in another batch and on another number of devices."""
    images = np.random.default_rng(0).uniform(-1, 1, (11, 32, 32, 1)).astype(np.float32)
    directory = runs(NOISY) / "detector"
    detector = load_detector(directory, batch_size=8)
    whole = detector.score(images)
    assert np.ptp(whole.statistics[:, detector.names.index("loss_draw")]) > 0
    turned = detector.score(images[::-1])
    np.testing.assert_array_equal(turned.statistics[::-1], whole.statistics)
    np.testing.assert_array_equal(turned.score[::-1], whole.score)
    alone = np.concatenate([detector.score(image[None]).statistics for image in images])
    np.testing.assert_array_equal(alone, whole.statistics)
    wider = load_detector(directory, batch_size=16).score(images)
    np.testing.assert_allclose(wider.statistics, whole.statistics, rtol=1e-6, atol=1e-7)
    monkeypatch.setattr(measuring, "make_mesh", lambda *_: make_mesh(_devices(1)))
    single = load_detector(directory, batch_size=8).score(images)
    np.testing.assert_allclose(single.statistics, whole.statistics, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(single.score, whole.score, rtol=1e-6)


def _devices(count):
    import jax

    return jax.devices()[:count]


def test_the_map_that_localises_can_be_named(launch, runs, tmp_path):
    first = load_detector(runs(TOGETHER) / "detector", batch_size=8)
    image = np.random.default_rng(1).uniform(-1, 1, (1, 32, 32, 1)).astype(np.float32)
    assert first.score(image).drawn is not None  # of the first method that draws
    for wanted, same in (("flat.distance", True), ("paired.change", False), ("noisy", False)):
        parts = first.parts
        parts.config.unlock()
        parts.config.localisation.map = wanted
        chosen = type(first)(parts, batch_size=8).score(image).anomaly_map
        assert np.allclose(chosen, first.score(image).anomaly_map) == same, wanted


@pytest.mark.parametrize(
    ("method", "override", "message"),
    [
        (PAIRED, "--config.localisation.map=nothing", "names nothing that localises; known: "),
        (f"{PAIRED},{NOISY}", "--config.statistics.names=noisy.ssim", "no statistic of paired"),
        (f"{PAIRED},{FLAT}", "--config.statistics.names=mse", "no statistic of flat"),
        (f"{PAIRED},{PAIRED}", "", "names two methods alike"),
    ],
)
def test_a_composite_that_cannot_work_is_one_message(
    launch, tmp_path, capsys, method, override, message
):
    argv = [*JOB, f"--config.method={method}", f"--workdir={tmp_path}", *filter(None, [override])]
    assert launch("train", *argv) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "checkpoints").exists()
    assert not (tmp_path / "methods" / "paired").exists()
