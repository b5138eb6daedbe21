"""DICOM files: the values of one frame, in the unit of the header, and nothing else of it.

No text of the header stands in any message: libraries' errors quote it, so only their kind is told,
and what pydicom would warn of in their words (whole numbers as text, identifiers) is read as bytes.
"""

import io
import os
import re
from typing import Any

import numpy as np
from jaxtyping import Shaped

from ad_core.data.formats.stored import (
    DAMAGED,
    Limits,
    Stored,
    Wanted,
    careful,
    check_size,
    choose_page,
    refuse,
)

EXTENSIONS = (".dcm", ".dicom")
PREAMBLE = 128  # bytes, then "DICM"

_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
_DEFLATED = ("1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.8.1")
_IMPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
_IDENTIFIER = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*", re.ASCII)
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


def is_dicom(data: bytes) -> bool:
    """Tells whether the content is that of a DICOM file, with its preamble."""
    return data[PREAMBLE : PREAMBLE + 4] == b"DICM"


def decode(path: str | os.PathLike[str], data: bytes, wanted: Wanted, limits: Limits) -> Stored:
    """One frame: grey after rescale slope and intercept, or RGB.

    natural: the first VOI window; without one, what the stored bits can hold. Bits beyond those
    stored do not count, however the file is compressed.

    Raises:
        UserError: naming `path`, for what is damaged, beyond a limit, or has a table (modality
            or VOI LUT, sigmoid) in place of slope and window.
    """
    return careful(path, lambda: _decode(path, data, wanted, limits))


def _decode(path: str | os.PathLike[str], data: bytes, wanted: Wanted, limits: Limits) -> Stored:
    header = _header(path, data)
    _check_complete(path, header)
    frames = _frames(header)
    columns, rows = (int(header.Columns), int(header.Rows))
    check_size(path, columns, rows, limits)
    frame = choose_page(path, wanted, frames, limits=limits, noun="frames")
    kind = str(header.get("PhotometricInterpretation", ""))
    if kind not in (*_GREY, *_COLOUR, "PALETTE COLOR"):
        refuse(path, "is neither grey, RGB, YBR nor of a palette", "convert it")
    values = _frame(path, header, frame)
    if kind == "PALETTE COLOR":
        return _palette(values, header)
    if kind in _COLOUR:
        bits = int(header.BitsStored)
        return Stored(values, (0.0, float(2**bits - 1)), own=bits != 8)
    return _grey(path, header, frame, values)._replace(inverted=kind == "MONOCHROME1")


def _check_complete(path: str | os.PathLike[str], header: Any) -> None:
    """Refuses a header without an element that says how the pixels lie."""
    needed = ["Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated"]
    if "PixelData" in header:
        needed += ["BitsStored", "PixelRepresentation"]
    if str(header.get("PhotometricInterpretation", "")) in _COLOUR:
        needed += ["PlanarConfiguration"]
    missing = next((name for name in needed if header.get(name) in (None, "")), "")
    if missing:
        mend = "have it written again with that element, or convert it"
        refuse(path, f"lacks {missing}, without which its pixels cannot be read", mend)


def count_frames(path: str | os.PathLike[str], data: bytes) -> int:
    """Number of frames of the file. Raises UserError on a damaged file."""
    return careful(path, lambda: max(1, _frames(_header(path, data))))


def _header(path: str | os.PathLike[str], data: bytes) -> Any:
    try:
        from pydicom import filereader
    except ImportError:
        mend = "add it: `pip install pydicom` (the extra `medical`)"
        refuse(path, "is a DICOM file, and the package pydicom is not here", mend)
    content = io.BytesIO(data)
    content.seek(PREAMBLE + 4)
    meta = filereader.read_dataset(content, False, True, stop_when=lambda tag, *_: tag.group != 2)
    syntax = _element_text(meta, "TransferSyntaxUID")
    if syntax in _DEFLATED:  # it could unfold to any size
        refuse(path, "is deflated", "save it in another transfer syntax")
    implicit, little_endian = syntax in ("", _IMPLICIT), syntax != _BIG_ENDIAN
    header: Any = filereader.read_dataset(content, implicit, little_endian)
    header.file_meta = meta
    if not any(name in header for name in _PIXELS):
        refuse(path, "holds no image, or ends before it", "copy it again or remove it")
    return header


def _element_text(item: Any, name: str) -> str:
    """Text of an element; "" without one.

    pydicom's own conversion of whole numbers and identifiers warns of odd ones and quotes them.
    """
    if name not in item:
        return ""
    value = item.get_item(name).value
    return value.decode("ascii").strip(" \0") if isinstance(value, bytes) else str(value or "")


def _frames(header: Any) -> int:
    frames = float(_element_text(header, "NumberOfFrames") or 1)
    if not frames.is_integer():
        raise ValueError("not a whole number of frames")
    return int(frames)


