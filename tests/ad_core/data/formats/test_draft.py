"""JPEG files that are decoded reduced: the same picture, its file's size, and no side too small."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from ad_core.data.formats.image import read_image, read_stored
from ad_core.data.formats.stored import Limits, Wanted

OPTIONS = {"channels": 1, "max_pixels": 10**7, "max_bytes": 10**7, "min_side": 8}
LIMITS = Limits(10**7, 10**7, 8, 9)


@pytest.fixture
def photo(tmp_path):
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(300, 410)), 12)
    pixels = (128 + 900 * smooth).clip(0, 255).astype(np.uint8)
    path = tmp_path / "photo.jpg"
    Image.fromarray(pixels).save(path, quality=95)
    return path


@pytest.mark.parametrize(
    ("least", "by"), [((300, 410), 1), ((150, 205), 2), ((100, 100), 2), ((30, 40), 8)]
)
def test_a_file_is_reduced_as_far_as_no_side_falls_below_what_is_enough(photo, least, by):
    stored = read_stored(photo, Wanted("refuse", "z", least), LIMITS)
    assert stored.values.shape == (-(-300 // by), -(-410 // by))
    assert stored.size == (300, 410)
    whole = read_stored(photo, Wanted("refuse", "z"), LIMITS)
    assert whole.values.shape == (300, 410) and whole.size is None


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "centre_crop"])
def test_a_draft_shows_the_same_picture_in_the_same_place(photo, resize):
    own, draft = (
        read_image(photo, size=(64, 48), resize=resize, draft=is_draft, **OPTIONS)
        for is_draft in (False, True)
    )
    assert draft.placement == own.placement
    assert np.abs(draft.image - own.image).max() < 0.06
    assert (draft.image != own.image).any()


def test_a_turned_file_is_reduced_by_its_upright_sides(photo, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = tmp_path / "turned.jpg"
    with Image.open(photo) as image:
        image.save(turned, quality=95, exif=exif)
    stored = read_stored(turned, Wanted("refuse", "z", (200, 40)), LIMITS)
    assert stored.size == (410, 300) and stored.values.shape == (205, 150)
    own, draft = (
        read_image(turned, size=(64, 48), draft=is_draft, **OPTIONS) for is_draft in (False, True)
    )
    assert draft.placement == own.placement
    assert np.abs(draft.image - own.image).max() < 0.06


def test_other_files_and_own_sizes_stay_as_they_are(photo, tmp_path):
    with Image.open(photo) as image:
        image.save(tmp_path / "photo.png")
    path = tmp_path / "photo.png"
    own, draft = (
        read_image(path, size=64, draft=is_draft, **OPTIONS) for is_draft in (False, True)
    )
    np.testing.assert_array_equal(own.image, draft.image)
    large = read_image(photo, size=64, resize="own_size", draft=True, **OPTIONS)
    assert large.large().shape == (300, 410, 1)
