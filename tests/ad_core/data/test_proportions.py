"""Height and width of the network's image after the proportions of the images that teach."""

import numpy as np
import pytest
from PIL import Image

from ad_core.data.proportions import proportioned, settle_sides
from ad_core.data.source import open_source
from tests.small_config import small_config


@pytest.mark.parametrize(
    ("side", "ratio", "expected"),
    [
        (256, 1.0, (256, 256)),
        (256, 1.06, (256, 256)),  # 271 px: the nearest multiple of 32 is 256
        (256, 384 / 220, (256, 448)),  # 446.8
        (256, 220 / 384, (448, 256)),
        (256, 100.0, (256, 512)),  # no longer than twice the shorter side
        (48, 1.4, (48, 64)),  # 67.2, in steps of 16
        (75, 1.5, (75, 112)),  # an odd side has steps of one pixel: 112.5
        (4, 2.0, (4, 8)),
    ],
)
def test_the_shorter_side_stays_and_the_longer_is_what_networks_can_halve(side, ratio, expected):
    assert proportioned(side, ratio) == expected


def folder(tmp_path, *sizes):
    (tmp_path / "train" / "good").mkdir(parents=True)
    for number, (width, height) in enumerate(sizes):
        picture = np.random.default_rng(number).integers(0, 255, (height, width), np.uint8)
        Image.fromarray(picture).save(tmp_path / "train" / "good" / f"{number}.png")
    return tmp_path


def settled(root, known=None, *, tile=0, **data):
    own = {"resize": "proportions", "image_size": 64, "augment": "none", "root": str(root)}
    config = small_config(data={"source": "ad_core.data.layouts.folder", **own, **data})
    source = open_source(config.data)
    known = np.arange(len(source.records)) if known is None else np.array(known)
    return settle_sides(source, config.data, known, tile=tile)


def test_the_median_of_the_images_that_teach_decides(tmp_path):
    root = folder(tmp_path, (120, 30), (120, 30), (120, 30), (120, 30), (40, 160), (40, 160))
    assert settled(root, known=[0, 1, 2, 3, 4]) == "64,128"  # one that differs decides nothing
    assert settled(root, known=[4, 5]) == "128,64"


def test_images_of_many_proportions_are_seen_as_squares(tmp_path):
    assert settled(folder(tmp_path, (120, 60), (120, 60), (60, 120), (60, 120))) == 64
    assert (
        settled(folder(tmp_path / "alike", (120, 60), (110, 60), (100, 60), (90, 60))) == "64,128"
    )


def test_images_that_are_all_but_squares_are_seen_as_squares(tmp_path):
    assert settled(folder(tmp_path, (66, 60), (60, 63))) == 64


@pytest.mark.parametrize(
    "data",
    [
        {"image_size": "64,64"},
        {"image_size": (64, 96)},
        {"augment": "flips_and_turns"},
    ],
)
def test_what_is_stated_stays_and_what_is_turned_is_a_square(tmp_path, data):
    root = folder(tmp_path, (120, 30))
    assert settled(root, **data) == data.get("image_size", 64)


def test_tiles_stay_what_they_are(tmp_path):
    assert settled(folder(tmp_path, (120, 30)), tile=32) == 64


def test_an_image_that_cannot_be_read_tells_nothing(tmp_path):
    root = folder(tmp_path, (120, 30), (30, 120), (30, 120))
    for number in (1, 2):
        (root / "train" / "good" / f"{number}.png").write_bytes(b"no picture")
    assert settled(root) == "64,128"
    (root / "train" / "good" / "0.png").write_bytes(b"no picture")
    assert settled(root) == 64
