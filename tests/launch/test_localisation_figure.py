"""The rows of the figure of localisation, of the detector of a main job."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from ad_core.backbones import load_backbone
from ad_core.data.layouts.files import FileSource
from ad_core.data.phantoms.worlds import open_source
from ad_core.data.registration import Motion
from ad_core.reporting.localisation_figure import localisation_figure
from ad_core.reporting.localisation_rows import _feature_distance, localisation_rows
from ad_core.scoring import load_detector
from ad_core.scoring.detector import Detector

TOY = "tests.baselines_ad.toy_backbone:toy"


@pytest.fixture(scope="module")
def detector(workdir):
    return load_detector(workdir / "detector", batch_size=8)


@pytest.fixture(scope="module")
def samples(detector):
    source = open_source(detector.parts.config.data)
    found = [i for i, r in enumerate(source.records) if r.label and r.folder == "test"]
    return [source.read(i) for i in found[:3]]


def rows_of(detector, samples):
    return localisation_rows(detector, samples, names=["a", "b", "c"], abnormal=[True] * 3)


def test_rows_show_what_the_detector_makes_of_the_images(detector, samples):
    rows = rows_of(detector, samples)
    scores = detector.score(np.stack([sample.image for sample in samples]))
    assert [row.name for row in rows] == ["a", "b", "c"]
    assert {row.method for row in rows} == {"vqgan_ad.vqgan"}
    for number, row in enumerate(rows):
        np.testing.assert_array_equal(row.drawn, scores.drawn[number])
        np.testing.assert_array_equal(row.anomaly, scores.anomaly_map[number])
        np.testing.assert_array_equal(row.mask, samples[number].mask)
        assert (row.decision, row.score) == (scores.decision[number], scores.score[number])
        residual = np.abs(row.image - row.drawn).mean(axis=-1)
        np.testing.assert_allclose(row.residual.values, residual, rtol=1e-6)
        assert row.features is None  # nothing here looks through a backbone
    highest = max(row.residual.values.max() for row in rows)
    assert {row.residual.scale for row in rows} == {(0.0, highest, highest)}
    assert localisation_figure(rows).shape[2] == 3


def test_a_large_image_is_shown_as_all_its_pixels_are_judged(detector, tmp_path):
    config = ConfigDict(detector.parts.config.to_dict())
    config.data.resize = "own_size"
    other = Detector(detector.parts._replace(config=config), batch_size=8)
    h, w, _ = other.image_shape
    pixels = np.random.default_rng(1).integers(90, 160, (2 * h, 3 * w), np.uint8)
    pixels[5:9, 2 * w + 7 : 2 * w + 11] = 255
    Image.fromarray(pixels).save(tmp_path / "large.png")
    sample = FileSource(tmp_path, ["large.png"], config.data).read(0)
    (row,) = localisation_rows(other, [sample], names=["large"], abnormal=[None])
    (verdict,) = other.judge([tmp_path / "large.png"], explain=False)
    assert row.score == verdict.score and row.decision == verdict.decision
    assert row.score != other.score(sample.image[None]).score[0]
    scaled = pixels[1::2, 1::3, None] * np.float32(2 / 255) - 1
    np.testing.assert_allclose(row.image[..., :1], scaled, atol=1e-6)


def test_a_registered_image_its_map_and_its_mask_lie_as_the_file_does(detector, samples):
    motion = Motion(0.0, 6.0, 0.0)  # down
    moved = [one._replace(image=motion(one.image), motion=motion) for one in samples[:2]]
    rows = localisation_rows(detector, moved, names=["a", "b"], abnormal=[True] * 2)
    own = detector.score(np.stack([one.image for one in moved])).anomaly_map
    for row, sample, found in zip(rows, samples, own, strict=False):
        inside = slice(0, -6)  # what was moved beyond the border is gone
        np.testing.assert_allclose(row.image[inside], sample.image[inside], atol=1e-5)
        np.testing.assert_allclose(row.anomaly[inside], found[6:], atol=1e-5)
        np.testing.assert_array_equal(row.mask, sample.mask)


def test_a_map_of_features_that_localises_stands_on_the_detectors_own_scale(detector, samples):
    config = ConfigDict(detector.parts.config.to_dict())
    config.localisation.map = "quantisation"
    other = Detector(detector.parts._replace(config=config), batch_size=8)
    rows = rows_of(other, samples)
    assert {row.features.words for row in rows} == {"vqgan.quantisation"}
    for row in rows:
        np.testing.assert_array_equal(row.features.values, row.anomaly)
        scale = row.features.scale
        assert (scale.low, scale.level) == (detector.scale.low, detector.scale.level)
        assert row.features.has_level and row.features.values.max() <= scale.high
    assert len({row.features.scale for row in rows}) == 1


def test_image_and_normal_version_are_compared_in_the_detectors_backbone(detector, samples):
    (part,) = detector.parts.methods
    context = part.context._replace(backbone=load_backbone(TOY))
    parts = detector.parts._replace(methods=(part._replace(context=context),))
    rows = rows_of(Detector(parts, batch_size=8), samples)
    for row in rows:
        assert row.features.words == "distance in toy" and not row.features.has_level
        assert row.features.values.shape == row.anomaly.shape and row.features.values.min() >= 0
        assert 0 < row.features.values.max() <= row.features.scale.high


def test_the_distance_of_features_is_where_the_images_differ():
    images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 1)).astype(np.float32)
    drawn = images.copy()
    drawn[1, 20:28, 20:28] *= -1.0
    same, differing = _feature_distance(load_backbone(TOY), images, drawn)
    np.testing.assert_allclose(same, 0.0, atol=1e-6)
    assert differing[18:30, 18:30].mean() > 5 * differing[:8, :8].mean()
