"""A detector whose map is that of two methods: it comes back from disk as it was."""

import json

import numpy as np
import pytest

from ad_core.scoring import load_detector
from ad_core.scoring.detector import Detector
from ad_core.scoring.files import DESCRIBED, save_detector
from tests.tiny_detector import draw_images, tiny_parts

METHODS = "baselines_ad.padim,baselines_ad.multiple_instance"


@pytest.fixture(scope="module")
def parts():
    return tiny_parts(method=METHODS, image_size=32)


def maps_of(parts, images):
    verdicts = Detector(parts, batch_size=4).judge(images, explain=False)
    return np.stack([verdict.map for verdict in verdicts])


def test_its_map_is_that_of_both_and_comes_back_from_disk(parts, tmp_path):
    images = list(draw_images()[1][:4])
    found = maps_of(parts, images)
    each = []
    for name in ("padim", "multiple_instance"):
        config = parts.config.copy_and_resolve_references()
        with config.unlocked():
            config.localisation.map = name
        each.append(maps_of(parts._replace(config=config, fusion=None), images))
    assert parts.maps == 2
    np.testing.assert_allclose(found, parts.fusion(np.stack(each, axis=1)), rtol=1e-5)
    save_detector(tmp_path / "detector", parts, versions={})
    again = load_detector(tmp_path / "detector", batch_size=4)
    assert again.parts.fusion == parts.fusion
    np.testing.assert_array_equal(maps_of(again.parts, images), found)


def test_one_of_before_shows_the_first_map_as_it_did(parts, tmp_path):
    save_detector(tmp_path / "detector", parts._replace(fusion=None), versions={})
    described = json.loads((tmp_path / "detector" / DESCRIBED).read_text())
    assert described["fusion"] is None
    images = list(draw_images()[1][:2])
    config = parts.config.copy_and_resolve_references()
    with config.unlocked():
        config.localisation.map = "padim"
    alone = maps_of(parts._replace(config=config, fusion=None), images)
    found = load_detector(tmp_path / "detector", batch_size=4).judge(images, explain=False)
    np.testing.assert_allclose(np.stack([verdict.map for verdict in found]), alone, rtol=1e-6)
