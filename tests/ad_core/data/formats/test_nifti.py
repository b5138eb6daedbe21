"""NIfTI volumes made here, in every orientation, against nibabel's own canonical array."""

import gzip
import itertools
import os
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ad_core.data.formats.image import (
    count_images,
    read_image,
    read_stored,
)
from ad_core.data.formats.masks import read_mask
from ad_core.data.formats.stored import Limits, Wanted
from ad_core.errors import UserError

LIMITS = {"max_pixels": 1_000_000, "max_bytes": 10_000_000, "min_side": 4}
SHAPE = (6, 7, 8)
VOLUME = (
    np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
)  # x, y, z to the right, front, top


def read(path, **options):
    given = {"size": 8, "channels": 1, "value_range": (0, 400), **LIMITS, **options}
    return read_image(path, **given)


def exact(path, **options):
    """The slice at its own size, in stored values."""
    wanted = Wanted(options.get("page", 0), options.get("axis", "z"))
    return read_stored(path, wanted, Limits(10**6, 10**7, 1, 99)).values


def oriented(codes):
    """The volume stored along the axes `codes`, e.g. ("L", "P", "S"), with the affine for it."""
    plain = nibabel.Nifti1Image(VOLUME, np.diag([2.0, 3.0, 4.0, 1.0]))
    change = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(plain.affine), nibabel.orientations.axcodes2ornt(codes)
    )
    return plain.as_reoriented(change)


def looked_at(axis, number):
    """Front or top above, the right side on the left: written out for each axis."""
    if axis == "z":
        return VOLUME[::-1, ::-1, number].T
    if axis == "y":
        return VOLUME[::-1, number, ::-1].T
    return VOLUME[number, ::-1, ::-1].T


EVERY = [
    codes
    for order in itertools.permutations(("RL", "AP", "SI"))
    for codes in itertools.product(*order)
]


@pytest.mark.parametrize("codes", EVERY, ids="".join)
def test_a_slice_is_the_same_in_whatever_order_it_is_stored(tmp_path, codes):
    path = tmp_path / "a.nii"
    stored = oriented(codes)
    stored.to_filename(path)
    canonical = nibabel.as_closest_canonical(nibabel.load(path))
    np.testing.assert_array_equal(np.asarray(canonical.dataobj), VOLUME)
    for axis, number in (("x", 1), ("y", 2), ("z", 5)):
        found = exact(path, page=number, axis=axis)
        np.testing.assert_array_equal(found, looked_at(axis, number))
    wanted = Wanted("all", "y")
    assert count_images(path, wanted, Limits(10**6, 10**7, 4, 99)) == 7


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_scaled_values_of_both_kinds_plain_and_compressed(tmp_path, suffix, kind):
    stored = kind(VOLUME, np.eye(4))
    stored.header.set_slope_inter(2.5, -10)
    path = tmp_path / f"a{suffix}"
    stored.to_filename(path)
    expected = nibabel.load(path).get_fdata()[::-1, ::-1, 3].T
    np.testing.assert_array_equal(exact(path, page=3), expected)
    image = read(path, page=3, value_range=(-10, 900), size=7, resize="stretch").image
    assert image.shape == (7, 7, 1) and np.abs(image).max() <= 1


def test_big_endian_float_and_bytes(tmp_path):
    nibabel.Nifti1Image(
        VOLUME.astype(">f4"), np.eye(4), header=nibabel.Nifti1Header(endianness=">")
    ).to_filename(tmp_path / "big.nii")
    np.testing.assert_array_equal(exact(tmp_path / "big.nii", page=2), looked_at("z", 2))
    eight = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    nibabel.Nifti1Image(eight, np.eye(4)).to_filename(tmp_path / "bytes.nii")
    image = read(tmp_path / "bytes.nii", page=1, value_range=None).image[..., 0]
    np.testing.assert_allclose(image, eight[::-1, ::-1, 1].T / 127.5 - 1, atol=1e-6)


def test_a_slice_alone_needs_no_rule_and_a_volume_does(tmp_path):
    for shape in ((8, 8), (8, 8, 1), (8, 8, 1, 1)):
        nibabel.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)).to_filename(tmp_path / "a.nii")
        assert read(tmp_path / "a.nii").placement.width == 8
    nibabel.Nifti1Image(VOLUME, np.eye(4)).to_filename(tmp_path / "b.nii")
    with pytest.raises(UserError, match=r"several slices \(8\).*data\.page"):
        read(tmp_path / "b.nii")
    with pytest.raises(UserError, match="8 slices and none of number 8"):
        read(tmp_path / "b.nii", page="8")
    with pytest.raises(UserError, match=r"`data\.axis` \(='w'\)"):
        read(tmp_path / "b.nii", page=0, axis="w")


