import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image

from ad_core.data.formats import image
from ad_core.data.formats.image import check_settings, read_image
from ad_core.data.formats.pages import split_page, spread
from ad_core.data.layouts.files import FileSource
from ad_core.data.layouts.folder import open_source
from ad_core.data.layouts.listing import list_images
from ad_core.data.layouts.manifest import read_manifest
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults

LIMITS = {"max_pixels": 1_000_000, "max_bytes": 10_000_000, "min_side": 4}


def data(root="", **values):
    given = defaults("cpu").data
    given.update({"root": str(root), "image_size": 8, **values})
    return given


def frames(count, shape=(8, 8), dtype=np.uint8):
    return np.random.default_rng(count).integers(0, 255, (count, *shape)).astype(dtype)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/stack.tif#2", ("a/stack.tif", {"page": 2})),
        ("v.nii.gz#z=12", ("v.nii.gz", {"page": 12, "axis": "z"})),
        ("v.nii#x=0", ("v.nii", {"page": 0, "axis": "x"})),
        ("no#3.png", ("no#3.png", {})),
        ("plain.png", ("plain.png", {})),
        ("a.tif#z=", ("a.tif#z=", {})),
        ("#4", ("#4", {})),
        ("a\nb.tif#1", ("a\nb.tif", {"page": 1})),
    ],
)
def test_a_path_names_a_page_behind_a_hash(path, expected):
    assert split_page(path) == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_each_page_of_a_tiff_is_read_by_its_number(tmp_path, dtype):
    stored = frames(3, dtype=dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack")
    for rule in (0, 1, 2, "2"):
        image = read_image(tmp_path / "a.tif", size=8, channels=1, page=rule, **LIMITS).image
        expected = stored[int(rule)] / (np.iinfo(dtype).max / 2) - 1
        np.testing.assert_allclose(image[..., 0], expected, atol=1e-6)
    with pytest.raises(UserError, match="no page of number 3"):
        read_image(tmp_path / "a.tif", size=8, channels=1, page=3, **LIMITS)
    with pytest.raises(UserError, match=r"several frames or pages.*data\.page"):
        read_image(tmp_path / "a.tif", size=8, channels=1, page="all", **LIMITS)
    with pytest.raises(UserError, match=r"data\.max_frames"):
        read_image(tmp_path / "a.tif", size=8, channels=1, page=2, max_frames=2, **LIMITS)


def test_pages_of_16_bit_colour_keep_their_digits(tmp_path):
    stored = frames(2, (8, 8, 3), np.uint16) * 257 + 3
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in stored:
            file.write(page, photometric="rgb", compression="zlib")
    image = read_image(tmp_path / "a.tif", size=8, channels=3, page=1, **LIMITS).image
    np.testing.assert_allclose(image, stored[1] / 32767.5 - 1, atol=1e-6)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_frames_of_an_animation_are_read_by_their_number(tmp_path, suffix):
    stored = frames(3, (8, 8, 3))
    images = [Image.fromarray(frame) for frame in stored]
    path = tmp_path / f"a{suffix}"
    images[0].save(path, save_all=True, append_images=images[1:], lossless=True)
    image = read_image(path, size=8, channels=3, page=2, **LIMITS).image
    np.testing.assert_allclose(image, stored[2] / 127.5 - 1, atol=1e-6)


def test_a_page_may_have_a_size_of_its_own(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(frames(1, (8, 8))[0])
        file.write(frames(1, (20, 30))[0])
    picture = read_image(tmp_path / "a.tif", size=8, channels=1, page=1, **LIMITS)
    assert (picture.placement.width, picture.placement.height) == (30, 20)
    with pytest.raises(UserError, match=r"data\.max_pixels"):
        read_image(tmp_path / "a.tif", size=8, channels=1, page=1, **LIMITS | {"max_pixels": 100})


@pytest.fixture
def root(tmp_path):
    """A stack, a series, a volume, single images, damaged ones, and a link that leads out."""
    top = tmp_path / "set"
    top.mkdir()
    tifffile.imwrite(top / "stack.tif", frames(3), photometric="minisblack")
    tifffile.imwrite(top / "one.tif", frames(1)[0])
    volume = nibabel.Nifti1Image(frames(8, (6, 7)).transpose(1, 2, 0), np.eye(4))
    volume.to_filename(top / "volume.nii.gz")
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.Rows = dataset.Columns = dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 7, 0, 1
    dataset.PhotometricInterpretation, dataset.NumberOfFrames = "MONOCHROME2", 2
    dataset.PixelData = frames(2).tobytes()
    dataset.save_as(top / "series.dcm", enforce_file_format=True)
    (top / "bad.tif").write_bytes(b"II*\0 and no more")
    (top / "bad.nii.gz").write_bytes(b"\x1f\x8b\x08 and no more")
    tifffile.imwrite(tmp_path / "out.tif", frames(3), photometric="minisblack")
    (top / "out.tif").symlink_to(tmp_path / "out.tif")
    return top


def test_all_pages_have_a_path_each_and_damaged_files_keep_theirs(root):
    paths = spread(root, list_images(root), data(page="all", axis="y"))
    assert paths == [
        "bad.nii.gz", "bad.tif", "one.tif", "out.tif", "series.dcm#0", "series.dcm#1",
        "stack.tif#0", "stack.tif#1", "stack.tif#2",
        *(f"volume.nii.gz#y={k}" for k in range(7)),
    ]  # fmt: skip
    for rule in ("refuse", "1"):
        assert spread(root, list_images(root), data(page=rule)) == list_images(root)
    assert "stack.tif" in spread(root, ["stack.tif"], data(page="all", max_frames=2))


def test_dicom_files_without_an_extension_are_listed_and_spread(root):
    for name in ("IM0001", "1.2.840.113619", "notes", "README.txt", "empty"):
        (root / name).write_bytes((root / "series.dcm").read_bytes() if "1" in name else b"")
    (root / "series.dcm").rename(root / "series.txt")  # content tells, not the name
    (root / "away").symlink_to(root.parent / "out.tif")
    found = [path for path in list_images(root) if not path.endswith(("tif", "gz"))]
    assert found == ["1.2.840.113619", "IM0001", "series.txt"]
    assert spread(root, found, data(page="all")) == [
        "1.2.840.113619#0", "1.2.840.113619#1", "IM0001#0", "IM0001#1", "series.txt#0",
        "series.txt#1",
    ]  # fmt: skip


def test_a_source_reads_each_page(root):
    names = ["stack.tif#2", "volume.nii.gz#z=1", "series.dcm#1", "out.tif#0", "stack.tif#3"]
    source = FileSource(root, names, data(root, page="all", min_side=4))
    for index, expected in enumerate(
        (frames(3)[2], frames(8, (6, 7))[1][::-1, ::-1].T, frames(2)[1])
    ):
        stored = source.stored(index).values
        np.testing.assert_array_equal(stored, expected)
        sample = source.read(index)
        assert sample.image.shape == (8, 8, 1)
        assert (sample.placement.height, sample.placement.width) == stored.shape
    with pytest.raises(UserError, match="leads out"):
        source.read(3)
    with pytest.raises(UserError, match="no page of number 3"):
        source.read(4)


def test_content_that_lies_in_no_file_is_read_alike(root, monkeypatch):
    """As that of data sets which hold files' bytes in records."""
    names = ("series.dcm", "volume.nii.gz", "stack.tif")
    contents = {f"set/{name}": (root / name).read_bytes() for name in names}
    options = {"size": 8, "channels": 1, "page": 1, **LIMITS}
    expected = [read_image(root / name, **options).image for name in names]
    monkeypatch.setattr(image, "read_bytes", lambda path, _, keep: contents[path])
    for path, read in zip(contents, expected, strict=True):
        np.testing.assert_array_equal(read_image(path, **options).image, read)


def test_a_manifest_may_name_pages_but_not_leave_its_folder(root):
    table = root / "list.csv"
    table.write_text("path\nstack.tif#1\nvolume.nii.gz#z=3\n")
    assert read_manifest(table) == ["stack.tif#1", "volume.nii.gz#z=3"]
    table.write_text("path\nout.tif#1\n")
    with pytest.raises(UserError, match="line 2.*leads out"):
        read_manifest(table)


def test_slices_of_a_volume_are_one_group_with_a_mask_each(tmp_path):
    for place in ("train/good", "train/tumour", "ground_truth_train/tumour"):
        (tmp_path / place).mkdir(parents=True)
    images = nibabel.Nifti1Image(frames(8, (6, 7)), np.eye(4))
    images.to_filename(tmp_path / "train/good/a.nii.gz")
    images.to_filename(tmp_path / "train/tumour/b.nii.gz")
    mask = np.zeros((8, 6, 7), np.uint8)
    mask[2, 3, 4] = 1
    truth = tmp_path / "ground_truth_train/tumour/b_mask.nii.gz"
    nibabel.Nifti1Image(mask, np.eye(4)).to_filename(truth)
    source = open_source(data(tmp_path, page="all", min_side=4))
    assert [record.path for record in source.records] == [
        *(f"train/good/a.nii.gz#z={k}" for k in range(7)),
        *(f"train/tumour/b.nii.gz#z={k}" for k in range(7)),
    ]
    assert {record.group for record in source.records} == {
        "train/good/a.nii.gz", "train/tumour/b.nii.gz"
    }  # fmt: skip
    assert source.ignored == ()
    for index in range(7, 14):
        mask = source.read(index).mask
        assert mask.shape == (6, 8)
        assert np.argwhere(mask).tolist() == ([[2, 5]] if index == 7 + 4 else [])
        np.testing.assert_array_equal(source.read_mask(index), mask)
    mask = source.read(0).mask
    assert not mask.any() and mask.shape == (6, 8) and source.read_mask(0) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("page", "first"), ("page", "-1"), ("axis", "t"), ("resize", "squash"),
     ("value_range", (3, 1)), ("value_range", ("wide",)), ("value_range", (1, 2, 3))],
)  # fmt: skip
def test_a_value_that_nothing_satisfies_is_refused_before_any_file_is_read(key, value):
    with pytest.raises(UserError, match=rf"`data\.{key}` \(="):
        check_settings(data(**{key: value}).to_dict())
    check_settings(data(page="3", axis="x", resize="letterbox", value_range=("robust",)).to_dict())
