"""Groups follow the files that paths name, not the text of the paths."""

import os

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from ad_core.data.source import open_source
from ad_core.data.splits import make_splits
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults

SCAN_STACK = np.random.default_rng(0).integers(0, 9, (3, 9, 9), "u1")
SHARES = {"normal": 0.4, "abnormal": 1.0, "abnormal_of_test": 0.5}


def data_of(table, **options):
    data = defaults("cpu").data
    data.source, data.root, data.image_size = "ad_core.data.layouts.manifest", str(table), 8
    data.update({"min_side": 4, **options})
    return data


def volumes(root, count=6, depth=12):
    for v in range(count):
        values = np.random.default_rng(v).integers(0, 255, (9, 9, depth), dtype=np.uint8)
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(root / f"v{v}.nii.gz")


def groups_of(root, rows, header="path,label", **options):
    (root / "t.csv").write_text("\n".join([header, *rows, ""]))
    return [record.group for record in open_source(data_of(root / "t.csv", **options)).records]


def test_slices_that_a_table_names_are_one_group_a_volume(tmp_path):
    volumes(tmp_path)
    rows = [f"v{v}.nii.gz#z={z},{int(z in (5, 6, 7))}" for v in range(6) for z in range(12)]
    groups = groups_of(tmp_path, rows)
    assert groups == [f"v{v}.nii.gz" for v in range(6) for _ in range(12)]
    records = open_source(data_of(tmp_path / "t.csv")).records
    splits = make_splits(records, protocol="cyclegan_ad", calibration=SHARES, seed=0)
    places = {}
    for name, indices in splits.items():
        for index in indices:
            places.setdefault(records[index].group, set()).add(name)
    assert all(len(names) == 1 for names in places.values())


def test_spellings_axes_and_links_of_a_file_are_one_group(tmp_path):
    volumes(tmp_path, 2)
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "v0.nii.gz")
    os.link(tmp_path / "v0.nii.gz", tmp_path / "hard.nii.gz")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/again").symlink_to(tmp_path, target_is_directory=True)
    names = ["v0.nii.gz#z=1", "./v0.nii.gz#z=2", "v0.nii.gz#x=3", "link.nii.gz#z=4"]
    names += ["hard.nii.gz#z=5", "sub/again/v0.nii.gz#z=6", "sub//again/v0.nii.gz#7"]
    groups = groups_of(tmp_path, [f"{name},0" for name in [*names, "v1.nii.gz#z=1"]])
    assert groups == ["v0.nii.gz"] * 7 + ["v1.nii.gz"]


def test_a_table_or_a_pattern_cannot_tear_a_file_apart(tmp_path):
    volumes(tmp_path, 3)
    rows = ["v0.nii.gz#z=0,0,a", "v0.nii.gz#z=1,0,b", "v1.nii.gz#z=0,1,b", "v2.nii.gz#z=0,1,"]
    assert groups_of(tmp_path, rows, "path,label,group") == ["a", "a", "a", "v2.nii.gz"]
    rows = [f"v{v}.nii.gz#z={z},0" for v in range(2) for z in range(3)]
    assert groups_of(tmp_path, rows, group_pattern=r"z=(\d)") == ["0"] * 6


def test_pages_of_a_stack_and_a_link_across_folders_are_one_group(tmp_path):
    tifffile.imwrite(tmp_path / "s.tif", SCAN_STACK, photometric="minisblack")
    assert groups_of(tmp_path, ["s.tif#0,0", "s.tif#2,1"]) == ["s.tif", "s.tif"]
    for name in ("train/good/a.png", "train/good/b.png", "test/good/c.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9), len(name)).save(tmp_path / name)
    (tmp_path / "test/good/x.png").symlink_to(tmp_path / "train/good/a.png")
    data = data_of(tmp_path, source="ad_core.data.layouts.folder", root=str(tmp_path))
    records = open_source(data).records
    group = {record.path: record.group for record in records}
    assert group["test/good/x.png"] == group["train/good/a.png"]
    assert len(set(group.values())) == 3
    with pytest.raises(UserError, match=r"has images in train/ and in test/"):
        make_splits(records, protocol="folders", calibration=SHARES, seed=0)


@pytest.mark.parametrize("again", ["./a.png", "sub/../a.png", "a.png#0", "sub//a.png"])
def test_a_second_spelling_of_a_path_is_the_same_path(tmp_path, again):
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "sub/a.png"):
        Image.new("L", (9, 9)).save(tmp_path / name)
    rows = ["a.png,0", "sub/a.png,0", f"{again},0"]
    if again == "a.png#0":
        assert groups_of(tmp_path, rows) == ["a.png", "sub/a.png", "a.png"]
        return
    with pytest.raises(UserError, match="line 4.*(stands in line|leads out)"):
        groups_of(tmp_path, rows)


def test_each_slice_of_a_table_has_its_own_mask(tmp_path):
    volumes(tmp_path, 1)
    for z in (5, 6):
        mask = np.zeros((9, 9), np.uint8)
        mask[z, :z] = 255
        Image.fromarray(mask).save(tmp_path / f"m{z}.png")
    truth = np.zeros((9, 9, 12), np.uint8)
    truth[2, 3, 7] = 1
    nibabel.Nifti1Image(truth, np.eye(4)).to_filename(tmp_path / "m.nii.gz")
    rows = [f"v0.nii.gz#z={z},1,m{z}.png" for z in (5, 6)]
    rows += ["v0.nii.gz#z=7,1,m.nii.gz", "v0.nii.gz#z=8,1,m.nii.gz#z=7", "v0.nii.gz#z=1,0,"]
    (tmp_path / "t.csv").write_text("\n".join(["path,label,mask", *rows, ""]))
    source = open_source(data_of(tmp_path / "t.csv"))
    assert [int(source.read(index).mask.sum()) for index in range(5)] == [5, 6, 1, 1, 0]
    assert source.read(0).mask[5, :5].all() and source.read(1).mask[6, :6].all()