def _frame(path: str | os.PathLike[str], header: Any, frame: int) -> Shaped[np.ndarray, "h w *c"]:
    from pydicom.pixels.utils import pixel_array

    try:
        _state_again(header)
        values = pixel_array(header, index=frame)
    except (NotImplementedError, ImportError, RuntimeError):
        # RuntimeError: no decoder is there, or every one failed.
        mend = "save it uncompressed, or add one: `pip install pylibjpeg[all]`"
        refuse(path, "has a compression that no decoder here reads, or is damaged", mend)
    if values.shape[:2] != (header.Rows, header.Columns) or values.ndim not in (2, 3):
        refuse(path, "has other pixels than its header says", DAMAGED)
    return _stored_bits(values, header)


def _stored_bits(values: Shaped[np.ndarray, "h w *c"], header: Any) -> Shaped[np.ndarray, "h w *c"]:
    """The values of the lowest `BitsStored` bits; pydicom sees to it for plain files alone."""
    if values.dtype.kind not in "iu":
        return values
    spare = max(0, 8 * values.dtype.itemsize - int(header.BitsStored))
    return (values << spare) >> spare  # keeps the sign of signed values


def _state_again(header: Any) -> None:
    """Puts what was read as bytes, and found sound, where pydicom looks for it.

    Raises NotImplementedError if the transfer syntax is no identifier.
    """
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    syntax = _element_text(header.file_meta, "TransferSyntaxUID")
    if not _IDENTIFIER.fullmatch(syntax) or len(syntax) > 64:
        raise NotImplementedError
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = UID(syntax)
    header.add_new("NumberOfFrames", "IS", _frames(header))


def _palette(values: Shaped[np.ndarray, "h w"], header: Any) -> Stored:
    from pydicom.pixels.processing import apply_color_lut

    bits = int(header.RedPaletteColorLookupTableDescriptor[2])
    if bits == 16 and _fills_low_byte(header):
        bits = 8
    return Stored(apply_color_lut(values, header)[..., :3], (0.0, float(2**bits - 1)))


def _fills_low_byte(header: Any) -> bool:
    """Tells whether a palette says 16 bits and holds 8, as files against the standard do."""
    tables = [header.get(f"{name}PaletteColorLookupTableData") for name in ("Red", "Green", "Blue")]
    order = "<u2" if header.original_encoding[1] is not False else ">u2"
    read = [np.frombuffer(table[: len(table) // 2 * 2], order) for table in tables if table]
    return bool(read) and 0 < max(int(table.max(initial=0)) for table in read) < 256


def _grey(
    path: str | os.PathLike[str], header: Any, frame: int, values: Shaped[np.ndarray, "h w"]
) -> Stored:
    """Values in the header's unit, with the window as their natural range."""
    if values.ndim != 2:
        refuse(path, "has other pixels than its header says", DAMAGED)
    change = _item(header, frame, "PixelValueTransformationSequence")
    if "ModalityLUTSequence" in header:
        refuse(path, "has a modality LUT in place of slope and intercept", "convert it")
    slope, intercept = _slope(change)
    if not (np.isfinite([slope, intercept]).all() and slope):
        refuse(path, "has an invalid rescale slope or intercept", DAMAGED)
    window = _window(_item(header, frame, "FrameVOILUTSequence"))
    own = window is not None or (slope, intercept) != (1, 0) or not _holds_bytes(header)
    if window is None and "PixelData" in header:
        window = _holdable(header, slope, intercept)
    if (slope, intercept) != (1, 0):
        values = values.astype(np.float64) * slope + intercept
    return Stored(values, window, own=own)


def _holds_bytes(header: Any) -> bool:
    """Tells whether the stored values are 0 to 255, as in other files of 8 bits."""
    if "PixelData" not in header:
        return False
    return (int(header.BitsStored), int(header.PixelRepresentation)) == (8, 0)


def _item(header: Any, frame: int, name: str) -> Any:
    """Item that holds a frame's values: its own, one shared by all, or the header."""
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    groups = [*own[frame : frame + 1], *shared[:1]]
    for group in groups:
        if group.get(name):
            return group[name].value[0]
    return header


def _slope(item: Any) -> tuple[float, float]:
    slope, intercept = item.get("RescaleSlope"), item.get("RescaleIntercept")
    return (1.0 if slope is None else float(slope)), (
        0.0 if intercept is None else float(intercept)
    )


def _window(item: Any) -> tuple[float, float] | None:
    """The first window's lowest and highest value; (nan, nan) where it is no window.

    Source: DICOM PS3.3, C.11.2.1.2.1 and C.11.2.1.3.2.
    """
    shape = str(item.get("VOILUTFunction") or "LINEAR")
    centre, width = (_first(item.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None:
        return (np.nan, np.nan) if item.get("VOILUTSequence") else None
    if shape == "LINEAR_EXACT":
        return centre - width / 2, centre + width / 2
    if shape == "LINEAR":
        return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    return np.nan, np.nan


def _first(value: Any) -> float | None:
    if value is None or value == "":
        return None
    return float(value if isinstance(value, str | int | float) else value[0])


def _holdable(header: Any, slope: float, intercept: float) -> tuple[float, float]:
    bits, signed = int(header.BitsStored), int(header.PixelRepresentation)
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    low, high = sorted(end * slope + intercept for end in ends)
    return low, high
