import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from ad_core.data.formats.resizing import (
    RESIZES,
    box_to_file,
    mask_to_network,
    mirror,
    nearest,
    place,
    reduce_area,
    reduced,
    to_file,
    to_network,
    view_size,
)
from ad_core.data.shape import sides
from ad_core.errors import UserError

SIDES = st.integers(1, 300)


def test_hand_drawn_placements():
    stretch = place(40, 20, size=8, resize="stretch")
    assert stretch.shown == (0, 0, 40, 20) and stretch.content == (0, 0, 8, 8)
    assert stretch.scale == (5, 2.5)
    letterbox = place(40, 20, size=8, resize="letterbox")
    assert letterbox.shown == (0, 0, 40, 20) and letterbox.content == (0, 2, 8, 6)
    assert letterbox.scale == (5, 5)
    upright = place(20, 40, size=8, resize="letterbox")
    assert upright.content == (2, 0, 6, 8)
    crop = place(40, 20, size=8, resize="centre_crop")
    assert crop.shown == (10, 0, 30, 20) and crop.content == (0, 0, 8, 8)
    with pytest.raises(
        UserError, match=r"data\.resize.*squash.*stretch, proportions, letterbox, centre_crop"
    ):
        place(4, 4, size=8, resize="squash")


def test_hand_drawn_placements_in_an_image_that_is_no_square():
    """40 x 20 pixels (width x height) into 6 x 8 and 8 x 6 (height x width)."""
    stretch = place(40, 20, size=(6, 8), resize="stretch")
    assert stretch.size == (6, 8)
    assert stretch.shown == (0, 0, 40, 20) and stretch.content == (0, 0, 8, 6)
    assert stretch.scale == (5, 20 / 6)
    letterbox = place(40, 20, size="6,8", resize="letterbox")
    assert letterbox.shown == (0, 0, 40, 20) and letterbox.content == (0, 1, 8, 5)
    assert letterbox.scale == (5, 5)
    assert place(20, 40, size=(6, 8), resize="letterbox").content == (2, 0, 5, 6)
    assert place(40, 20, size=(8, 6), resize="letterbox").content == (0, 2, 6, 5)
    crop = place(40, 20, size=(6, 8), resize="centre_crop")
    assert crop.shown == (6, 0, 33, 20) and crop.content == (0, 0, 8, 6)  # 26.7 of 40 columns
    assert place(20, 40, size=(6, 8), resize="centre_crop").shown == (0, 12, 20, 27)
    assert place(40, 30, size=(6, 8), resize="centre_crop").shown == (0, 0, 40, 30)


def test_hand_drawn_pixels_of_each_rule_where_the_image_is_no_square():
    """A file of 2 x 4 pixels whose left half is dark, into 4 x 4 cells of which 2 x 4 show it."""
    band = np.array([[-1, -1, 1, 1], [-1, -1, 1, 1]], np.float32)
    row = band[:1]
    tall = to_network(band, place(4, 2, size=(4, 4), resize="stretch"))
    np.testing.assert_array_equal(tall, np.repeat(row, 4, axis=0))
    boxed = to_network(band, place(4, 2, size=(6, 4), resize="letterbox"))
    np.testing.assert_array_equal(boxed, np.repeat(row, 6, axis=0))
    cut = to_network(band, place(4, 2, size=(2, 2), resize="centre_crop"))
    np.testing.assert_array_equal(cut, [[-1, 1], [-1, 1]])
    wide = to_network(band.T.copy(), place(2, 4, size=(4, 6), resize="letterbox"))
    np.testing.assert_array_equal(wide, np.repeat(row.T, 6, axis=1))
    for size, resize, expected in (
        ((2, 4), "stretch", band > 0),
        ((6, 4), "letterbox", np.repeat(row > 0, 6, axis=0)),
        ((2, 2), "centre_crop", [[False, True], [False, True]]),
        ((1, 2), "centre_crop", [[False, True]]),
    ):
        placement = place(4, 2, size=size, resize=resize)
        np.testing.assert_array_equal(mask_to_network(band > 0, placement), expected)


