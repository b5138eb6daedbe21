"""Pyramids in TIFF files as tifffile writes them: one page each, of which the smallest is read."""

import struct

import numpy as np
import pytest
import tifffile

from ad_core.data.formats.image import count_images, read_image, read_stored
from ad_core.data.formats.pyramid import beginning_with, pages
from ad_core.data.formats.stored import Limits, Wanted
from ad_core.errors import UserError

LIMITS = Limits(10**6, 10**7, 8, 10)
OPTIONS = {"channels": 1, "max_pixels": 10**6, "max_bytes": 10**7, "min_side": 8}
FULL = np.random.default_rng(0).integers(0, 2**16, (301, 400), np.uint16)
HALF, QUARTER = FULL[::2, ::2] // 2, FULL[::4, ::4] // 4  # other values: one sees which was read


def write(path, *, children, big=False, levels=(HALF, QUARTER), order="<", fulls=(FULL,)):
    """Files of tiles of 64 px; each page has its levels as SubIFDs, or behind it."""
    tile = {"tile": (64, 64), "photometric": "minisblack"}
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as file:
        for full in fulls:
            file.write(full, subifds=len(levels) if children else 0, metadata=None, **tile)
            for level in levels:
                file.write(level, subfiletype=1, metadata=None, **tile)
    return path


def values(path, least, page: int | str = "refuse"):
    return read_stored(path, Wanted(page, "z", least), LIMITS)


@pytest.mark.parametrize(
    ("children", "big", "order"), [(True, False, "<"), (True, False, ">"), (False, True, "<")]
)
@pytest.mark.parametrize(
    ("least", "wanted"), [(None, FULL), ((151, 150), HALF), ((76, 100), QUARTER), ((8, 8), QUARTER)]
)
def test_the_smallest_version_is_read_that_is_large_enough(
    tmp_path, children, big, order, least, wanted
):
    path = write(tmp_path / "a.tif", children=children, big=big, order=order)
    stored = values(path, least)
    np.testing.assert_array_equal(stored.values, wanted)
    assert stored.size == (None if least is None else FULL.shape)
    assert stored.natural == (0.0, 65535.0)
    assert count_images(path, Wanted("all", "z"), LIMITS) == 1


def test_a_side_below_what_is_enough_takes_the_next_larger_version(tmp_path):
    path = write(tmp_path / "a.tif", children=True)
    np.testing.assert_array_equal(values(path, (77, 100)).values, HALF)
    np.testing.assert_array_equal(values(path, (301, 201)).values, FULL)


def test_a_draft_of_a_pyramid_lies_where_the_whole_image_does(tmp_path):
    y, x = np.mgrid[:300, :400] / 40
    smooth = ((np.sin(y) + np.cos(x) + 2) / 4 * 65535).astype(np.uint16)
    half = smooth.reshape(150, 2, 200, 2).mean((1, 3)).astype(np.uint16)
    path = write(tmp_path / "a.tif", children=True, levels=(half,), fulls=(smooth,))
    own, draft = (
        read_image(path, size=(64, 48), resize="letterbox", draft=is_draft, **OPTIONS)
        for is_draft in (False, True)
    )
    assert own.placement == draft.placement
    assert 0 < np.abs(own.image - draft.image).max() < 0.01


@pytest.mark.parametrize("children", [True, False])
def test_pages_are_counted_without_their_reduced_versions(tmp_path, children):
    path = write(tmp_path / "a.tif", children=children, fulls=(FULL, FULL[::-1]))
    assert count_images(path, Wanted("all", "z"), LIMITS) == 2
    np.testing.assert_array_equal(values(path, None, page=1).values, FULL[::-1])
    np.testing.assert_array_equal(values(path, (8, 8), page=1).values, QUARTER)
    with pytest.raises(UserError, match=r"holds several pages \(2\)"):
        values(path, None)
    with pytest.raises(UserError, match="none of number 2"):
        values(path, None, page=2)


def test_a_reduced_page_of_another_shape_is_an_image_of_its_own(tmp_path):
    path = write(tmp_path / "a.tif", children=False, levels=(FULL[:100, :100],))
    assert count_images(path, Wanted("all", "z"), LIMITS) == 2
    np.testing.assert_array_equal(values(path, None, page=1).values, FULL[:100, :100])


def test_a_version_whose_values_mean_something_else_is_not_read(tmp_path):
    path = write(tmp_path / "a.tif", children=True, levels=((HALF // 256).astype(np.uint8),))
    np.testing.assert_array_equal(values(path, (8, 8)).values, FULL)


def test_limits_hold_for_the_whole_image_and_not_for_the_version(tmp_path):
    path = write(tmp_path / "a.tif", children=True)
    with pytest.raises(UserError, match="claims 400 x 301 pixels"):
        read_stored(path, Wanted("refuse", "z", (8, 8)), LIMITS._replace(max_pixels=10**5))


def test_broken_and_endless_directories_are_no_pyramids(tmp_path):
    data = write(tmp_path / "a.tif", children=False).read_bytes()
    (page,) = pages(data, most=10)
    for cut in (9, page.full.offset + 5, page.levels[0].offset + 3):
        assert pages(data[:cut], most=10) == []
    count = struct.unpack_from("<H", data, page.full.offset)[0]
    behind = page.full.offset + 2 + 12 * count
    endless = data[:behind] + struct.pack("<I", page.full.offset) + data[behind + 4 :]
    assert pages(endless, most=10) == []
    assert pages(b"MM nothing", most=10) == []
    assert pages(beginning_with(data, page.levels[1]), most=10) == []
