"""Pixels in a program against Pillow's own resizing, through the reading of files."""

import jax
import numpy as np
import pytest

from ad_core.data.formats.resizing import RESIZES
from ad_core.data.formats.values import read_values
from ad_core.errors import UserError
from ad_core.exporting.reading import read_pixels, rule_of
from tests.small_config import small_config

SIZES = [(48, 64), (33, 201), (300, 77), (7, 5)]  # as it is, flat, high, enlarged
ULP = 2e-7  # of float32 at 1, twice: Pillow multiplies and adds apart, XLA at once


def data_of(**options):
    return small_config(data={"image_size": (48, 64), "min_side": 1} | options).data


def read_by_program(data, pixels, clipped=1.0):
    rule = rule_of(data, clipped=clipped)
    with jax.enable_x64(True):
        return jax.device_get(jax.jit(lambda x: tuple(read_pixels(rule, x)))(pixels))


@pytest.mark.parametrize("resize", [name for name in RESIZES if name != "own_size"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_of_any_size_are_read_as_files_are(resize, channels):
    data = data_of(resize=resize, channels=channels)
    for number, (height, width) in enumerate(SIZES):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        expected = read_values("image", pixels, data.to_dict())
        image, content, beyond = read_by_program(data, pixels)
        np.testing.assert_allclose(image[0], expected.image, rtol=0, atol=ULP)
        assert tuple(content[0]) == expected.placement.content and not beyond


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grey_image_is_its_value_three_times(channels):
    data = data_of(channels=channels)
    grey = np.random.default_rng(0).integers(0, 256, (60, 50), np.uint8)
    image, _, _ = read_by_program(data, np.repeat(grey[..., None], 3, axis=2))
    expected = read_values("image", grey, data.to_dict()).image
    np.testing.assert_allclose(image[0], expected, rtol=0, atol=ULP)


def test_halves_are_rounded_as_python_rounds_them():
    # 64 x 5 / 128 = 2.5 rows: Python rounds to 2, and 64 x 7 / 128 = 3.5 to 4.
    data = data_of(resize="letterbox")
    for height, rows in ((5, 2), (7, 4)):
        _, content, _ = read_by_program(data, np.zeros((height, 128, 3), np.uint8))
        assert content[0][3] - content[0][1] == rows


def test_values_beyond_a_stated_range_are_counted():
    data = data_of(value_range=(50.0, 200.0))
    pixels = np.full((10, 10, 3), 100, np.uint8)
    pixels[:3] = 250  # 30 % of all values
    expected = read_values("image", pixels, data.to_dict())
    image, _, beyond = read_by_program(data, pixels, clipped=0.29)
    np.testing.assert_allclose(image[0], expected.image, rtol=0, atol=ULP)
    assert expected.clipped == pytest.approx(0.3) and beyond
    assert not read_by_program(data, pixels, clipped=0.31)[2]


def test_a_range_that_8_bits_cannot_reach_is_refused():
    with pytest.raises(UserError, match="beyond what 8 bits hold"):
        rule_of(data_of(value_range=(300.0, 4000.0)), clipped=1.0)


@pytest.mark.parametrize(
    ("key", "value"), [("resize", "own_size"), ("region", "a.json"), ("reference", "a.png")]
)
def test_a_way_of_reading_that_programs_do_not_know_is_refused(key, value):
    with pytest.raises(UserError, match=rf"`data.{key}` \(={value}\).*launch/score.py"):
        rule_of(data_of(**{key: value}), clipped=0.0)


def test_a_reader_of_the_description_is_told_of_a_stretch_where_the_sides_are_known():
    told = {name: rule_of(data_of(resize=name), clipped=0.0).resize for name in RESIZES[:-1]}
    expected = {"stretch": "stretch", "proportions": "stretch"}
    assert told == {name: name for name in RESIZES[:-1]} | expected
