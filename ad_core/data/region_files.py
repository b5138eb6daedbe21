"""Files that state a region of interest, and what of them a configuration carries."""

import json
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from ad_core.data.formats.kinds import is_image
from ad_core.data.formats.masks import read_mask
from ad_core.data.formats.stored import Limits, Wanted
from ad_core.data.region import MASK, looked_at, mask_region
from ad_core.errors import UserError

LIMITS = Limits(max_pixels=100_000_000, max_bytes=500_000_000, min_side=1, max_frames=1)


def settle_region(region: str) -> str:
    """The region as a configuration carries it: what the file says that `region` names.

    What is settled stays; "" is all of an image.

    Raises:
        UserError: no such file, or one that states no region.
    """
    if not region or _is_settled(region):
        return region
    path = Path(region)
    if not path.is_file():
        raise UserError(
            f"`data.region` (={region}) must name a file: polygons in JSON, or a mask picture."
        )
    if is_image(path):
        return _of_picture(region, read_mask(path, Wanted(0, "z"), LIMITS).abnormal)
    try:
        text = json.dumps(json.loads(path.read_text()))
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"`data.region` (={region}) is neither JSON nor a picture.") from error
    looked_at(text, 8, 8)
    return text


def _is_settled(region: str) -> bool:
    return region.startswith((MASK, "{"))


def _of_picture(name: str, mask: Bool[np.ndarray, "h w"]) -> str:
    if not mask.any():
        raise UserError(f"`data.region` (={name}) is all black: nothing would be looked at.")
    return mask_region(mask)
