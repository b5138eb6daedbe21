"""Height and width of the network's image after the proportions of the images that teach."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from ml_collections import ConfigDict

from ad_core.data.augment import turns
from ad_core.data.formats.stored import FileSet
from ad_core.data.shape import ImageSize, Sides, sides, told
from ad_core.data.source import Source
from ad_core.errors import UserError

IMAGES = 32  # looked at
_ALIKE = 1.25  # ratio of the quartiles of images whose proportions are much the same
_STEP = 32  # px: what networks halve five times
_LONGEST = 2.0  # times the shorter side; what is longer is compressed


def settle_sides(
    source: Source, data: ConfigDict, known: Int[np.ndarray, " n"], *, tile: int = 0
) -> ImageSize:
    """The `data.image_size` at which images with `data.resize` proportions are seen from now on.

    One side that is given is the shorter one, and the longer one is as the median of some of the
    images `known` has it, in steps of 32 px or less. Two sides that are given stay; so does one
    where the middle half of the images differs by more than a quarter, and where images are no
    files, go by tiles, are turned by 90 degrees or lie as a reference does.

    Args:
        known: indices of images that judge nothing.
    """
    given: ImageSize = data.image_size
    stays = tile or data.reference or turns(str(data.augment)) or not told(given).isdecimal()
    if stays or not isinstance(source, FileSet):
        return given
    spread = np.unique(np.linspace(0, len(known) - 1, IMAGES).astype(int))
    ratios = _ratios(source, known[spread])
    side, _ = sides(given)
    low, middle, high = np.quantile(ratios or [1.0], (0.25, 0.5, 0.75))
    if high > _ALIKE * low:
        return given
    height, width = proportioned(side, float(middle))
    return given if height == width else f"{height},{width}"


def proportioned(side: int, ratio: float) -> Sides:
    """Height and width, of which the shorter is `side`, `ratio` times as wide as high.

    The longer is a multiple of the largest power of 2 up to 32 that divides the side.
    """
    step = min(_STEP, side & -side)
    longer = round(side * min(max(ratio, 1 / ratio), _LONGEST) / step) * step
    return (side, longer) if ratio >= 1 else (longer, side)


def _ratios(source: Source, indices: Sequence[int] | np.ndarray) -> list[float]:
    """Width / height of the files; one that cannot be read tells nothing here."""
    found = []
    for index in map(int, indices):
        try:
            placement = source.read(index).placement
        except UserError:
            continue
        found.append(placement.width / placement.height)
    return found
