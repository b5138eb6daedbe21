"""The intensity range of a run whose images state none: fixed by the normal images that train."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ad_core.data.formats.image import ROBUST
from ad_core.data.formats.stored import FileSet
from ad_core.errors import UserError

QUANTILES = (0.005, 0.995)
MARGIN = 0.1  # of their distance, added at both ends: what is brighter than any normal stays so
IMAGES, VALUES = 512, 4096  # looked at: images, and values of each, drawn by a fixed seed


def is_robust(data: ConfigDict) -> bool:
    """Tells whether the training images are yet to fix `data.value_range`."""
    return data.value_range is not None and tuple(data.value_range) == ROBUST


def fix_range(source: Any, indices: Sequence[int] | np.ndarray) -> tuple[float, float]:
    """`robust_range` of these images, with which `source` reads from now on. UserError as there."""
    found = robust_range(source, indices)
    source.fix_range(found)
    return found


def robust_range(source: Any, indices: Sequence[int] | np.ndarray) -> tuple[float, float]:
    """(low, high) that hold nearly all stored values of the images at `indices`, and a margin.

    The quantiles QUANTILES of their values, every image counting alike, and a tenth of the
    distance beyond either. Of DICOM and NIfTI the values are those after rescaling.

    Args:
        source: a `FileSet`; phantoms are none.
        indices: of the normal images of the training split, and of no others.

    Raises:
        UserError: no files behind the source, none of them readable as far as it is looked at, or
            all values alike.
    """
    if not isinstance(source, FileSet):
        raise UserError(
            "`data.value_range` (=robust) needs a source of files; give low,high or none."
        )
    chosen = np.asarray(indices)[_spread(len(indices), IMAGES)]
    drawn = [_values(source.stored(int(index)).values) for index in chosen]
    weights = np.concatenate([np.full(len(part), 1 / len(part)) for part in drawn])
    ends = np.quantile(np.concatenate(drawn), QUANTILES, weights=weights, method="inverted_cdf")
    low, high = (float(end) for end in ends)
    if not low < high:
        raise UserError(
            f"`data.value_range` (=robust): the {len(drawn)} training images hold "
            f"the value {low:g} alone; give low,high."
        )
    margin = MARGIN * (high - low)
    return low - margin, high + margin


def _values(stored: np.ndarray) -> np.ndarray:
    flat = stored.ravel()
    return flat[_spread(len(flat), VALUES)].astype(np.float64)


def _spread(count: int, most: int) -> np.ndarray:
    """Whole numbers below `count`, at most `most`, drawn without replacement, always the same."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(count).choice(count, most, replace=False))
