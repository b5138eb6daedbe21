"""What lies below a folder: every file is an image to judge, left out by name, or our own."""

import io
import os

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from ad_core.data.formats.kinds import is_image_content, unread_kind
from ad_core.data.layouts.class_folders import open_source
from ad_core.data.layouts.files import FileSource
from ad_core.data.layouts.listing import find_images, list_images, split_name
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults
from ad_core.runtime.sealed import mark_own
from tests.ad_core.data.formats.test_dicom import RAMP, save

SCAN = np.random.default_rng(0).integers(0, 255, (16, 16), dtype=np.uint8)


def encoded(kind, **options):
    stream = io.BytesIO()
    Image.fromarray(SCAN).save(stream, kind, **options)
    return stream.getvalue()


def data_of(root, *normal):
    data = defaults("cpu").data
    data.source = "ad_core.data.layouts.class_folders"
    data.root, data.image_size, data.normal_classes = str(root), 8, normal
    return data


CONTENTS = {
    "p1.jfif": encoded("JPEG"), "p2.jpe": encoded("JPEG"), "p3": encoded("PNG"),
    "p4.PNG_": encoded("PNG"), "p5.apng": encoded("PNG"), "p6.dib": encoded("BMP"),
    "p7.png.part": encoded("PNG"), "p8.tmp": encoded("TIFF"), "p9.txt": encoded("WEBP"),
    ".hidden": encoded("PNG"), "._odd.png": encoded("PNG"),
}  # fmt: skip
UNREAD = {
    "q1.gif": encoded("GIF"), "q2.pgm": encoded("PPM"), "q3.jp2": encoded("JPEG2000"),
    "q4": encoded("GIF"), "q5.data": encoded("PPM"), "q6.dat": encoded("JPEG2000"),
    "q0": b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100",
    "q7.png": b"", "q8.IMA": b"text", "q9.tif": b"text",
}  # fmt: skip
OTHERS = {
    "readme.txt": b"BMW parts\n", "Thumbs.db": b"\xd0\xcf\x11\xe0 thumbs", 
    ".DS_Store": b"\0\0\0\1Bud1",
    "._p1.png": b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", "list.csv": b"path\np3\n",
    "up.part": b"", "notes.gz": b"\x1f\x8b\x08\0\0\0\0\0\0\3K\xcaI\x07\0", "P5": b"P5? no",
}  # fmt: skip


def write(root, contents):
    root.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (root / name).write_bytes(content)


def test_every_file_is_judged_or_left_out_by_its_content(tmp_path):
    root = tmp_path / "in"
    write(root, CONTENTS | UNREAD | OTHERS)
    save(root / "IM0001", RAMP)
    save(root / "a.dc3", RAMP)
    nibabel.Nifti1Image(SCAN[..., None], np.eye(4)).to_filename(tmp_path / "v.nii.gz")
    (tmp_path / "v.nii.gz").rename(root / "volume")
    found = find_images(root)
    read = {*CONTENTS, "IM0001", "a.dc3", "volume"}
    assert set(found.images) == read | set(UNREAD)
    assert set(found.left_out) == set(OTHERS) and found.own == ()
    data = defaults("cpu").data
    data.update({"image_size": 8, "value_range": (0, 4095)})
    source = FileSource(root, found.images, data)
    for index, name in enumerate(found.images):
        if name in read:
            assert source.read(index).image.shape == (8, 8, 1)
        else:
            with pytest.raises(UserError, match=f"{name}: (is none of|is a|is empty)"):
                source.read(index)


def test_training_lists_the_same_images_as_scoring(tmp_path):
    for place in ("no", "yes"):
        write(tmp_path / place, CONTENTS | UNREAD | OTHERS)
        save(tmp_path / place / "IM0001", RAMP)
    source = open_source(data_of(tmp_path, "no"))
    assert sorted(source.paths) == list_images(tmp_path)
    assert set(source.ignored) == {f"{place}/{name}" for place in ("no", "yes") for name in OTHERS}


def test_a_known_format_that_is_not_read_is_named():
    known = {name: unread_kind(content) for name, content in UNREAD.items()}
    assert [known[f"q{n}{end}"] for n, end in ((1, ".gif"), (2, ".pgm"), (3, ".jp2"))] == [
        "GIF", "PNM", "JPEG 2000",
    ]  # fmt: skip
    assert not any(is_image_content(content) for content in OTHERS.values())
    for kind in ("BMP", "PNG", "JPEG", "TIFF", "WEBP"):
        assert is_image_content(encoded(kind)) and not unread_kind(encoded(kind))


def test_what_the_program_wrote_is_no_input(tmp_path):
    """Below the images, beside them, and through a link."""
    write(tmp_path, {"p.png": encoded("PNG"), "scores.csv": b"", "mine.csv": b""})
    write(tmp_path / "maps", {"p.png.png": encoded("PNG")})
    mark_own(tmp_path, ("scores.csv", "maps"))
    write(tmp_path / "sub/out/maps", {"p.png.png": encoded("PNG")})
    write(tmp_path / "sub/out", {"late.png": encoded("PNG"), "scores.csv.partial": b""})
    mark_own(tmp_path / "sub/out", ("scores.csv", "maps"))
    (tmp_path / "link.png").symlink_to(tmp_path / "maps/p.png.png")
    found = find_images(tmp_path)
    assert found.images == ("p.png", "sub/out/late.png")
    assert found.left_out == ("mine.csv",)
    assert set(found.own) == {
        ".zfn-output", "maps/", "scores.csv", "link.png",
        "sub/out/.zfn-output", "sub/out/maps/", "sub/out/scores.csv.partial",
    }  # fmt: skip
    for inside in (tmp_path / "maps", tmp_path / "sub/out/maps"):
        with pytest.raises(UserError, match="was written by this program"):
            find_images(inside)


def test_what_the_program_wrote_is_no_class(tmp_path):
    for name in ("no/a.png", "no/b.png", "yes/a.png", "maps/a.png.png"):
        write((tmp_path / name).parent, {(tmp_path / name).name: encoded("PNG")})
    mark_own(tmp_path, ("maps", "summary.json"))
    source = open_source(data_of(tmp_path, "no"))
    assert source.paths == ("no/a.png", "no/b.png", "yes/a.png") and source.ignored == ()
    with pytest.raises(UserError, match="was written by this program"):
        open_source(data_of(tmp_path / "maps", "no"))


def test_a_pipe_is_never_opened(tmp_path):
    write(tmp_path, {"a.png": encoded("PNG")})
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.png")
    found = find_images(tmp_path)
    assert found.images == ("a.png", "pipe.png") and found.left_out == ("pipe",)


def test_a_file_that_is_called_like_a_page_is_itself(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([SCAN, SCAN // 2]), photometric="minisblack")
    write(tmp_path, {"p#1": encoded("PNG")})
    data = defaults("cpu").data
    data.update({"image_size": 8, "page": "all"})
    source = FileSource(tmp_path, ["p#1", "a.tif#1"], data)
    np.testing.assert_array_equal(source.stored(0).values, SCAN)
    np.testing.assert_array_equal(source.stored(1).values, SCAN // 2)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a/b.nii.gz", ("b", ".nii.gz")), ("p.PNG_", ("p", ".PNG_")), ("IM1", ("IM1", "")),
        ("1.2.840", ("1.2.840", "")), ("x.jfif", ("x", ".jfif")),
        ("x.png.part", ("x.png", ".part")),
    ],
)  # fmt: skip
def test_an_extension_is_what_no_number_is(name, parts):
    assert split_name(name) == parts
