"""PNG, JPEG, TIFF, BMP and WebP: the stored values of one page, by Pillow's plug-ins."""

import io
import os
import sys
from typing import BinaryIO, NamedTuple, NoReturn

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import (  # the plug-ins register themselves in Image.OPEN
    BmpImagePlugin,  # noqa: F401
    Image,
    ImageFile,
    JpegImagePlugin,  # noqa: F401
    MpoImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,
    WebPImagePlugin,  # noqa: F401
)

from ad_core.data.formats import pyramid
from ad_core.data.formats.stored import (
    DAMAGED,
    PAGES,
    Limits,
    Stored,
    Wanted,
    check_size,
    choose_page,
    page_number,
    refuse,
)
from ad_core.errors import UserError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")

_TAGS = {"bits": 258, "photometric": 262, "planar": 284, "orientation": 0x0112}  # TIFF and EXIF
_UPRIGHT = {  # by EXIF orientation
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.swapaxes(np.rot90(a, 2), 0, 1),
    8: lambda a: np.rot90(a, 1),
}
# Pillow keeps the high byte of 16-bit colour. Read in the other byte order, it gives the low one.
_LOW_BYTE = {
    f"{mode};16{order}": f"{mode};16{other}"
    for mode in ("RGB", "RGBA", "RGBX")
    for order, other in (("B", "L"), ("L", "B"), ("N", "B" if sys.byteorder == "little" else "L"))
}
_TOP = {"I;16": 65535, "I;16B": 65535, "I;16L": 65535, "I;16N": 65535, "I": None, "F": None}
_DRAFT_PIXELS = 10**8
_TO_RGB = ("P", "PA", "RGBX", "RGBa", "CMYK", "YCbCr")


def is_raster(data: bytes) -> bool:
    """Tells whether the first bytes are those of one of FORMATS."""
    return _format(data) is not None


def is_tiff(data: bytes) -> bool:
    """Tells whether the first bytes are those of a TIFF file."""
    return _format(data) == "TIFF"


def decode(path: str | os.PathLike[str], data: bytes, wanted: Wanted, limits: Limits) -> Stored:
    """One page of the file whose content is `data`. Raises UserError, naming `path`."""
    # Damaged bytes make Pillow raise nearly anything: OSError, SyntaxError, struct.error, ...
    try:
        data, wanted, whole = _version(path, data, wanted, limits)
        image = _open(data)
        page = _seek(path, image, wanted, limits)
    except UserError:
        raise
    except Exception as error:
        _undecodable(path, error)
    width, height = whole or image.size
    check_size(path, width, height, limits)
    unread = _unread(image)
    if unread:
        refuse(path, unread, "save it as 8-bit, or as 16-bit or float grey with black as zero")
    try:
        _reduce(image, wanted)
        values, top, turned = _load(image, data, page)
    except Exception as error:
        _undecodable(path, error)
    own = top is not None and top not in (255, 65535)  # 12 bits, and 16 in another file
    size = None
    if wanted.least is not None:
        size = (width, height) if turned >= 5 else (height, width)
    bounds = None if top is None else (0.0, float(top))
    return Stored(values, bounds, own=own, turned=turned, size=size)


def _version(
    path: str | os.PathLike[str], data: bytes, wanted: Wanted, limits: Limits
) -> tuple[bytes, Wanted, tuple[int, int] | None]:
    """Of a file with pyramids one that begins with the version to read, and its page's full size.

    Other files stay as they are, of size None.
    """
    if _format(data) != "TIFF":
        return data, wanted, None
    found = pyramid.pages(data, most=limits.max_frames + 1)
    if not found:
        return data, wanted, None
    full, _ = page = found[choose_page(path, wanted, len(found), limits=limits, noun="pages")]
    least = wanted.least
    if least is not None and (full.orientation or 1) >= 5:
        least = (least[1], least[0])
    begun = pyramid.beginning_with(data, page.enough(least))
    return begun, wanted._replace(page=0), (full.width, full.height)


def _reduce(image: ImageFile.ImageFile, wanted: Wanted) -> None:
    """Has a JPEG file decoded at half, a quarter or an eighth, no side below what is enough."""
    if wanted.least is None or image.format != "JPEG" or image.mode not in ("L", "RGB"):
        return
    sides = (
        wanted.least
        if image.getexif().get(_TAGS["orientation"], 1) in (5, 6, 7, 8)
        else (
            wanted.least[1],
            wanted.least[0],
        )
    )
    image.draft(None, sides)  # width and height


