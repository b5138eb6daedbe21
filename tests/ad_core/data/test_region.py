"""Regions of interest: which pixels a polygon or a picture covers, in images of every size."""

import json

import numpy as np
import pytest
from PIL import Image

from ad_core.data.formats.image import check_settings, read_image
from ad_core.data.region import looked_at, paint
from ad_core.data.region_files import settle_region
from ad_core.errors import UserError
from tests.small_config import small_config

SQUARE = {"width": 20, "height": 10, "inspect": [[[4, 2], [12, 2], [12, 8], [4, 8]]]}


def written(tmp_path, **stated):
    path = tmp_path / "region.json"
    path.write_text(json.dumps(stated))
    return str(path)


def test_a_rectangle_covers_its_pixels_and_scales_with_the_image(tmp_path):
    text = settle_region(written(tmp_path, **SQUARE))
    looked = looked_at(text, 10, 20)
    assert looked[3:7, 5:11].all() and not looked[:1].any() and not looked[:, 13:].any()
    assert looked.sum() == pytest.approx(8 * 6, abs=15)  # its outline counts
    large = looked_at(text, 100, 200)
    assert large.sum() == pytest.approx(80 * 60, rel=0.05)
    assert large[25:75, 45:115].all() and not large[:18].any()


def test_what_is_ignored_is_cut_out_and_alone_leaves_the_rest(tmp_path):
    hole = [[[6, 4], [8, 4], [8, 6], [6, 6]]]
    text = settle_region(written(tmp_path, **SQUARE, ignore=hole))
    looked = looked_at(text, 100, 200)
    assert not looked[45:55, 65:75].any() and looked[25:35, 45:55].all()
    alone = looked_at(json.dumps({"width": 20, "height": 10, "ignore": hole}), 100, 200)
    assert alone[0, 0] and not alone[50, 70]


def test_a_picture_looks_where_it_is_not_black_and_text_carries_it(tmp_path):
    mask = np.zeros((30, 41), np.uint8)
    mask[5:20, 7:33] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    text = settle_region(str(tmp_path / "mask.png"))
    (tmp_path / "mask.png").unlink()
    assert settle_region(text) == text
    np.testing.assert_array_equal(looked_at(text, 30, 41), mask > 0)
    np.testing.assert_array_equal(looked_at(text, 60, 82), np.kron(mask > 0, np.ones((2, 2), bool)))


def test_no_region_stays_none():
    assert settle_region("") == ""


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ({"width": 9}, "`width` and `height` must be the sides"),
        ({"width": 9, "height": 9, "look": []}, "must be an object .*found: look"),
        ({"width": 9, "height": 9, "inspect": [[[1, 2], [3, 4]]]}, "`inspect` must be a list of"),
        ({"width": 9, "height": 9, "inspect": [[[99, 99], [98, 99], [99, 98]]]}, "nothing to look"),
    ],
)
def test_a_file_that_states_no_region_is_refused(tmp_path, stated, message):
    with pytest.raises(UserError, match=message):
        settle_region(written(tmp_path, **stated))


def test_a_region_that_is_no_file_no_json_or_all_black_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"`data.region` \(=nowhere\) must name a file"):
        settle_region("nowhere")
    (tmp_path / "words.txt").write_text("all of it")
    with pytest.raises(UserError, match="is neither JSON nor a picture"):
        settle_region(str(tmp_path / "words.txt"))
    Image.new("L", (9, 9)).save(tmp_path / "black.png")
    with pytest.raises(UserError, match="is all black"):
        settle_region(str(tmp_path / "black.png"))


def test_a_region_of_cropped_images_is_refused():
    data = small_config(data={"region": "x", "resize": "centre_crop"}).data.to_dict()
    with pytest.raises(UserError, match="`data.resize` .=centre_crop. cuts them"):
        check_settings(data)


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "own_size"])
@pytest.mark.parametrize("size", [(24, 48), (8, 16)])
def test_what_lies_outside_changes_no_bit_of_what_is_read(tmp_path, resize, size):
    """Of small and large images; nothing inside is painted."""
    text = json.dumps(SQUARE)
    rng = np.random.default_rng(0)
    first = rng.integers(0, 255, (20, 40), np.uint8)
    second = np.where(looked_at(text, 20, 40), first, rng.integers(0, 255, (20, 40), np.uint8))
    options = {
        "size": size, "channels": 1, "resize": resize, "region": text, "max_pixels": 10**6,
        "max_bytes": 10**6, "min_side": 4,
    }  # fmt: skip
    read = []
    for name, pixels in (("a", first), ("b", second.astype(np.uint8))):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        read.append(read_image(tmp_path / f"{name}.png", **options))
    np.testing.assert_array_equal(read[0].image, read[1].image)
    if read[0].large is not None:
        np.testing.assert_array_equal(read[0].large(), read[1].large())
    left, top, right, bottom = read[0].placement.content
    shown = read[0].image[top:bottom, left:right, 0]
    looked = looked_at(text, *shown.shape)
    assert (shown[~looked] == 0).all() and (shown[looked] != 0).any()


def test_around_the_content_everything_is_grey():
    painted = paint(np.ones((10, 10, 1), np.float32), json.dumps(SQUARE), (0, 0, 10, 5))
    assert painted[5:].sum() == 0 and painted[2, 4, 0] == 1
