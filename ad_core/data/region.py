"""Region of interest: what of every image is looked at, and what is not.

A file states it: polygons in JSON, in the pixels of an image of `width` x `height`,

    {"width": 640, "height": 480, "inspect": [[[x, y], ...], ...], "ignore": [[[x, y], ...], ...]}

or a picture, in which all that is not black is looked at. Without `inspect` all is, but what
`ignore` covers. It holds for images of every size, in shares of their sides. A configuration
carries what the file says, so that a detector needs no file.

What lies outside is painted grey before a method learns or sees an image: nothing there can change
a statistic. A map is at its lowest there, so that no region lies outside.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw

from ad_core.data.formats.resizing import nearest
from ad_core.errors import UserError
from ad_core.types import Box

MASK = "mask:"  # begins a region that a picture stated
GREY = 0.0  # of what is not looked at, in the middle of [-1, 1]
FIELDS = ("width", "height", "inspect", "ignore")


def mask_region(mask: Bool[np.ndarray, "h w"]) -> str:
    """The region that is looked at where a mask is True, as text."""
    packed = zlib.compress(np.packbits(mask).tobytes(), level=9)
    height, width = mask.shape
    return f"{MASK}{width}x{height}:{base64.b64encode(packed).decode('ascii')}"


@lru_cache(maxsize=64)
def looked_at(region: str, height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """True where an image of that size is looked at; not to be written to.

    Args:
        region: as `region_files.settle_region` gives it, and not "".

    Raises:
        UserError: it states no region.
    """
    if region.startswith(MASK):
        size, _, text = region.removeprefix(MASK).partition(":")
        own = tuple(int(side) for side in size.split("x"))
        bits = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
        mask = np.unpackbits(bits, count=own[0] * own[1]).reshape(own[1], own[0]).astype(bool)
        found = nearest(mask, height=height, width=width)
    else:
        stated = _stated(region)
        ratio = (width / stated["width"], height / stated["height"])
        found = _covered(stated["ignore"], ratio, height, width)
        inspected = _covered(stated["inspect"], ratio, height, width)
        found = ~found & inspected if stated["inspect"] else ~found
    if not found.any():
        raise UserError(
            "`data.region` leaves nothing to look at; give `inspect` polygons within `width` x "
            "`height` that `ignore` does not cover."
        )
    return found


def _stated(text: str) -> dict[str, Any]:
    """The fields of a region in JSON, each of the right kind."""
    stated = json.loads(text)
    unknown = sorted(set(stated) - {*FIELDS}) if isinstance(stated, dict) else ["no object"]
    if unknown:
        raise UserError(
            f"`data.region`: its JSON must be an object with {', '.join(FIELDS)} (found: "
            f"{', '.join(unknown)})."
        )
    stated = {"inspect": [], "ignore": [], **stated}
    sides = [stated.get(name) for name in FIELDS[:2]]
    if not all(isinstance(side, int | float) and side > 0 for side in sides):
        raise UserError(
            "`data.region`: `width` and `height` must be the sides of the image, in pixels, in "
            "which the polygons are drawn."
        )
    for name in FIELDS[2:]:
        if not all(_is_polygon(one) for one in stated[name]):
            raise UserError(
                f"`data.region`: `{name}` must be a list of polygons, each a list of three or more "
                "points [x, y]."
            )
    return stated


def _is_polygon(one: Any) -> bool:
    try:
        points = np.array(one, np.float64)
    except (ValueError, TypeError):
        return False
    return points.ndim == 2 and points.shape[1] == 2 and len(points) >= 3


def _covered(
    polygons: Sequence[Any], ratio: tuple[float, float], height: int, width: int
) -> Bool[np.ndarray, "height width"]:
    """True where a polygon covers the image, its outline included."""
    picture = Image.new("1", (width, height))
    draw = ImageDraw.Draw(picture)
    for polygon in polygons:
        # Coordinates are of corners of pixels: 0 is the left border of the first.
        points = np.array(polygon, np.float64) * ratio - 0.5
        draw.polygon([tuple(point) for point in points.tolist()], fill=1)
    return np.array(picture, bool)


def paint(
    image: Float[np.ndarray, "h w c"], region: str, content: Box
) -> Float[np.ndarray, "h w c"]:
    """The image with GREY where it is not looked at, and around its content too.

    Args:
        content: where the file's image lies.
    """
    looked = within(region, image.shape[:2], content)
    return np.where(looked[..., None], image, np.float32(GREY))


def within(region: str, size: tuple[int, int], content: Box) -> Bool[np.ndarray, "h w"]:
    """True where a network's image shows what is looked at of its file."""
    left, top, right, bottom = content
    looked = np.zeros(size, bool)
    looked[top:bottom, left:right] = looked_at(region, bottom - top, right - left)
    return looked
