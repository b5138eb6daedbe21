"""One image file to a float array of one size; a damaged file is a message, never a crash.

What each kind of file becomes:

    8 bits                    0..255 to -1..1
    16 bits                   0..65535 to -1..1, all digits kept; 12-bit TIFF 0..4095
    32 bits, float            `data.value_range` says what is black and white
    1 bit                     black and white
    palette                   its colours
    CMYK, YCbCr               RGB, by Pillow's plain conversion; no colour profile is applied
    alpha                     dropped, not blended
    EXIF orientation          applied
    white as zero             8-bit TIFF and DICOM's MONOCHROME1: inverted; 16-bit TIFF: refused
    several pages             TIFF, animated PNG and WebP, MPO, DICOM frames, slices of a volume:
                              `data.page`: refuse; a number, from 0; or all, an image each
    reduced versions          in TIFF (a pyramid): no pages; read where `draft` allows it
    DICOM                     rescale slope and intercept, then `data.value_range` in the rescaled
                              unit (Hounsfield); palette and YBR to RGB. By itself a file is shown
                              by its first VOI window, without one by what its stored bits hold.
                              Sigmoid and table (LUT) in place of window or slope: refused
    NIfTI                     scl_slope and scl_inter; slices across `data.axis` of the closest
                              canonical orientation, front or top above, the right side on the
                              left, whatever the order in the file; pixel spacing is not applied

A path may name a page: `stack.tif#2`, `series.dcm#11`, `volume.nii.gz#z=12`. Only PNG, gzip and
compressed TIFF carry checksums: changed pixels in other files cannot be told from others.

`data.resize` brings an image to the network's size (data.formats.resizing): stretch, letterbox, or
centre_crop, which looks at nothing outside the middle part: a defect there passes unseen. own_size
leaves it as it is; of a larger one `Sample.large` reads every pixel.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from PIL import Image

from ad_core.data.formats import dicom, kinds, nifti, raster
from ad_core.data.formats.resizing import RESIZES, STRETCHING, place, to_network, view_size
from ad_core.data.formats.stored import Limits, Stored, Wanted, read_bytes, refuse
from ad_core.data.reference import motion_to
from ad_core.data.region import paint
from ad_core.data.registration import Motion
from ad_core.data.shape import ImageSize, sides
from ad_core.errors import UserError
from ad_core.types import Placement, Sample

EXTENSIONS = (*raster.EXTENSIONS, *dicom.EXTENSIONS, *nifti.EXTENSIONS)
FORMATS = (*raster.FORMATS, "DICOM", "NIfTI")
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
ROBUST = ("robust",)  # the `value_range` that the training images have yet to fix
TYPE = ("type",)  # of a detector that files have trained whose type states black and white
UNFIXED = ("unfixed",)  # of images that may yet fix one: their type's, else each by itself
# The keys of config.data that decide what a file becomes, as `read_image` takes them.
SETTINGS = (
    "channels", "value_range", "resize", "region", "reference", "turned", "draft",
    "page", "axis",
    "max_pixels", "max_bytes", "min_side", "max_frames",
)  # fmt: skip


def check_settings(data: Mapping[str, Any]) -> None:
    """Refuses, before any file is read, a value of config.data that no file could satisfy.

    Raises:
        UserError: naming the key, the value and what it may be.
    """
    sides(data["image_size"])
    page = str(data["page"])
    if page not in ("refuse", "all") and not page.isdecimal():
        raise UserError(f"`data.page` (={page!r}) must be refuse, all, or a number from 0.")
    choices = {"axis": nifti.AXES, "resize": RESIZES}
    if data["region"] and data["resize"] == "centre_crop":
        raise UserError(
            "`data.region` is stated of whole images and `data.resize` (=centre_crop) cuts them; "
            "use stretch, letterbox or own_size."
        )
    if data["reference"] and data["resize"] not in (*STRETCHING, "letterbox"):
        raise UserError(
            f"`data.reference` registers whole images at the network's size, and `data.resize` "
            f"(={data['resize']}) shows none; use letterbox or stretch."
        )
    for key, known in choices.items():
        if data[key] not in known:
            raise UserError(f"`data.{key}` (={data[key]!r}) must be one of {', '.join(known)}.")
    if data["value_range"] is not None and tuple(data["value_range"]) != ROBUST:
        stated_range(data["value_range"])


def read_image(
    path: str | os.PathLike[str],
    *,
    size: ImageSize,
    channels: int,
    value_range: Sequence[float | int | str] | None = None,
    resize: str = "stretch",
    region: str = "",
    reference: str = "",
    turned: bool = True,
    draft: bool = False,
    page: int | str = "refuse",
    axis: str = "z",
    max_pixels: int,
    max_bytes: int,
    min_side: int,
    max_frames: int = 10_000,
) -> Sample:
    """The image of a file in one of FORMATS, brought to `size`, without a mask.

    Stored values low..high become -1..1; values outside that range are clipped. Resampling is
    antialiased bicubic in float, clipped again. Grey from colour is the Rec. 601 luma; colour
    from grey is replicated. For each kind of file see the table above.

    Args:
        size: the side of a square, or height and width. channels: 1 or 3.
        value_range: stored (low, high); None means what the file says, or its type. TYPE: what the
            type says, and a file that says something of its own is refused, since one value would
            have several greys. ROBUST and UNFIXED, as long as no training images have fixed it,
            mean the image's own lowest and highest, UNFIXED only where its type says nothing.
        resize: one of `ad_core.data.formats.resizing.RESIZES`.
        region: of interest, as `ad_core.data.region` describes it; "": all of the image.
        reference: that it is registered to, as `ad_core.data.reference` describes it; "": to none.
        turned: whether it may have to be turned for that.
        draft: whether a JPEG file may be decoded at half, a quarter or an eighth of its size, and
            of a TIFF file a reduced version that it holds be read, no side below the network's:
            faster, and not the same bits.
        page: of a file with several: a number from 0, or "refuse".
        axis: across which a volume is sliced: x, y or z.
        max_pixels, max_bytes, min_side, max_frames: limits, checked before anything is decoded.

    Raises:
        UserError: the file cannot be read, is damaged, beyond a limit, of several pages without a
            rule, not finite, or without a range; the message names the path and the mend.
    """
    limits = Limits(max_pixels, max_bytes, min_side, max_frames)
    _check_channels(channels)
    least = sides(size) if draft and resize != "own_size" else None
    stored = read_stored(path, Wanted(page, axis, least), limits)
    sample = to_sample(
        path,
        stored,
        size=size,
        channels=channels,
        value_range=value_range,
        resize=resize,
        region=region,
        reference=reference,
        turned=turned,
    )
    if sample.large is None:
        return sample

    def again() -> Float[np.ndarray, "h w c"]:
        # Read anew: images that wait for their turn hold no pixels but those that they show.
        stored = read_stored(path, Wanted(page, axis), limits)
        return _whole(path, stored, value_range, channels, region)

    return sample._replace(large=again)


def to_sample(
    path: str | os.PathLike[str],
    stored: Stored,
    *,
    size: ImageSize,
    channels: int,
    value_range: Sequence[float | int | str] | None,
    resize: str,
    region: str = "",
    reference: str = "",
    turned: bool = True,
) -> Sample:
    """The image of values as they are stored, as `read_image` makes it of those of a file.

    A region is one of the reference, where images are registered.

    Raises:
        UserError: no range, or an image that is not like the reference; the message names `path`.
    """
    low, high = _bounds(path, value_range, stored)
    bands = _bands(stored, low, high, channels=channels, region="" if reference else region)
    height, width = stored.size or bands[0].shape
    placement = place(width, height, size=size, resize=resize)
    small = [np.clip(to_network(band, placement), -1, 1) for band in bands]
    image = np.stack(small * (channels // len(small)), axis=-1)
    motion = None
    if reference:
        motion = _motion(path, reference, image, placement, turned=turned)
        image = np.clip(motion(image), -1, 1)
    if region:
        image = paint(image, region, placement.content)
    whole = partial(_whole, path, stored, value_range, channels, region)
    large = whole if placement.large else None
    clipped = _share_beyond(stored.values, low, high)
    return Sample(image, None, placement, clipped, large, motion)


def _motion(
    path: str | os.PathLike[str],
    reference: str,
    image: Float[np.ndarray, "h w c"],
    placement: Placement,
    *,
    turned: bool,
) -> Motion:
    try:
        return motion_to(reference, image, placement, turn=turned)
    except UserError as error:
        raise UserError(f"{os.fspath(path)}: is not registered: {error}.") from error


def _whole(
    path: str | os.PathLike[str],
    stored: Stored,
    value_range: Sequence[float | int | str] | None,
    channels: int,
    region: str,
) -> Float[np.ndarray, "h w c"]:
    """Every pixel of the image in [-1, 1]."""
    bounds = _bounds(path, value_range, stored)
    bands = _bands(stored, *bounds, channels=channels, region=region)
    return np.stack(bands * (channels // len(bands)), axis=-1)


def read_view(
    path: str | os.PathLike[str],
    *,
    longest: int,
    channels: int,
    value_range: Sequence[float | int | str] | None = None,
    page: int | str = "refuse",
    axis: str = "z",
    max_pixels: int,
    max_bytes: int,
    min_side: int,
    max_frames: int = 10_000,
) -> Float[np.ndarray, "h w c"]:
    """The whole image in [-1, 1] in the file's pixels, or fewer: no side beyond `longest`.

    Other arguments and errors as `read_image`.
    """
    limits = Limits(max_pixels, max_bytes, min_side, max_frames)
    _check_channels(channels)
    stored = read_stored(path, Wanted(page, axis), limits)
    return to_view(path, stored, longest=longest, channels=channels, value_range=value_range)


def to_view(
    path: str | os.PathLike[str],
    stored: Stored,
    *,
    longest: int,
    channels: int,
    value_range: Sequence[float | int | str] | None,
) -> Float[np.ndarray, "h w c"]:
    """The view of values as they are stored, as `read_view` makes it of those of a file."""
    bands = _bands(stored, *_bounds(path, value_range, stored), channels=channels)
    size = view_size(*bands[0].shape[::-1], longest=longest)
    small = [
        np.asarray(Image.fromarray(band).resize(size, Image.Resampling.BICUBIC)) for band in bands
    ]
    return np.clip(np.stack(small * (channels // len(small)), axis=-1), -1, 1)


def _check_channels(channels: int) -> None:
    if channels not in (1, 3):
        raise UserError(f"`channels` (={channels}) must be 1 or 3.")


def _bands(
    stored: Stored, low: float, high: float, *, channels: int, region: str = ""
) -> list[Float[np.ndarray, "h w"]]:
    """The image in [-1, 1] at its own size: one grey band, or three where three are wanted.

    It is painted outside the region before it is resized, so that nothing of that is mixed in.
    """
    bands = [_scale(band, low, high) for band in np.atleast_3d(stored.values).transpose(2, 0, 1)]
    if channels == 1 and len(bands) == 3:
        red, green, blue = (np.float32(part) for part in LUMA)
        bands = [red * bands[0] + green * bands[1] + blue * bands[2]]
    bands = [-band for band in bands] if stored.inverted else bands
    if not region:
        return bands
    height, width = bands[0].shape
    whole = (0, 0, width, height)
    return [paint(band[..., None], region, whole)[..., 0] for band in bands]


def read_stored(path: str | os.PathLike[str], wanted: Wanted, limits: Limits) -> Stored:
    """The values of one image of a file as they are stored. UserError as `read_image`."""
    data = read_bytes(path, limits.max_bytes, keep=nifti.is_named_volume(path))
    if nifti.is_gzip(data):
        data = nifti.inflate(path, data, limits)
        decode = nifti.decode if nifti.is_nifti(data) else None
    else:
        decode = _decoder(data)
    if decode is None:
        kind = kinds.unread_kind(data)
        told = f" (it is {kind})" if kind else ""
        problem = f"is none of {', '.join(FORMATS)}, whatever its name{told}"
        refuse(path, problem, "convert or remove it")
    stored = decode(path, data, wanted, limits)
    if not np.isfinite(stored.values).all():
        refuse(path, "holds values that are not finite", "repair or remove it")
    return stored


def count_images(path: str | os.PathLike[str], wanted: Wanted, limits: Limits) -> int:
    """Number of pages, frames or slices of a file, at most `max_frames` + 1.

    Raises:
        UserError: the file cannot be read so far.
    """
    data = read_bytes(path, limits.max_bytes, keep=nifti.is_named_volume(path))
    data = nifti.inflate(path, data, limits) if nifti.is_gzip(data) else data
    if nifti.is_nifti(data):
        return nifti.count_slices(path, data, wanted, limits)
    if dicom.is_dicom(data):
        return min(dicom.count_frames(path, data), limits.max_frames + 1)
    return raster.count_pages(path, data, limits) if raster.is_raster(data) else 1


def _decoder(data: bytes) -> Callable[..., Stored] | None:
    for knows, decode in (
        (raster.is_raster, raster.decode),
        (dicom.is_dicom, dicom.decode),
        (nifti.is_nifti, nifti.decode),
    ):
        if knows(data):
            return decode
    return None


def _bounds(
    path: str | os.PathLike[str],
    value_range: Sequence[float | int | str] | None,
    stored: Stored,
) -> tuple[float, float]:
    natural = stored.natural
    word = () if value_range is None else tuple(value_range)
    typed = natural is not None and not stored.own
    if word == ROBUST or (word == UNFIXED and not typed):
        low, high = float(stored.values.min()), float(stored.values.max())
        return low, high if low < high else low + 1
    if word not in ((), TYPE, UNFIXED):
        return stated_range(word)
    if word == TYPE and stored.own:
        problem = (
            "says by itself which values are black and white (a window, or the bits it stores), "
            "and no training fixed a range for all"
        )
        mend = "train on such files, or give `--config.data.value_range=LOW,HIGH`"
        refuse(path, problem, mend)
    if natural is None:
        mend = (
            "give the lowest and highest value, e.g. `--config.data.value_range=0,1`, or "
            "`--config.data.value_range=robust`"
        )
        refuse(path, "holds float, 32-bit or volume data, whose range no file states", mend)
    if not -np.inf < natural[0] < natural[1] < np.inf:
        mend = "give `--config.data.value_range=LOW,HIGH` in the rescaled unit"
        refuse(path, "has a VOI table, a sigmoid or an empty window", mend)
    return natural


def stated_range(value_range: Sequence[float | int | str]) -> tuple[float, float]:
    """(low, high) of a `data.value_range` that is fixed. Raises UserError if it is none."""
    try:
        low, high = (float(end) for end in value_range)
    except ValueError:
        low = high = 0.0
    if not -np.inf < low < high < np.inf:
        raise UserError(
            f"`data.value_range` (={tuple(value_range)}) must be low,high (low < high) or robust."
        )
    return low, high


def _scale(pixels: Shaped[np.ndarray, "h w"], low: float, high: float) -> Float[np.ndarray, "h w"]:
    # Only 32-bit values need more than float32 to keep their digits.
    exact = pixels.astype(np.float64 if pixels.dtype.itemsize > 2 else np.float32)
    exact -= low
    exact *= 2 / (high - low)
    exact -= 1
    return np.clip(exact, -1, 1, out=exact).astype(np.float32, copy=False)


def _share_beyond(values: Shaped[np.ndarray, "h w *c"], low: float, high: float) -> float:
    """The share of the values below `low` or above `high`, which become -1 and 1 as these do."""
    if values.dtype.kind == "u" and low <= 0 and np.iinfo(values.dtype).max <= high:
        return 0.0
    beyond = (values < np.float64(low)) | (values > np.float64(high))
    return float(np.count_nonzero(beyond) / values.size)
