"""Kinds of files, told by their first bytes and not by their names: is it an image at all?"""

import os
import stat
import zlib

from ad_core.data.formats import dicom, nifti, raster

HEAD = 4096  # bytes that tell: a header of NIfTI is compressed in fewer
# Names under which images come, beyond those of the formats that are read.
NAMES = (
    *raster.EXTENSIONS, *dicom.EXTENSIONS, *nifti.EXTENSIONS, ".jfif", ".jpe", ".apng", ".dib",
    ".ima", ".dc3", ".gif", ".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".jpx", ".jxl", ".jls",
    ".heic", ".heif", ".avif", ".exr", ".psd", ".tga", ".mha", ".mhd", ".nrrd", ".mgz", ".img",
)  # fmt: skip

_APPLE_DOUBLE = b"\x00\x05\x16\x07"  # what a Mac puts beside a file, as ._NAME
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes; "BM" begins texts as well
# Formats that are known and not read: such a file is an image that cannot be judged.
_UNREAD = {
    "GIF": (b"GIF87a", b"GIF89a"),
    "JPEG 2000": (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    "JPEG XL": (b"\x00\x00\x00\x0cJXL \r\n\x87\n", b"\xff\x0a"),
    "Photoshop": (b"8BPS",),
    "OpenEXR": (b"\x76\x2f\x31\x01",),
    "Radiance HDR": (b"#?RADIANCE", b"#?RGBE"),
    "NRRD": (b"NRRD0",),
    "MetaImage": (b"ObjectType = Image",),
    "JPEG XR": (b"II\xbc",),
    "FITS": (b"SIMPLE  =",),
    "QOI": (b"qoif",),
    "DDS": (b"DDS ",),
    "MNG": (b"\x8aMNG\r\n\x1a\n",),
}
_HEIF = (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1", b"avif", b"avis", b"crx ")


def read_head(path: str | os.PathLike[str]) -> bytes | None:
    """The first bytes of a file; None if it cannot be opened. What is no file holds none."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a named pipe would wait for ever
            return b""
        with open(path, "rb") as file:
            return file.read(HEAD)
    except FileNotFoundError:
        return b""
    except OSError:
        return None


def is_image_content(head: bytes) -> bool:
    """Tells whether a file that begins with these bytes is an image, of a kind that is read or not.

    Args:
        head: its first bytes, HEAD of them if it has so many.
    """
    return _is_read(head) or bool(unread_kind(head))


def unread_kind(head: bytes) -> str:
    """Name of a known format of images that is not read; "" for any other content."""
    if head[:1] == b"P" and head[1:2] in b"1234567Ff" and head[2:3].isspace():
        return "PNM"
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        return "HEIF"
    return next((name for name, magics in _UNREAD.items() if head.startswith(magics)), "")


def is_named_image(name: str) -> bool:
    """Tells whether a file's name ends as an image's does."""
    return name.lower().endswith(NAMES)


def is_image(path: str | os.PathLike[str]) -> bool:
    """Tells whether a file is one to judge: an image by content, or by name where it is none.

    Under an image's name anything is one, damaged or empty; only what a Mac puts beside a file as
    ._NAME is not. A file that cannot be opened may be one.
    """
    name = os.path.basename(path)
    named = is_named_image(name)
    if named and not name.startswith("._"):
        return True
    head = read_head(path)
    if head is None:
        return True
    return is_image_content(head) or (named and not head.startswith(_APPLE_DOUBLE))


def _is_read(head: bytes) -> bool:
    if nifti.is_gzip(head):
        head = _unpacked(head)
        return nifti.is_nifti(head)
    if head[:2] == b"BM":
        return int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    return raster.is_raster(head) or dicom.is_dicom(head) or nifti.is_nifti(head)


def _unpacked(head: bytes) -> bytes:
    """What the first bytes of gzip's data unfold to, as far as they do."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD)
    except zlib.error:
        return b""
