"""Reference by which images are registered when they are read; a configuration carries it.

It is an image that lies as all should, reduced to LONGEST pixels. Every image is brought to lie so
before a method learns or sees it. One that is not like the reference then cannot be read: it is a
row that says why, and is inspected.
"""

import base64
import io
from functools import lru_cache

import numpy as np
from jaxtyping import Float
from PIL import Image

from ad_core.data.formats.resizing import reduce_area, view_size
from ad_core.data.registration import Motion, register
from ad_core.errors import UserError
from ad_core.types import Placement

TEXT = "png:"  # begins a reference that a file stated
LONGEST = 256  # pixels of a side at which images are compared
APART = 0.01  # by which the scales across and down may differ


def reference_text(image: Float[np.ndarray, "h w c"]) -> str:
    """The reference as text: a small grey picture of an image in [-1, 1] at the network's size."""
    height, width = image.shape[:2]
    size = view_size(width, height, longest=LONGEST)[::-1]
    grey = reduce_area(image.mean(axis=-1), size)
    span = max(float(np.ptp(grey)), 1e-6)
    pixels = np.rint((grey - grey.min()) * (255 / span)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return TEXT + base64.b64encode(buffer.getvalue()).decode("ascii")


@lru_cache(maxsize=4)
def _picture(reference: str) -> Float[np.ndarray, "h w"]:
    data = base64.b64decode(reference.removeprefix(TEXT))
    with Image.open(io.BytesIO(data)) as picture:
        return np.asarray(picture, np.float32) / 255


def motion_to(
    reference: str,
    image: Float[np.ndarray, "h w c"],
    placement: Placement,
    *,
    turn: bool,
) -> Motion:
    """The motion that brings an image at the network's size to the reference.

    Args:
        reference: as `reference_text` gives it. turn: whether it may be turned, too.

    Raises:
        UserError: the image is not like the reference, or its sides are scaled apart and it may be
            turned.
    """
    across, down = placement.scale
    if turn and abs(across / down - 1) > APART:
        raise UserError(
            "its sides are scaled apart, and a turn would not be one; set `data.resize=letterbox` "
            "or `data.turned=False`"
        )
    wanted = _picture(reference)
    small = reduce_area(image.mean(axis=-1), wanted.shape)
    found = register(small.astype(np.float32), wanted, turn=turn)
    return found.scaled(image.shape[1] / wanted.shape[1])
