"""The intensity range of a run: one for all its images, fixed by the normal ones that train.

A grey then means one value, whatever window, slope or number of bits a file carries.
"""

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ad_core.data.formats import raster
from ad_core.data.formats.image import ROBUST, TYPE
from ad_core.data.formats.kinds import HEAD
from ad_core.data.formats.stored import Encoded, FileSet
from ad_core.errors import UserError

QUANTILES = (0.005, 0.995)
MARGIN = 0.1  # of their distance, added at both ends: what is brighter than any normal stays so
IMAGES, VALUES = 512, 4096  # looked at: images, and values of each, drawn by a fixed seed


def is_robust(data: ConfigDict) -> bool:
    """Tells whether the training images are yet to fix `data.value_range`."""
    return data.value_range is not None and tuple(data.value_range) == ROBUST


def settle_range(
    source: Any, data: ConfigDict, normals: Sequence[int] | np.ndarray
) -> tuple[float | int | str, ...] | None:
    """The `data.value_range` by which `source` reads from now on; None: what the files' type says.

    A stated one stays. It is fixed by `fix_range` where it is to be robust, and where nothing is
    stated and training normals have none by their type (DICOM, float, 32 bits, most volumes). A
    file among others that has none is then refused when it is read.

    Args:
        normals: indices of the normal images of the training split, and of no others.

    Raises:
        UserError: as `robust_range`.
    """
    if data.value_range is not None and not is_robust(data):
        return data.value_range
    if is_robust(data) or _lacks_range(source, normals):
        return fix_range(source, normals)
    if isinstance(source, FileSet):
        source.fix_range(TYPE)
    return None


def _lacks_range(source: Any, indices: Sequence[int] | np.ndarray) -> bool:
    """Tells whether an image is among these whose type does not say what is black and white."""
    if not isinstance(source, FileSet):
        return False
    chosen = np.asarray(indices)[_spread(len(indices), IMAGES)]
    return any(_lacks_own(source, int(index)) for index in chosen)


def _lacks_own(source: FileSet, index: int) -> bool:
    try:
        path, _ = source.locate(index)
        with _opened(path) as file:
            head = file.read(HEAD)
            if raster.is_raster(head):
                file.seek(0)
                return raster.is_tiff(head) and not raster.states_range(file)
        stored = source.stored(index)
    except (UserError, OSError):
        return False  # whoever reads it is told
    return stored.own or stored.natural is None


def _opened(path: str | os.PathLike[str]) -> io.BytesIO | io.BufferedReader:
    return io.BytesIO(path.content) if isinstance(path, Encoded) else open(path, "rb")


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
            all values alike. Those that cannot be read are passed over here.
    """
    if not isinstance(source, FileSet):
        raise UserError(
            "`data.value_range` (=robust) needs a source of files; give low,high or none."
        )
    chosen = np.asarray(indices)[_spread(len(indices), IMAGES)]
    drawn = [part for index in chosen for part in _drawn(source, int(index))]
    if not drawn:
        raise UserError(
            "`data.value_range`: none of the normal images that train can be read, so nothing "
            "fixes the range; give low,high."
        )
    weights = np.concatenate([np.full(len(part), 1 / len(part)) for part in drawn])
    ends = np.quantile(np.concatenate(drawn), QUANTILES, weights=weights, method="inverted_cdf")
    low, high = (float(end) for end in ends)
    if not low < high:
        raise UserError(
            f"`data.value_range`: the {len(drawn)} training images that fix it hold "
            f"the value {low:g} alone; give low,high."
        )
    margin = MARGIN * (high - low)
    return low - margin, high + margin


def _drawn(source: FileSet, index: int) -> list[np.ndarray]:
    try:
        return [_values(source.stored(index).values)]
    except UserError:
        return []


def _values(stored: np.ndarray) -> np.ndarray:
    flat = stored.ravel()
    return flat[_spread(len(flat), VALUES)].astype(np.float64)


def _spread(count: int, most: int) -> np.ndarray:
    """Whole numbers below `count`, at most `most`, drawn without replacement, always the same."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(count).choice(count, most, replace=False))
