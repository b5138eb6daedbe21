import os

import numpy as np
import pytest
from PIL import Image

from ad_core.data.layouts.files import FileSource
from ad_core.data.layouts.folder import open_source
from ad_core.data.layouts.listing import list_images
from ad_core.data.source import Record
from ad_core.data.source import open_source as open_by_name
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults


def _draw(path, value=100, size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(path)


@pytest.fixture
def root(tmp_path):
    """Two normals and two abnormals to train on, one normal and two abnormals to test."""
    top = tmp_path / "set"
    for name in ("train/good/b", "train/good/a", "train/crack/c", "train/crack/d"):
        _draw(top / f"{name}.png")
    for name in ("test/good/a", "test/crack/a", "test/hole/x"):
        _draw(top / f"{name}.png")
    for name in ("ground_truth/crack/a_mask", "ground_truth_train/crack/d"):
        _draw(top / f"{name}.png", value=0)
        mask = np.zeros((10, 12), np.uint8)
        mask[:5] = 255
        Image.fromarray(mask).save(top / f"{name}.png")
    return top


def _data(root):
    data = defaults("cpu").data
    data.root = str(root)
    data.image_size = 8
    return data


def _link(link, target):
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target, target_is_directory=target.is_dir())


def test_records_follow_the_folders_in_sorted_order(root):
    source = open_by_name(_data(root))
    assert source.records == (
        Record("test/crack/a.png", 1, "crack", "test/crack/a.png", "test", True),
        Record("test/good/a.png", 0, "good", "test/good/a.png", "test", True),
        Record("test/hole/x.png", 1, "hole", "test/hole/x.png", "test", False),
        Record("train/crack/c.png", 1, "crack", "train/crack/c.png", "train", False),
        Record("train/crack/d.png", 1, "crack", "train/crack/d.png", "train", True),
        Record("train/good/a.png", 0, "good", "train/good/a.png", "train", True),
        Record("train/good/b.png", 0, "good", "train/good/b.png", "train", True),
    )
    assert source.ignored == ()


def test_masks_are_paired_by_stem_with_and_without_suffix(root):
    source = open_source(_data(root))
    upper_half = np.repeat(np.arange(10) < 5, 12).reshape(10, 12)
    for index, record in enumerate(source.records):
        mask, own = source.read(index).mask, source.read_mask(index)
        if record.label == 0:
            assert own is None and not mask.any() and mask.shape == (10, 12)
        elif record.has_mask:
            np.testing.assert_array_equal(mask, upper_half)
            np.testing.assert_array_equal(own, upper_half)
        else:
            assert mask is None and own is None


def test_a_mask_that_cannot_be_read_leaves_its_image_readable_and_says_why(root):
    (root / "ground_truth/crack/a_mask.png").write_bytes(b"no mask")
    source = open_source(_data(root))
    sample = source.read(0)
    assert sample.mask is None and sample.image.shape == (8, 8, 1)
    with pytest.raises(UserError, match=r"a_mask\.png: is none of"):
        source.read_mask(0)


def test_a_mask_of_another_size_is_brought_to_the_images_pixels(root):
    mask = np.zeros((20, 24), np.uint8)
    mask[4:7, 10:14] = 255
    Image.fromarray(mask).save(root / "ground_truth/crack/a_mask.png")
    source = open_source(_data(root))
    np.testing.assert_array_equal(source.read_mask(0), mask > 0)
    np.testing.assert_array_equal(source.read(0).mask, mask[1::2, 1::2] > 0)


def test_the_value_range_of_the_config_is_used(root):
    data = _data(root)
    data.value_range = (0, 100)
    np.testing.assert_allclose(open_source(data).read(0).image, 1)


def test_all_that_is_not_used_is_named(root, tmp_path):
    _draw(tmp_path / "outside.png")
    _draw(tmp_path / "away/x.png")
    (root / "license.txt").write_text("")
    (root / "train/good/notes.txt").write_text("")
    (root / "train/good/.hidden.png").write_text("")
    _draw(root / "train/good/deeper/a.png")
    _draw(root / "validation/good/a.png")
    _draw(root / "ground_truth/crack/nothing_mask.png")
    _link(root / "train/good/link.png", tmp_path / "outside.png")
    _link(root / "test/linked", tmp_path / "away")
    source = open_source(_data(root))
    assert len(source.records) == 7
    assert source.ignored == (
        "ground_truth/crack/nothing_mask.png",
        "license.txt",
        "test/linked/",
        "train/good/.hidden.png",
        "train/good/deeper/",
        "train/good/link.png",
        "train/good/notes.txt",
        "validation/",
    )


def test_damaged_images_stand_in_the_records(root):
    (root / "train/good/zero.PNG").write_bytes(b"")
    source = open_source(_data(root))
    index = [record.path for record in source.records].index("train/good/zero.PNG")
    with pytest.raises(UserError, match=r"zero\.PNG: is empty"):
        source.read(index)


def test_groups_come_from_a_table(root):
    (root / "groups.csv").write_text(
        "group,path,remark\np1,train/good/a.png,\np1,./test//good/a.png,same patient\n"
    )
    groups = {record.path: record.group for record in open_source(_data(root)).records}
    assert groups["train/good/a.png"] == groups["test/good/a.png"] == "p1"
    assert groups["train/good/b.png"] == "train/good/b.png"