def test_the_three_ways_are_pillows_bicubic_of_what_they_show():
    band = np.random.default_rng(0).uniform(-1, 1, (20, 40)).astype(np.float32)
    image = Image.fromarray(band)
    square = to_network(band, place(40, 20, size=8, resize="stretch"))
    np.testing.assert_allclose(square, image.resize((8, 8), Image.Resampling.BICUBIC), atol=1e-6)
    middle = image.crop((10, 0, 30, 20)).resize((8, 8), Image.Resampling.BICUBIC)
    square = to_network(band, place(40, 20, size=8, resize="centre_crop"))
    np.testing.assert_allclose(square[:, 1:-1], np.asarray(middle)[:, 1:-1], atol=0.1)
    square = to_network(band, place(40, 20, size=8, resize="letterbox"))
    content = np.asarray(image.resize((8, 4), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(square[2:6], content, atol=1e-6)
    np.testing.assert_array_equal(square[:2], square[2:4][::-1])
    np.testing.assert_array_equal(square[6:], square[4:6][::-1])


@settings(deadline=None, max_examples=60)
@given(
    width=SIDES,
    height=SIDES,
    size=st.one_of(st.integers(1, 64), st.tuples(st.integers(1, 64), st.integers(1, 64))),
    resize=st.sampled_from(RESIZES),
)
def test_every_placement_lies_inside_and_maps_back(width, height, size, resize):
    placement = place(width, height, size=size, resize=resize)
    for (left, top, right, bottom), (across, down) in (
        (placement.shown, (width, height)),
        (placement.content, sides(size)[::-1]),
    ):
        assert 0 <= left < right <= across and 0 <= top < bottom <= down
    assert box_to_file(placement.content, placement) == placement.shown
    square = to_network(np.zeros((height, width), np.float32), placement)
    assert square.shape == sides(size)
    back = to_file(square, placement, unseen=9.0)
    assert back.shape == (height, width)
    assert (back == 9).sum() == width * height - np.prod(
        [b - a for a, b in (placement.shown[0::2], placement.shown[1::2])]
    )
    smaller = reduced(placement, 50)
    assert (smaller.width, smaller.height) == view_size(width, height, longest=50)
    assert to_file(square, smaller, unseen=9.0).shape == (smaller.height, smaller.width)
    left, top, right, bottom = smaller.shown
    assert 0 <= left < right <= smaller.width and 0 <= top < bottom <= smaller.height


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [32, (24, 40)])
@pytest.mark.parametrize("shape", [(96, 160), (160, 96), (128, 128), (90, 155)])
def test_a_spot_comes_back_to_where_it_was(resize, shape, size):
    """A blob in the file, seen in the square, mapped back: its centre moves by under a cell."""
    height, width = shape
    up, right = (30, 25) if size == 32 else (10, 12)  # inside what a crop shows
    for row, column in ((height // 2, width // 2), (height // 2 - up, width // 2 + right)):
        band = np.zeros(shape, np.float32)
        band[row, column] = 1
        band = ndimage.gaussian_filter(band, 6)
        placement = place(width, height, size=size, resize=resize)
        back = to_file(to_network(band, placement), placement, unseen=0.0)
        found = ndimage.center_of_mass(np.clip(back, 0, None))
        np.testing.assert_allclose(found, (row, column), atol=0.5)


def test_the_mirror_on_the_device_is_numpys_symmetric_padding(key):
    boxes = [(0, 0, 20, 16), (0, 5, 20, 11), (7, 0, 8, 16), (3, 0, 13, 16)]
    images = np.asarray(jax.random.uniform(key, (len(boxes), 16, 20, 2)))
    found = jax.jit(mirror)(jnp.asarray(images), jnp.asarray(boxes, jnp.int32))
    for image, (left, top, right, bottom), result in zip(images, boxes, found, strict=True):
        expected = np.pad(
            image[top:bottom, left:right],
            ((top, 16 - bottom), (left, 20 - right), (0, 0)),
            mode="symmetric",
        )
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("size", [40, (40, 52)])
@pytest.mark.parametrize("resize", RESIZES)
def test_a_mask_lies_where_its_image_does(resize, size):
    shape = (60, 100)
    mask = np.zeros(shape, bool)
    mask[20:40, 40:70] = True
    placement = place(100, 60, size=size, resize=resize)
    square = to_network(mask.astype(np.float32), placement) > 0.5
    assert (square != mask_to_network(mask, placement)).mean() < 0.02
    lone = np.zeros(shape, bool)
    lone[31, 52] = True
    assert mask_to_network(lone, placement).sum() >= 1
    corner = np.zeros(shape, bool)
    corner[0, 0] = True
    assert mask_to_network(corner, placement).any() == (resize != "centre_crop")


@pytest.mark.parametrize("size", [8, 16, 32])
def test_a_mask_is_its_nearest_pixels(size):
    mask = np.zeros((16, 16), bool)
    mask[4:12, 8:] = True
    expected = {8: mask[1::2, 1::2], 16: mask, 32: np.kron(mask, np.ones((2, 2))) > 0}[size]
    placement = place(16, 16, size=size, resize="stretch")
    np.testing.assert_array_equal(mask_to_network(mask, placement), expected)
    np.testing.assert_array_equal(nearest(mask, height=size, width=size), expected)


@pytest.mark.parametrize("row, column", [(0, 0), (37, 61), (99, 79), (50, 3)])
def test_a_mask_of_one_pixel_never_vanishes(row, column):
    mask = np.zeros((100, 80), bool)
    mask[row, column] = True
    for size in (4, 8, 33):
        small = mask_to_network(mask, place(80, 100, size=size, resize="stretch"))
        assert np.argwhere(small).tolist() == [[row * size // 100, column * size // 80]]
    assert np.argwhere(mask).tolist() == [[row, column]]


def test_reduction_to_a_size_that_does_not_divide_is_the_mean_of_the_area():
    image = np.random.default_rng(0).random((256, 256)).astype(np.float32)
    fine = np.kron(image, np.ones((3, 3)))  # 768 pixels hold 96 blocks of 8
    blocks = fine.reshape(96, 8, 96, 8).mean(axis=(1, 3))
    np.testing.assert_allclose(reduce_area(image, 96), blocks, atol=1e-5)


def test_reduction_by_a_whole_factor_is_the_mean_of_blocks():
    image = np.arange(64, dtype=np.float32).reshape(8, 8)
    expected = image.reshape(4, 2, 4, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(reduce_area(image, 4), expected, rtol=1e-6)
    oblong = image.reshape(4, 2, 2, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(reduce_area(image, (4, 2)), oblong, rtol=1e-6)
