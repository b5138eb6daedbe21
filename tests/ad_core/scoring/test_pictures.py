import base64
import io

import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from ad_core.scoring import pictures
from ad_core.scoring.localisation import MapScale

SCALE = MapScale(low=0.0, high=1.0, level=0.5)


def test_the_ember_colours_rise_evenly_in_lightness_by_skimage():
    ramp = pictures.colour(np.linspace(0, 1, 256))
    lightness = rgb2lab(ramp[None])[0, :, 0]
    assert (np.diff(lightness) > 0).all()
    # CIE L* in steps of one colour value; the table is rounded to whole values.
    np.testing.assert_allclose(lightness, np.linspace(3, 97, 256), atol=1.5)


@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_becomes_rgb_from_minus_one_to_one(channels):
    image = np.stack([np.full((2, channels), value) for value in (-1.0, 0.0, 1.0, 5.0)])
    np.testing.assert_array_equal(pictures.to_rgb(image)[:, 0, 0], [0, 128, 255, 255])
    assert pictures.to_rgb(image).shape == (4, 2, 3)


def test_any_other_number_of_channels_is_shown_as_its_mean():
    image = np.array([-1.0, 0.0, 0.5, 0.5])[None, None]
    np.testing.assert_array_equal(pictures.to_rgb(image), [[[128, 128, 128]]])


def test_an_overlay_is_the_image_where_normal_parts_stay():
    image = np.random.default_rng(0).uniform(-1, 1, (8, 8, 1)).astype(np.float32)
    shown = pictures.overlay(image, np.full((8, 8), 0.25), SCALE)
    np.testing.assert_array_equal(shown, pictures.to_rgb(image))


def test_an_overlay_glows_and_is_outlined_above_the_level():
    anomaly = np.zeros((7, 7), np.float32)
    anomaly[3, 3] = 4.0
    shown = pictures.overlay(np.full((7, 7, 1), -1.0), anomaly, SCALE)
    np.testing.assert_array_equal(shown[3, 3], np.round(0.8 * pictures.colour(np.array(1.0))))
    white = (shown == 255).all(axis=-1)
    assert sorted(zip(*np.nonzero(white), strict=True)) == [(2, 3), (3, 2), (3, 4), (4, 3)]


def test_no_line_runs_around_what_is_too_small_to_be_told():
    anomaly = np.zeros((10, 10), np.float32)
    anomaly[1, 1] = 4.0
    anomaly[5, 5] = anomaly[6, 6] = 1.0  # neighbours by a corner: one area of 2 of 100 pixels
    image = np.full((10, 10, 1), -1.0)
    shown = pictures.overlay(image, anomaly, SCALE, min_area=0.02)
    white = (shown == 255).all(axis=-1)
    assert not white[:4].any() and white[4, 5] and white[6, 7]
    np.testing.assert_array_equal(shown[1, 1], np.round(0.8 * pictures.colour(np.array(1.0))))


def test_a_map_that_is_not_a_number_is_shown_hot():
    shown = pictures.colour(SCALE.position(np.full((2, 2), np.nan)))
    np.testing.assert_array_equal(shown[0, 0], pictures.colour(np.array(1.0)))


def test_a_triptych_holds_image_reconstruction_and_map_in_this_order():
    image, other = np.full((4, 5, 1), 1.0), np.full((4, 5, 1), -1.0)
    shown = pictures.triptych(image, other, np.ones((4, 5)), SCALE)
    assert shown.shape == (4, 3 * 5 + 4, 3)
    assert (shown[:, :5] == 255).all() and (shown[:, 7:12] == 0).all()
    np.testing.assert_array_equal(shown[:, 14:], pictures.overlay(image, np.ones((4, 5)), SCALE))
    undrawn = pictures.triptych(image, None, np.ones((4, 5)), SCALE)
    np.testing.assert_array_equal(undrawn, np.delete(shown, np.s_[7:14], axis=1))


def test_a_grid_fills_its_last_row_with_white():
    tiles = [np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = pictures.grid(tiles, columns=2)
    assert sheet.shape == (6, 8, 3)
    assert (sheet[:2, :3] == 10).all() and (sheet[:2, 5:] == 20).all()
    assert (sheet[4:, :3] == 30).all() and (sheet[4:, 3:] == 255).all()


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_png_files_and_addresses_hold_the_very_pixels(tmp_path, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    pictures.write_png(tmp_path / "p.png", picture)
    with Image.open(tmp_path / "p.png") as stored:
        np.testing.assert_array_equal(np.asarray(stored), picture)
    head, _, content = pictures.data_uri(picture).partition(",")
    assert head == "data:image/png;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as carried:
        np.testing.assert_array_equal(np.asarray(carried), picture)
