"""Images, their normal versions and anomaly maps as RGB arrays and PNG files."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt, UInt8
from PIL import Image
from scipy import ndimage

from ad_core.scoring.localisation import MapScale

# "Ember": black, indigo, magenta, orange, cream. The anchors are equal steps in CIE L* from 3 to
# 97, so that the order of the values survives grey printing and every colour vision.
EMBER = ("080a15", "102059", "4a2c83", "952b94", "dc2c7a", "fb6359", "ff9b56", "ffcd76", "fff7d4")
_GAP = 2  # white pixels between the panels of a picture


def _table() -> UInt8[np.ndarray, "256 3"]:
    anchors = np.array([list(bytes.fromhex(colour)) for colour in EMBER], np.float64)
    at = np.linspace(0, len(anchors) - 1, 256)
    channels = [np.interp(at, np.arange(len(anchors)), channel) for channel in anchors.T]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


_TABLE = _table()


def colour(position: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape 3"]:
    """The colours of positions in [0, 1] on the ember scale."""
    return _TABLE[np.round(np.clip(position, 0, 1) * 255).astype(np.uint8)]


def to_rgb(image: Float[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 3"]:
    """An image in [-1, 1] as it looks: three channels as RGB, any other number as their mean."""
    image = np.asarray(image, np.float32)
    if image.shape[-1] != 3:
        image = np.repeat(image.mean(axis=-1, keepdims=True), 3, axis=-1)
    # What is not a number is drawn black.
    return np.round((np.clip(np.nan_to_num(image, nan=-1.0), -1, 1) + 1) * 127.5).astype(np.uint8)


def overlay(
    image: Float[np.ndarray, "h w c"],
    anomaly: Float[np.ndarray, "h w"],
    scale: MapScale,
    *,
    min_area: float = 0.0,
) -> UInt8[np.ndarray, "h w 3"]:
    """The map over its image: clear where normal parts stay, glowing beyond the level.

    The cover grows from nothing at a quarter of the scale to 0.8 at three quarters; a thin light
    line runs around what lies above the level.

    Args:
        min_area: smallest area with a line around it, as a share in [0, 1] of the map's: a region
            that is too small to be told gets none.
    """
    position = scale.position(anomaly)
    cover = 0.8 * np.clip(2 * position - 0.5, 0, 1)[..., None]
    mixed = np.round((1 - cover) * to_rgb(image) + cover * colour(position)).astype(np.uint8)
    mixed[outline(_large(~(np.asarray(anomaly) <= scale.level), min_area))] = 255
    return mixed


def _large(inside: np.ndarray, min_area: float) -> np.ndarray:
    """Those of the connected areas (8 neighbours) that are not below a share of the whole."""
    areas = np.zeros(inside.shape, np.int32)
    ndimage.label(inside, structure=np.ones((3, 3), int), output=areas)
    kept = np.bincount(areas.ravel()) >= min_area * inside.size
    kept[0] = False
    return kept[areas]


def outline(inside: np.ndarray) -> np.ndarray:
    """The pixels just outside of `inside` (4 neighbours), all bool [h, w]."""
    padded = np.pad(inside, 1)
    beside = padded[2:, 1:-1] | padded[:-2, 1:-1] | padded[1:-1, 2:] | padded[1:-1, :-2]
    return beside & ~inside


def triptych(
    image: Float[np.ndarray, "h w c"],
    drawn: Float[np.ndarray, "h w c"] | None,
    anomaly: Float[np.ndarray, "h w"],
    scale: MapScale,
) -> UInt8[np.ndarray, "h wide 3"]:
    """Image | normal version, where there is one | map over the image, side by side."""
    versions = [image] if drawn is None else [image, drawn]
    panels = [*map(to_rgb, versions), overlay(image, anomaly, scale)]
    return grid(panels, columns=3)


def grid(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]], *, columns: int = 8
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Pictures of one size in rows, two white pixels apart; the last row is filled with white."""
    height, width, _ = images[0].shape
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    down, across = height + _GAP, width + _GAP
    sheet = np.full((rows * down - _GAP, columns * across - _GAP, 3), 255, np.uint8)
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        top, left = row * down, column * across
        sheet[top : top + height, left : left + width] = image
    return sheet


def to_png_bytes(picture: UInt[np.ndarray, "h w *channels"]) -> bytes:
    """A PNG file's content, of grey [h, w], 8 or 16 bits deep, or RGB [h, w, 3]."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def data_uri(picture: UInt8[np.ndarray, "h w *channels"]) -> str:
    """The picture as an address that carries its own content."""
    return png_uri(to_png_bytes(picture))


def png_uri(content: bytes) -> str:
    """A PNG file as an address that carries its content."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def write_png(path: str | Path, picture: UInt[np.ndarray, "h w *channels"]) -> None:
    """Write a PNG file; its folder must exist."""
    Path(path).write_bytes(to_png_bytes(picture))
