"""Pooled features through the main job, alone and in a composite: one column of a head decides."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from ad_core.decision.classifiers.deep_head import HEAD
from ad_core.scoring import load_detector
from ad_core.statistics import is_feature

FEATURES = "baselines_ad.features"
TOY = "tests.baselines_ad.toy_backbone:toy"
WIDTH = 2 * (6 + 8 + 12 + 5)  # mean and maximum of the toy's channels


@pytest.fixture
def job(job_arguments):
    """The command line of the tiny job, without method and statistics, by logistic regression."""
    own = (".reconstructor.", ".statistics.names")
    rest = [x for x in job_arguments if not any(key in x for key in own)]
    return [*rest, "--config.decision.classifier=logistic_regression"]


@pytest.mark.parametrize(
    ("method", "names", "prefix"),
    [
        (FEATURES, "default", ""),
        (FEATURES, "deep", ""),
        (f"tests.toys.flat,{FEATURES}", "default", "features."),
    ],
)
def test_a_detector_scores_and_explains_by_one_column_of_all_features(
    launch, job, tmp_path, method, names, prefix
):
    run = tmp_path / "run"
    argv = [*job, f"--config.method={method}", f"--config.statistics.names={names}"]
    argv += [f"--config.reconstructor.{prefix}backbone={TOY}", f"--workdir={run}"]
    assert launch("train", *argv) == 0
    detector = load_detector(run / "detector", batch_size=8)
    deep = [name for name in detector.names if is_feature(name)]
    assert len(deep) == WIDTH and all(name.startswith(f"{prefix}deep_") for name in deep)
    assert detector.names[-WIDTH:] == tuple(deep)
    assert (len(detector.names) == WIDTH) == (names == "deep")
    table = pq.read_table(run / "statistics" / "test.parquet")
    assert set(deep) < set(table.column_names)
    results = json.loads((run / "results.json").read_text())
    assert 0 <= results["held_out"]["zfn"]["tpr"] <= 1
    assert HEAD in (run / "report" / "index.html").read_text()
    image = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 1)).astype(np.float32)
    scores = detector.score(image)
    np.testing.assert_allclose(detector.score(image[1:2]).score, scores.score[1:2], rtol=1e-4)
    reasons = {reason.name for reason in detector.explain(scores.statistics)[0]}
    assert HEAD in reasons and not any(map(is_feature, reasons))


def test_without_abnormal_images_the_map_decides(launch, job, tmp_path):
    run = tmp_path / "run"
    argv = [*job, f"--config.method={FEATURES}", f"--config.reconstructor.backbone={TOY}"]
    argv += ["--config.decision.classifier=one_class", "--config.decision.rule=normal_quantile"]
    assert launch("train", *argv, f"--workdir={run}") == 0
    detector = load_detector(run / "detector", batch_size=8)
    image = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)
    scores = detector.score(image)
    assert np.isfinite(scores.score).all()
    reasons = {reason.name for reason in detector.explain(scores.statistics)[0]}
    assert reasons and reasons <= {name for name in detector.names if not is_feature(name)}


@pytest.mark.slow
def test_features_of_efficientnet_beside_gaussians_find_phantoms(launch, job, tmp_path):
    run = tmp_path / "run"
    method = f"baselines_ad.gaussian,{FEATURES}"
    argv = [*job, f"--config.method={method}", "--config.data.image_size=64"]
    argv += ["--config.data.phantom.normal=80", "--config.data.phantom.abnormal=60"]
    assert launch("train", *argv, f"--workdir={run}") == 0
    results = json.loads((run / "results.json").read_text())
    assert results["oracle"]["auc"] > 0.8
    detector = load_detector(run / "detector", batch_size=8)
    assert {"loss_score", "features.deep_head_0000"} < set(detector.names)
