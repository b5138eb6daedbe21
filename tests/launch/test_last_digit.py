"""One score an image to the last digit: alone, among others, in a lot, and where it calibrated."""

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ad_core.data.source import open_source
from ad_core.decision import fit_classifier, make_classifier
from ad_core.decision.table import read_table
from ad_core.runtime.config import from_json
from ad_core.scoring import load_detector
from ad_core.scoring.detector import Detector
from ad_core.scoring.engines.local import score_files
from ad_core.scoring.files import load_parts, save_detector
from ad_core.scoring.part import Part, view_shapes
from ad_core.statistics import Available, Context, expand_each
from baselines_ad import features, padim
from tests.baselines_ad.test_methods import batches_of, config_of, textures

MEMORIES = {"padim": padim, "features": features}
SIZES = ((32, 32), (50, 71), (64, 20), (33, 45), (20, 90), (40, 40), (31, 64))


def memory(name):
    """A memory of made-up textures, with what `default` measures of its views."""
    config = config_of(name)
    method = MEMORIES[name].make(config)
    state = method.learn.fit(batches_of(textures(12)), jax.random.key(0))
    available = {name: Available.of(view_shapes(method, config, state), Context())}
    return Part(name, config, state, Context(), expand_each(("default",), available)[name])


def fitted(parts, name):
    labels = np.arange(len(parts.reference)) % 2
    made = make_classifier(name, names=parts.names)
    return fit_classifier(made, parts.reference, labels)


@pytest.fixture(scope="module", params=("vqgan", "padim", "features"))
def parts(request, workdir):
    """Of a letterboxing detector; what it scores is beside the point."""
    parts = load_parts(workdir / "detector")
    if request.param in MEMORIES:
        part = memory(request.param)
        parts = parts._replace(methods=(part,), config=part.config)
    config = parts.config.copy_and_resolve_references()
    with config.unlocked():
        config.data.resize = "letterbox"
    parts = parts._replace(config=config)
    measured = Detector(parts).measurer.measure(textures(16), None)
    parts = parts._replace(reference=measured.statistics, groups=None)
    return parts._replace(classifier=fitted(parts, "logistic_regression"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("mixed"), np.random.default_rng(0)
    for number, (height, width) in enumerate(SIZES):
        wave = np.sin(np.arange(width) * 0.8 + number) * 0.4
        image = 127.5 * (1 + wave + rng.normal(0, 0.05, (height, width)))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / f"{number}.png")
    return root


@pytest.mark.parametrize("classifier", ["extra_trees", "logistic_regression", "svm"])
def test_an_image_has_one_score_alone_among_others_and_in_a_lot(parts, files, tmp_path, classifier):
    own = parts._replace(classifier=fitted(parts, classifier))
    save_detector(tmp_path / "detector", own, versions={})
    score_files(tmp_path / "detector", files, tmp_path / "out", batch_size=4)
    rows = pq.read_table(tmp_path / "out" / "scores.parquet").to_pylist()
    expected = [(row["score"], row["decision"], row["reasons"]) for row in rows]
    assert len({score for score, *_ in expected}) > 1
    detector = load_detector(tmp_path / "detector")
    paths = sorted(files.iterdir())

    def told(verdicts):
        reasons = ["; ".join(map(str, verdict.reasons)) for verdict in verdicts]
        return [(v.score, v.decision, r) for v, r in zip(verdicts, reasons, strict=True)]

    assert told(detector.judge(paths)) == expected
    assert [one for path in paths for one in told(detector.judge(path))] == expected
    assert told(detector.judge(paths[::-1]))[::-1] == expected
    assert told(detector.judge([paths[0].parent / "gone.png", *paths]))[1:] == expected
    assert detector.measurer.compilations() == 1


def test_statistics_and_maps_of_an_image_do_not_depend_on_others(parts):
    detector = Detector(parts, batch_size=5)
    images = textures(12, seed=3)
    whole = detector.score(images)
    for part in (images[:1], images[7:9], images[::-1]):
        found = detector.score(part)
        rows = [next(i for i, x in enumerate(images) if (x == one).all()) for one in part]
        np.testing.assert_array_equal(found.statistics, whole.statistics[rows])
        np.testing.assert_array_equal(found.anomaly_map, whole.anomaly_map[rows])
        if whole.drawn is not None:
            np.testing.assert_array_equal(found.drawn, whole.drawn[rows])


def test_what_calibrated_is_measured_again_to_the_last_digit(workdir):
    """Of a method that no calibration image has taught."""
    table = read_table(workdir / "statistics" / "calibration.parquet")
    config = from_json((workdir / "config.json").read_text())
    source = open_source(config.data)
    place = {record.path: index for index, record in enumerate(source.records)}
    rows = np.arange(0, len(table.path), 3)
    images = np.stack([source.read(place[table.path[row]]).image for row in rows])
    found = load_detector(workdir / "detector", batch_size=3).score(images)
    np.testing.assert_array_equal(found.statistics, table.values[rows])


def test_the_image_at_the_threshold_is_inspected_whenever_it_comes_again(
    launch, job_arguments, tmp_path
):
    job = [x for x in job_arguments if ".statistics.names" not in x]
    job += ["--config.statistics.names=sse", "--config.decision.classifier=single"]
    rule = ("--config.decision.rule=zfn", "--config.decision.rules=zfn")
    until = (f"--workdir={tmp_path}", "--until=calibrate")
    assert launch("train", *job, *rule, *until) == 0
    table = read_table(tmp_path / "statistics" / "calibration.parquet")
    detector = load_detector(tmp_path / "detector")
    odd = np.flatnonzero(table.label == 1)
    lowest = odd[np.argmin(table.values[odd, 0])]
    assert detector.threshold.value == float(table.values[lowest, 0])
    source = open_source(detector.parts.config.data)
    paths = [record.path for record in source.records]
    image = source.read(paths.index(table.path[lowest])).image
    found = detector.score(image[None])
    assert found.score[0] == detector.threshold.value and found.decision[0] == "inspect"
