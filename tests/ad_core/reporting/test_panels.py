"""The pictures of an example in a report."""

import numpy as np
import pytest
from PIL import Image

from ad_core.data.layouts.folder import open_source
from ad_core.reporting.panels import SIDE, Looked, draw
from ad_core.runtime.defaults import defaults
from ad_core.scoring.localisation import MapScale
from ad_core.scoring.pictures import colour, overlay, to_rgb
from tests.samples import whole

SCALE = MapScale(low=0.0, high=1.0, level=0.5)
NAMES = ["image", "normal version", "anomaly map", "map over the image", "mask"]


def shown(sample, anomaly, drawn=None, source=None, inspected=True, index=0):
    looked = Looked(sample, drawn, anomaly)
    return draw(source, index, looked, scale=SCALE, min_area=0.0, inspected=inspected)


def test_panels_of_an_image_without_a_file_stand_at_the_networks_size():
    image, drawn = np.full((4, 6, 1), 0.5, np.float32), np.full((4, 6, 1), -0.5, np.float32)
    anomaly, mask = np.zeros((4, 6), np.float32), np.zeros((4, 6), bool)
    anomaly[1, 2:4], mask[1, 2] = 1.0, True  # twice the level: two thirds of the colours
    found = shown(whole(image, mask), anomaly, drawn)
    heat = colour(anomaly * 2 / 3)
    expected = [to_rgb(image), to_rgb(drawn), heat, overlay(image, anomaly, SCALE)]
    assert [panel.name for panel in found.panels] == NAMES
    for panel, wanted in zip(found.panels, expected, strict=False):
        np.testing.assert_array_equal(panel.picture, wanted)
    np.testing.assert_array_equal(
        found.panels[-1].picture, np.where(mask, 255, 0)[..., None] + [0] * 3
    )
    assert found.places == "1 place stands out: 2 x 1 px at x 2, y 1"


@pytest.mark.parametrize(
    ("inspected", "words"),
    [
        (True, "no place stands out; the image as a whole does"),
        (False, "no place stands out"),
    ],
)
def test_an_image_without_normal_version_mask_or_region_shows_and_says_so(inspected, words):
    sample = whole(np.zeros((4, 4, 1), np.float32), np.zeros((4, 4), bool))
    found = shown(sample, np.full((4, 4), 0.5, np.float32), inspected=inspected)
    assert [panel.name for panel in found.panels] == ["image", "anomaly map", "map over the image"]
    assert found.places == words


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "centre_crop"])
def test_panels_of_a_file_show_its_own_pixels_at_one_size(tmp_path, resize):
    """A file of 640 x 160 with a white square, which the network sees at 16 px."""
    drawn = np.zeros((160, 640), np.uint8)
    drawn[60:100, 300:340] = 255
    for name in ("train/good", "test/hole", "ground_truth/hole"):
        (tmp_path / name).mkdir(parents=True)
    Image.fromarray(drawn).save(tmp_path / "train/good/a.png")
    Image.fromarray(drawn).save(tmp_path / "test/hole/b.png")
    dot = np.zeros((160, 640), np.uint8)
    dot[81, 321] = 255
    Image.fromarray(dot).save(tmp_path / "ground_truth/hole/b_mask.png")
    data = defaults("cpu").data
    data.update({"root": str(tmp_path), "image_size": 16, "resize": resize, "channels": 1})
    source = open_source(data)
    (index,) = [i for i, record in enumerate(source.records) if record.label]
    sample = source.read(index)
    anomaly = (sample.image[..., 0] + 1) / 2
    found = {
        p.name: p.picture for p in shown(sample, anomaly, sample.image, source, index=index).panels
    }
    assert list(found) == NAMES
    assert {picture.shape for picture in found.values()} == {(SIDE // 4, SIDE, 3)}
    # The square is 20 px wide in the view, sharp in the image, blurred in what the network saw.
    assert (found["image"][40, 152:168] > 250).all() and (found["image"][40, :148] < 5).all()
    assert found["normal version"][40, 160, 0] > found["normal version"][40, 90, 0]
    assert np.argwhere(found["mask"][..., 0]).tolist() == [[40, 160]]
    if resize == "centre_crop":
        np.testing.assert_array_equal(
            found["anomaly map"][:, :110], np.broadcast_to(colour(np.array(0.0)), (80, 110, 3))
        )
        assert (found["normal version"][:, :110] == 0).all()