@pytest.mark.parametrize(
    "text, words",
    [
        ("path,group\ntrain/good/z.png,p\n", r"line 2.*train/good/z\.png.*no image"),
        ("path,group\n../set/train/good/a.png,p\n", "line 2.*no image"),
        ("path,group\ntrain/good/a.png,\n", "line 2.*no group"),
        ("path,group\ntrain/good/a.png,p\ntrain/good/a.png,q\n", "line 3.*two groups"),
        ("file,group\ntrain/good/a.png,p\n", "lacks the column path.*file, group"),
        ("", "lacks the column path, group.*nothing"),
    ],
)
def test_a_wrong_table_of_groups_is_refused_by_line(root, text, words):
    (root / "groups.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        open_source(_data(root))


def test_a_folder_of_another_layout_says_what_it_expects_and_finds(tmp_path):
    _draw(tmp_path / "train/plain/a.png")
    (tmp_path / "labels.csv").write_text("")
    with pytest.raises(UserError) as caught:
        open_source(_data(tmp_path))
    for word in ("train/good", "train/plain", "labels.csv", str(tmp_path)):
        assert word in str(caught.value)


def test_the_folder_above_the_set_is_told_to_go_down(root):
    with pytest.raises(UserError, match=f"Did you mean {root}"):
        open_source(_data(root.parent))


@pytest.mark.parametrize("name", ["", "none", "file"])
def test_a_root_that_is_no_folder_is_refused(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"data\.root|no such folder|not a folder"):
        open_source(_data(tmp_path / name if name else ""))


def test_a_set_of_links_out_of_the_root_says_so(tmp_path):
    _draw(tmp_path / "away/a.png")
    _link(tmp_path / "set/train/good/a.png", tmp_path / "away/a.png")
    with pytest.raises(UserError, match="[Ll]inks that lead out"):
        open_source(_data(tmp_path / "set"))


def test_a_root_that_is_itself_a_link_is_fine(root, tmp_path):
    _link(tmp_path / "alias", root)
    assert len(open_source(_data(tmp_path / "alias")).records) == 7


@pytest.mark.parametrize("name", ["Good", "GOOD", "ok", "OK", "Normal", "NORMAL", "Healthy"])
def test_names_that_mean_normal_are_no_defects_in_any_case(root, name):
    _draw(root / f"test/{name}/n.png")
    _draw(root / f"train/{name}/n.png")
    records = {record.path: record for record in open_source(_data(root)).records}
    for place in ("test", "train"):
        assert records[f"{place}/{name}/n.png"][1:3] == (0, "good")
    assert {r.defect for r in records.values()} == {"good", "crack", "hole"}


def test_train_and_test_are_found_in_any_case(root):
    before = [record[1:3] for record in open_source(_data(root)).records]
    for name in ("train", "test", "ground_truth", "ground_truth_train"):
        (root / name).rename(root / name.title())
    source = open_source(_data(root))
    assert [record[1:3] for record in source.records] == before
    assert {record.folder for record in source.records} == {"train", "test"}
    assert [record.has_mask for record in source.records].count(True) == 5


def test_a_mask_may_have_any_extension_that_its_content_suits(root):
    (root / "ground_truth/crack/a_mask.png").rename(root / "ground_truth/crack/a_mask.PNG_")
    Image.new("L", (12, 10), 255).save(root / "ground_truth_train/crack/c_mask.bmp")
    records = {record.path: record for record in open_source(_data(root)).records}
    assert records["test/crack/a.png"].has_mask and records["train/crack/c.png"].has_mask


def test_every_file_named_as_an_image_is_listed_to_score(tmp_path):
    for name in ("b.png", "a/z.JPG", "a/.hidden.tif", "a/b/c.webp"):
        _draw(tmp_path / "good.png")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "notes.txt").write_text("")
    assert list_images(tmp_path) == ["a/.hidden.tif", "a/b/c.webp", "a/z.JPG", "b.png", "good.png"]


def test_a_linked_file_out_of_the_root_is_listed_and_refused_when_read(tmp_path):
    _draw(tmp_path / "outside.png")
    _draw(tmp_path / "in/a.png")
    _link(tmp_path / "in/inner.png", tmp_path / "in/a.png")
    _link(tmp_path / "in/outer.png", tmp_path / "outside.png")
    _link(tmp_path / "in/loop.png", tmp_path / "in/loop.png")
    paths = list_images(tmp_path / "in")
    assert paths == ["a.png", "inner.png", "loop.png", "outer.png"]
    source = FileSource(tmp_path / "in", paths, _data(""))
    assert len(source) == 4
    assert source.read(1).placement[:2] == (12, 10) and source.read(1).mask is None
    with pytest.raises(UserError, match=r"outer\.png.*leads out"):
        source.read(3)
    with pytest.raises(UserError, match=r"loop\.png"):
        source.read(2)


def test_a_linked_folder_out_of_the_root_is_refused_at_once(tmp_path):
    """Left out in silence, its images would have no row."""
    _draw(tmp_path / "away/x.png")
    _draw(tmp_path / "in/a.png")
    _link(tmp_path / "in/inner", tmp_path / "in")
    assert list_images(tmp_path / "in") == ["a.png"]
    _link(tmp_path / "in/outer", tmp_path / "away")
    with pytest.raises(UserError, match="outer.*leads out"):
        list_images(tmp_path / "in")


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UserError, match=r"no image.*\.png.*1 files"):
        list_images(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list any folder")
def test_a_folder_that_cannot_be_listed_is_refused(tmp_path):
    _draw(tmp_path / "a.png")
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(UserError, match="closed.*cannot be listed"):
        list_images(tmp_path)
