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
    mask_to_square,
    mirror,
    place,
    reduced,
    to_file,
    to_square,
    view_size,
)
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
    with pytest.raises(UserError, match=r"data\.resize.*squash.*stretch, letterbox, centre_crop"):
        place(4, 4, size=8, resize="squash")


def test_the_three_ways_are_pillows_bicubic_of_what_they_show():
    band = np.random.default_rng(0).uniform(-1, 1, (20, 40)).astype(np.float32)
    image = Image.fromarray(band)
    square = to_square(band, place(40, 20, size=8, resize="stretch"))
    np.testing.assert_allclose(square, image.resize((8, 8), Image.Resampling.BICUBIC), atol=1e-6)
    middle = image.crop((10, 0, 30, 20)).resize((8, 8), Image.Resampling.BICUBIC)
    square = to_square(band, place(40, 20, size=8, resize="centre_crop"))
    np.testing.assert_allclose(square[:, 1:-1], np.asarray(middle)[:, 1:-1], atol=0.1)
    square = to_square(band, place(40, 20, size=8, resize="letterbox"))
    content = np.asarray(image.resize((8, 4), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(square[2:6], content, atol=1e-6)
    np.testing.assert_array_equal(square[:2], square[2:4][::-1])
    np.testing.assert_array_equal(square[6:], square[4:6][::-1])


@settings(deadline=None, max_examples=60)
@given(width=SIDES, height=SIDES, size=st.integers(1, 64), resize=st.sampled_from(RESIZES))
def test_every_placement_lies_inside_and_maps_back(width, height, size, resize):
    placement = place(width, height, size=size, resize=resize)
    for (left, top, right, bottom), (across, down) in (
        (placement.shown, (width, height)),
        (placement.content, (size, size)),
    ):
        assert 0 <= left < right <= across and 0 <= top < bottom <= down
    assert box_to_file(placement.content, placement) == placement.shown
    square = to_square(np.zeros((height, width), np.float32), placement)
    assert square.shape == (size, size)
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
@pytest.mark.parametrize("shape", [(96, 160), (160, 96), (128, 128), (90, 155)])
def test_a_spot_comes_back_to_where_it_was(resize, shape):
    """A blob in the file, seen in the square, mapped back: its centre moves by under a cell."""
    height, width = shape
    for row, column in ((height // 2, width // 2), (height // 2 - 30, width // 2 + 25)):
        band = np.zeros(shape, np.float32)
        band[row, column] = 1
        band = ndimage.gaussian_filter(band, 6)
        placement = place(width, height, size=32, resize=resize)
        back = to_file(to_square(band, placement), placement, unseen=0.0)
        found = ndimage.center_of_mass(np.clip(back, 0, None))
        np.testing.assert_allclose(found, (row, column), atol=0.5)


def test_the_mirror_on_the_device_is_numpys_symmetric_padding(key):
    boxes = [(0, 0, 16, 16), (0, 5, 16, 11), (7, 0, 8, 16), (3, 0, 13, 16)]
    images = np.asarray(jax.random.uniform(key, (len(boxes), 16, 16, 2)))
    found = jax.jit(mirror)(jnp.asarray(images), jnp.asarray(boxes, jnp.int32))
    for image, (left, top, right, bottom), result in zip(images, boxes, found, strict=True):
        expected = np.pad(
            image[top:bottom, left:right],
            ((top, 16 - bottom), (left, 16 - right), (0, 0)),
            mode="symmetric",
        )
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("resize", RESIZES)
def test_a_mask_lies_where_its_image_does(resize):
    shape = (60, 100)
    mask = np.zeros(shape, bool)
    mask[20:40, 40:70] = True
    placement = place(100, 60, size=40, resize=resize)
    square = to_square(mask.astype(np.float32), placement) > 0.5
    assert (square != mask_to_square(mask, placement)).mean() < 0.02
    lone = np.zeros(shape, bool)
    lone[31, 52] = True
    assert mask_to_square(lone, placement).sum() >= 1
    corner = np.zeros(shape, bool)
    corner[0, 0] = True
    assert mask_to_square(corner, placement).any() == (resize != "centre_crop")