def draft(data: bytes, side: int) -> UInt8[np.ndarray, "h w"] | None:
    """Grey of a JPEG file, fast: at an eighth to all of its size, no side below `side` if it can.

    For comparisons only: neither limits nor damage are checked. None for what is no plain JPEG
    file or has too many pixels to be decoded unasked.
    """
    if _format(data) != "JPEG":
        return None
    try:
        image = _open(data)
        if image.format != "JPEG" or image.width * image.height > _DRAFT_PIXELS:
            return None
        image.draft("L", (side, side))
        grey = np.asarray(image.convert("L"))
        return upright(grey, _known(image.getexif().get(_TAGS["orientation"], 1)))
    except Exception:
        return None  # whoever reads it is told


class Layers(NamedTuple):
    """Parts of a picture beside its colours, upright; None where it has no such part.

    alpha: 0 transparent to 255 opaque. index: into its palette. lossy: values are not exact.
    """

    alpha: UInt8[np.ndarray, "h w"] | None
    index: UInt8[np.ndarray, "h w"] | None
    lossy: bool


def decode_layers(
    path: str | os.PathLike[str], data: bytes, wanted: Wanted, limits: Limits
) -> Layers:
    """The layers of a page that `decode` reads. Raises UserError, naming `path`."""
    try:
        data, wanted, _ = _version(path, data, wanted, limits)
        image = _open(data)
        _seek(path, image, wanted, limits)
        lossy = image.format in ("JPEG", "MPO") or data[12:16] == b"VP8 "
        lossy |= image.info.get("compression") == "jpeg"
        image.load()
        turn = image.getexif().get(_TAGS["orientation"], 1)
        clear = image.has_transparency_data
        alpha = np.asarray(image.convert("RGBA"))[..., 3] if clear else None
        index = np.asarray(image.getchannel(0)) if image.mode in ("P", "PA") else None
    except UserError:
        raise
    except Exception as error:
        _undecodable(path, error)
    alpha, index = (layer if layer is None else upright(layer, turn) for layer in (alpha, index))
    return Layers(alpha, index, lossy)


def orientation(data: bytes) -> tuple[int, int, int]:
    """EXIF orientation of a picture (1: none), and its width and height as it is stored."""
    try:
        image = _open(data)
        size = image.size
        tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
        tags = image.tag_v2 if tiff else image.getexif()
        return _known(tags.get(_TAGS["orientation"], 1)), *size
    except Exception:
        return 1, 0, 0  # whoever reads it is told


def states_range(file: BinaryIO) -> bool:
    """Tells whether the type of a TIFF file's values says what is black and white.

    Only its header is read. A damaged one does: its reading will be refused.
    """
    try:
        image = TiffImagePlugin.TiffImageFile(file, "")
    except Exception:
        return True
    return _TOP.get(image.mode, 255) is not None and _raw_mode(image) != "I;12"


def from_pillow(path: str | os.PathLike[str], image: Image.Image, limits: Limits) -> Stored:
    """The values of an image that Pillow has opened or made, turned by its EXIF orientation.

    Of 16-bit colour Pillow keeps the high bytes alone: such a file is read by its path.

    Raises:
        UserError: naming `path`, of a size beyond the limits or a mode that is not read.
    """
    check_size(path, *image.size, limits)
    if isinstance(image, ImageFile.ImageFile):
        lossy = "holds 16-bit colour, half of which Pillow drops"
        unread = lossy if _raw_mode(image) in _LOW_BYTE else _unread(image)
        if unread:
            refuse(path, unread, "give the path of the file")
    try:
        turn = image.getexif().get(_TAGS["orientation"], 1)
        values, top = _pixels(image)
    except Exception as error:
        _undecodable(path, error)
    return Stored(upright(values, turn), None if top is None else (0.0, float(top)))


def count_pages(path: str | os.PathLike[str], data: bytes, limits: Limits) -> int:
    """Number of pages or frames of the file. Raises UserError on a damaged file."""
    try:
        image = _open(data)
        if not isinstance(image, TiffImagePlugin.TiffImageFile):
            return int(getattr(image, "n_frames", 1))
        found = pyramid.pages(data, most=limits.max_frames + 1)
        if found:
            return len(found)
        # Each directory names the next: nothing but a walk tells how many there are.
        for page in range(1, limits.max_frames + 1):
            try:
                image.seek(page)
            except EOFError:
                return page
    except Exception as error:
        _undecodable(path, error)
    return limits.max_frames + 1


def _undecodable(path: str | os.PathLike[str], error: Exception) -> NoReturn:
    refuse(path, f"cannot be decoded ({type(error).__name__}: {error})", DAMAGED)


def _format(data: bytes) -> str | None:
    for name in FORMATS:
        accepts = Image.OPEN[name][1]
        if accepts is not None and accepts(data[:16]) is True:
            return name
    return None


