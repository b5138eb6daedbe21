"""What `--input` may be: a folder, one image, a table."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults
from ad_core.runtime.sealed import mark_own
from ad_core.scoring.inputs import open_input

SCAN = np.random.default_rng(0).integers(0, 255, (16, 16), dtype=np.uint8)


@pytest.fixture
def data():
    options = defaults("cpu").data
    options.image_size = 8
    return options


def test_a_folder_is_read_and_tells_what_it_leaves_out(tmp_path, data):
    Image.fromarray(SCAN).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("x")
    mark_own(tmp_path, ("summary.json",))
    source = open_input(tmp_path, data)
    assert source.paths == ("a.png",) and source.left_out == ("notes.txt",)
    assert source.own == (".zfn-output",)


def test_one_image_is_an_input_whatever_its_name(tmp_path, data):
    for name in ("a.png", "b#1", "c.jfif"):
        Image.fromarray(SCAN).save(tmp_path / name, format="PNG")
        source = open_input(tmp_path / name, data)
        assert source.paths == (name,) and source.left_out == ()
        np.testing.assert_array_equal(source.stored(0).values, SCAN)


def test_the_pages_of_one_file_are_an_image_each(tmp_path, data):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([SCAN, SCAN // 2]), photometric="minisblack")
    data.page = "all"
    assert open_input(tmp_path / "a.tif", data).paths == ("a.tif#0", "a.tif#1")


def test_a_link_to_an_image_elsewhere_may_be_given(tmp_path, data):
    (tmp_path / "in").mkdir()
    Image.fromarray(SCAN).save(tmp_path / "a.png")
    (tmp_path / "in/link.png").symlink_to(tmp_path / "a.png")
    np.testing.assert_array_equal(open_input(tmp_path / "in/link.png", data).stored(0).values, SCAN)


def test_a_map_of_this_program_is_no_input(tmp_path, data):
    (tmp_path / "maps").mkdir()
    Image.fromarray(SCAN).save(tmp_path / "maps/a.png")
    mark_own(tmp_path, ("maps",))
    for given in ("maps", "maps/a.png"):
        with pytest.raises(UserError, match="was written by this program"):
            open_input(tmp_path / given, data)


@pytest.mark.parametrize("name", ["a.txt", "gone.png", "gone"])
def test_what_is_no_image_is_refused(tmp_path, data, name):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UserError, match=r"`--input`.*must be a folder of images, a table .*image"):
        open_input(tmp_path / name, data)