def test_a_mask_volume_is_cut_as_its_image(tmp_path):
    nibabel.Nifti1Image((VOLUME % 5 == 0).astype(np.uint8), np.eye(4)).to_filename(
        tmp_path / "m.nii.gz"
    )
    limits = Limits(10**6, 10**7, 1, 99)
    full = read_mask(tmp_path / "m.nii.gz", Wanted("4", "z"), limits).abnormal
    np.testing.assert_array_equal(full, looked_at("z", 4) % 5 == 0)


def _bad_affine(path):
    stored = nibabel.Nifti1Image(VOLUME, np.eye(4))
    stored.header.set_sform(np.zeros((4, 4)), 1)
    stored.to_filename(path)
    data = bytearray(path.read_bytes())
    data[280:328] = np.full(12, np.nan, "<f4").tobytes()
    path.write_bytes(bytes(data))


def _four_dimensions(path):
    nibabel.Nifti1Image(np.zeros((6, 7, 8, 3), np.int16), np.eye(4)).to_filename(path)


def _colours(path):
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.Nifti1Image(np.zeros((6, 7, 8), kind), np.eye(4)).to_filename(path)


def _truncated(path):
    nibabel.Nifti1Image(VOLUME, np.eye(4)).to_filename(path)
    path.write_bytes(path.read_bytes()[:-1])


def _float(path):
    nibabel.Nifti1Image(VOLUME.astype(np.float32), np.eye(4)).to_filename(path)


def _not_finite(path):
    nibabel.Nifti1Image(np.full(SHAPE, np.nan, np.float32), np.eye(4)).to_filename(path)


@pytest.mark.parametrize(
    ("make", "words", "options"),
    [
        (_bad_affine, "LinAlgError.*damaged", {}),
        (_four_dimensions, "4 dimensions", {}),
        (_colours, "colours", {}),
        (_truncated, "ends before its last slice", {}),
        (_float, "range no file states.*robust", {"value_range": None}),
        (_not_finite, "not finite", {}),
        (_float, "data.max_pixels", {"max_pixels": 40}),
        (_float, "data.min_side", {"min_side": 7}),
        (_float, "data.max_frames", {"max_frames": 7}),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_read_is_refused_by_name(tmp_path, make, words, options):
    make(tmp_path / "a.nii")
    with pytest.raises(UserError, match=rf"a\.nii: .*{words}"):
        read(tmp_path / "a.nii", **{"page": 3, **options})


def test_compressed_volumes_unfold_up_to_the_limit_and_no_further(tmp_path):
    volume = nibabel.Nifti1Image(np.zeros((64, 64, 64), np.int16), np.eye(4))
    volume.to_filename(tmp_path / "a.nii.gz")
    assert (tmp_path / "a.nii.gz").stat().st_size < 3_000
    assert read(tmp_path / "a.nii.gz", page=0).placement.width == 64
    with pytest.raises(UserError, match=r"a\.nii\.gz: unfolds to more than `data\.max_bytes`"):
        read(tmp_path / "a.nii.gz", page=0, max_bytes=500_000)
    nibabel.Nifti1Image(VOLUME, np.eye(4)).to_filename(tmp_path / "b.nii.gz")
    data = (tmp_path / "b.nii.gz").read_bytes()
    for name, damaged in (
        ("cut", data[: len(data) // 2]),
        ("flipped", data[:300] + bytes([data[300] ^ 9]) + data[301:]),
    ):
        path = tmp_path / f"{name}.nii.gz"
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"{name}\.nii\.gz: .*damaged"):
            read(path, page=0)
    (tmp_path / "text.nii.gz").write_bytes(gzip.compress(b"no volume"))
    with pytest.raises(UserError, match="whatever its name"):
        read(tmp_path / "text.nii.gz", page=0)


def test_a_volume_is_read_once_for_all_its_slices_and_again_when_it_changes(tmp_path, monkeypatch):
    path, reads = tmp_path / "volume.nii.gz", []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: reads.append(self) or read_bytes(self))
    for content in (VOLUME, VOLUME[::-1]):
        nibabel.Nifti1Image(content, np.eye(4)).to_filename(path)
        os.utime(path, ns=(0, len(reads)))  # a clock that is too coarse to tell
        for number in range(VOLUME.shape[2]):
            expected = content[::-1, ::-1, number].T
            np.testing.assert_array_equal(exact(path, page=number), expected)
    assert len(reads) == 2


def test_without_nibabel_the_mend_is_told(tmp_path, monkeypatch):
    nibabel.Nifti1Image(VOLUME, np.eye(4)).to_filename(tmp_path / "a.nii")
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with pytest.raises(UserError, match=r"a\.nii: .*pip install nibabel.*medical"):
        read(tmp_path / "a.nii", page=0)