def _open(data: bytes) -> ImageFile.ImageFile:
    """The header, read by one of the allowed plug-ins.

    Image.open would add Pillow's own pixel limit, which is process-wide, warns below ours and
    is not ours to change.
    """
    return Image.OPEN[_format(data) or ""][0](io.BytesIO(data), "")


def _seek(
    path: str | os.PathLike[str], image: ImageFile.ImageFile, wanted: Wanted, limits: Limits
) -> int:
    """Moves to the page that the rule names; its number."""
    if not getattr(image, "is_animated", False):
        return choose_page(path, wanted, 1, limits=limits, noun="pages")
    number = page_number(wanted)
    if number is None:
        refuse(path, "holds several frames or pages", PAGES)
    if number >= limits.max_frames:
        problem = f"page {number} lies beyond `data.max_frames` (={limits.max_frames})"
        refuse(path, problem, "split the file or raise the limit")
    try:
        image.seek(number)
    except EOFError:
        refuse(path, f"holds no page of number {number} (the first is 0)", PAGES)
    return number


def _unread(image: ImageFile.ImageFile) -> str:
    """Content that Pillow would silently decode to something else; "" where there is none."""
    raw = _raw_mode(image)
    # "BGR;16" are the 5-6-5 bits of a BMP.
    if ";16" in raw and not raw.startswith(("I;", "BGR")) and raw not in _LOW_BYTE:
        return f"holds 16-bit colour of the kind {raw}"
    if image.format == "PNG" and raw in _LOW_BYTE and getattr(image, "is_animated", False):
        return "is an animation in 16-bit colour"
    if raw == "I;32N":
        return "holds unsigned 32-bit values"
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        if image.tag_v2.get(_TAGS["photometric"]) == 0 and image.mode not in ("1", "L"):
            return "stores white as zero in more than 8 bits"
        if image.tag_v2.get(_TAGS["planar"]) == 2 and max(image.tag_v2[_TAGS["bits"]]) > 8:
            return "keeps the colours of more than 8 bits in separate planes"
    return ""


def _raw_mode(image: ImageFile.ImageFile) -> str:
    args = image.tile[0].args if image.tile else ""
    return str(args[0] if isinstance(args, tuple) else args)


def _load(
    image: ImageFile.ImageFile, data: bytes, page: int
) -> tuple[Shaped[np.ndarray, "h w *c"], int | None, int]:
    """Upright values, the highest that their type holds (None if it says not), and their turn."""
    if image.format == "PNG":
        _open(data).verify()  # Pillow does not check the sums of pixel data when it decodes
    raw = _raw_mode(image)
    tiff = isinstance(image, TiffImagePlugin.TiffImageFile)
    before = _known(image.tag_v2.get(_TAGS["orientation"], 1)) if tiff else 0
    pixels, top = _pixels(image)
    if raw in _LOW_BYTE:
        again = _open(data)
        if page:
            again.seek(page)
        again.tile = [tile._replace(args=_with_mode(tile.args, raw)) for tile in again.tile]
        pixels, top = pixels.astype(np.uint16) * 256 + _pixels(again)[0], 65535
    if raw == "I;12":
        top = 4095
    # Pillow turns TIFF images itself and then leaves no orientation behind.
    orientation = image.getexif().get(_TAGS["orientation"], 1)
    return upright(pixels, orientation), top, before or _known(orientation)


def upright(
    values: Shaped[np.ndarray, "h w *c"], orientation: int
) -> Shaped[np.ndarray, "h2 w2 *c"]:
    """Stored values turned as an EXIF orientation says."""
    return _UPRIGHT.get(orientation, _UPRIGHT[1])(values)


def _known(orientation: object) -> int:
    return next((known for known in _UPRIGHT if known == orientation), 1)


def _with_mode(args: object, raw: str) -> object:
    low = _LOW_BYTE[raw]
    return (low, *args[1:]) if isinstance(args, tuple) else low


def _pixels(image: Image.Image) -> tuple[Shaped[np.ndarray, "h w *c"], int | None]:
    """The decoded values without alpha, and the highest that their type holds."""
    image.load()
    if image.mode in _TOP:
        return np.asarray(image), _TOP[image.mode]
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L")), 255
    if image.mode in ("LA", "La"):
        return np.asarray(image.convert("LA"))[..., 0], 255
    colour: Image.Image = image
    if image.mode in _TO_RGB:
        # Through RGBA, since a palette's transparency has no place in RGB.
        colour = image.convert("RGBA" if image.mode in ("P", "PA", "RGBa") else "RGB")
    if colour.mode not in ("RGB", "RGBA"):
        raise ValueError(f"mode {image.mode} is not read")
    return np.asarray(colour)[..., :3], 255
