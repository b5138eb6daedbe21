"""One image file to a float array of one size; a damaged file is a message, never a crash."""

import io
import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from jaxtyping import Bool, Float, Shaped
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

from ad_core.errors import UserError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601

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
_TO_RGB = ("P", "PA", "RGBX", "RGBa", "CMYK", "YCbCr")
_DAMAGED = "it is damaged: copy it again or remove it"


class Picture(NamedTuple):
    """A decoded image and the size it had, by which regions are mapped back.

    image: at the configured size, in [-1, 1]. width, height: of the file, upright, in pixels.
    """

    image: Float[np.ndarray, "h w c"]
    width: int
    height: int


def read_image(
    path: str | os.PathLike[str],
    *,
    size: int,
    channels: int,
    value_range: Sequence[float | int] | None = None,
    max_pixels: int,
    max_bytes: int,
    min_side: int,
) -> Picture:
    """The image of a PNG, JPEG, TIFF, BMP or WebP file, stretched to `size` x `size`.

    Stored values low..high become -1..1; values outside that range are clipped. Resampling is
    antialiased bicubic in float, clipped again. EXIF orientation is applied, alpha dropped,
    a palette or CMYK becomes RGB. Grey from colour is the Rec. 601 luma; colour from grey is
    replicated. Only PNG and compressed TIFF carry checksums: changed pixels in other formats
    cannot be told from others.

    Args:
        channels: 1 or 3.
        value_range: stored (low, high); None means 0..255 for 8-bit and 0..65535 for 16-bit
            files. Float and 32-bit files need it.
        max_pixels, max_bytes, min_side: limits, checked before anything is decoded.

    Raises:
        UserError: the file cannot be read, is damaged, beyond a limit, of several frames, not
            finite, or without a range; the message names the path and the mend.
    """
    if channels not in (1, 3):
        raise UserError(f"`channels` (={channels}) must be 1 or 3.")
    pixels, top = _decode(path, max_pixels=max_pixels, max_bytes=max_bytes, min_side=min_side)
    if not np.isfinite(pixels).all():
        _refuse(path, "holds values that are not finite", "repair or remove it")
    low, high = _bounds(path, value_range, top)
    height, width = pixels.shape[:2]
    bands = [_scale(band, low, high) for band in np.atleast_3d(pixels).transpose(2, 0, 1)]
    if channels == 1 and len(bands) == 3:
        red, green, blue = (np.float32(part) for part in LUMA)
        bands = [red * bands[0] + green * bands[1] + blue * bands[2]]
    small = [_resize(band, size) for band in bands]
    image = np.stack(small * (channels // len(small)), axis=-1)
    return Picture(image=image, width=width, height=height)


def read_mask(
    path: str | os.PathLike[str],
    *,
    size: int,
    max_pixels: int = 100_000_000,
    max_bytes: int = 500_000_000,
) -> Bool[np.ndarray, "h w"]:
    """True where the file's pixels are not black, stretched to `size` x `size`.

    Nearest neighbour; where that would leave nothing of a mask, each cell that holds any
    abnormal pixel is True instead.

    Raises:
        UserError: as `read_image`.
    """
    pixels, _ = _decode(path, max_pixels=max_pixels, max_bytes=max_bytes, min_side=1)
    full = pixels != 0 if pixels.ndim == 2 else (pixels != 0).any(axis=-1)
    height, width = full.shape
    centres = (np.arange(size) + 0.5) / size
    mask = full[np.ix_((centres * height).astype(int), (centres * width).astype(int))]
    if not mask.any():
        rows, columns = np.nonzero(full)
        mask[rows * size // height, columns * size // width] = True
    return mask


def _refuse(path: str | os.PathLike[str], problem: str, mend: str) -> NoReturn:
    raise UserError(f"{os.fspath(path)}: {problem}; {mend}.")


def _decode(
    path: str | os.PathLike[str], *, max_pixels: int, max_bytes: int, min_side: int
) -> tuple[Shaped[np.ndarray, "h w *c"], int | None]:
    """Stored values, grey or RGB, upright; and the highest the type holds, None if it says not."""
    data = _read_bytes(path, max_bytes)
    # Damaged bytes make Pillow raise nearly anything: OSError, SyntaxError, struct.error, ...
    try:
        image = _open(data)
    except Exception as error:
        _refuse(path, f"cannot be decoded ({type(error).__name__}: {error})", _DAMAGED)
    if image is None:
        _refuse(path, f"is none of {', '.join(FORMATS)}, whatever its name", "convert or remove it")
    _check_header(path, image, max_pixels=max_pixels, min_side=min_side)
    try:
        return _load(image, data)
    except Exception as error:
        _refuse(path, f"cannot be decoded ({type(error).__name__}: {error})", _DAMAGED)


def _read_bytes(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a named pipe would wait for ever
            _refuse(path, "is not a file", "give the path of an image")
        if status.st_size > max_bytes:
            problem = f"has {status.st_size} bytes, more than `data.max_bytes` (={max_bytes})"
            _refuse(path, problem, "reduce the file or raise the limit")
        data = Path(path).read_bytes()
    except OSError as error:
        _refuse(path, f"cannot be read ({error.strerror})", "check the path and its permissions")
    if not data:
        _refuse(path, "is empty (0 bytes)", "copy it again or remove it")
    return data


def _open(data: bytes) -> ImageFile.ImageFile | None:
    """The header, read by one of the allowed plug-ins; None if none of them knows the bytes.

    Image.open would add Pillow's own pixel limit, which is process-wide, warns below ours and
    is not ours to change.
    """
    for name in FORMATS:
        factory, accepts = Image.OPEN[name]
        if accepts is not None and accepts(data[:16]) is True:
            return factory(io.BytesIO(data), "")
    return None


def _check_header(
    path: str | os.PathLike[str], image: ImageFile.ImageFile, *, max_pixels: int, min_side: int
) -> None:
    width, height = image.size
    if width * height > max_pixels:
        problem = f"claims {width} x {height} pixels, more than `data.max_pixels` (={max_pixels})"
        _refuse(path, problem, "reduce the image or raise the limit")
    if min(width, height) < min_side:
        problem = f"is {width} x {height} pixels, a side below `data.min_side` (={min_side})"
        _refuse(path, problem, "remove it or lower the limit")
    if getattr(image, "is_animated", False):
        _refuse(path, "holds several frames", "save each frame as a file of its own")
    unread = _unread(image)
    if unread:
        _refuse(path, unread, "save it as 8-bit, or as 16-bit or float grey with black as zero")


def _unread(image: ImageFile.ImageFile) -> str:
    """What Pillow would decode to something else without a word, or "" if there is nothing."""
    raw = _raw_mode(image)
    # "BGR;16" are the 5-6-5 bits of a BMP.
    if ";16" in raw and not raw.startswith(("I;", "BGR")) and raw not in _LOW_BYTE:
        return f"holds 16-bit colour of the kind {raw}"
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
    image: ImageFile.ImageFile, data: bytes
) -> tuple[Shaped[np.ndarray, "h w *c"], int | None]:
    if image.format == "PNG":
        checked = _open(data)
        assert checked is not None
        checked.verify()  # Pillow does not check the sums of pixel data when it decodes
    raw = _raw_mode(image)
    pixels, top = _pixels(image)
    if raw in _LOW_BYTE:
        again = _open(data)
        assert again is not None
        again.tile = [tile._replace(args=_with_mode(tile.args, raw)) for tile in again.tile]
        pixels, top = pixels.astype(np.uint16) * 256 + _pixels(again)[0], 65535
    if raw == "I;12":
        top = 4095
    # Pillow turns TIFF images itself and then leaves no orientation behind.
    orientation = image.getexif().get(_TAGS["orientation"], 1)
    return _UPRIGHT.get(orientation, _UPRIGHT[1])(pixels), top


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
    if image.mode in _TO_RGB:
        # Through RGBA, since a palette's transparency has no place in RGB.
        image = image.convert("RGBA" if image.mode in ("P", "PA", "RGBa") else "RGB")
    if image.mode not in ("RGB", "RGBA"):
        raise ValueError(f"mode {image.mode} is not read")
    return np.asarray(image)[..., :3], 255


def _bounds(
    path: str | os.PathLike[str], value_range: Sequence[float | int] | None, top: int | None
) -> tuple[float, float]:
    if value_range is not None:
        low, high = value_range
        if not -np.inf < low < high < np.inf:
            raise UserError(f"`data.value_range` (={value_range}) must be (low, high), low < high.")
        return float(low), float(high)
    if top is None:
        mend = "give the lowest and highest stored value, e.g. `--config.data.value_range=(0, 1)`"
        _refuse(path, "holds float or 32-bit values, whose range no file states", mend)
    return 0.0, float(top)


def _scale(pixels: Shaped[np.ndarray, "h w"], low: float, high: float) -> Float[np.ndarray, "h w"]:
    # Only 32-bit values need more than float32 to keep their digits.
    exact = pixels.astype(np.float64 if pixels.dtype.itemsize > 2 else np.float32)
    scaled = (exact - low) * (2 / (high - low)) - 1
    return np.clip(scaled, -1, 1).astype(np.float32)


def _resize(band: Float[np.ndarray, "h w"], size: int) -> Float[np.ndarray, "s s"]:
    small = Image.fromarray(band).resize((size, size), Image.Resampling.BICUBIC)
    return np.clip(np.asarray(small), -1, 1)
