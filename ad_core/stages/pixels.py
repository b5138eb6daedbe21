"""Agreement of the maps with the masks, in the pixels of the files."""

import math
import zlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ad_core.data.formats.masks import FULL, covered
from ad_core.data.formats.resizing import to_file
from ad_core.metrics import pixel_figures
from ad_core.types import Placement, Sample

PIXELS = 2**26  # that pixel figures are taken of, at most about 1 GB


class Truth(NamedTuple):
    """An image's map, and where it is said to be abnormal, kept small until all have passed by.

    bits: of the mask in the file's pixels, compressed.
    """

    placement: Placement
    bits: bytes
    anomaly: Float[np.ndarray, "h w"]
    abnormal: bool

    def mask(self) -> Bool[np.ndarray, "height width"]:
        """True where abnormal, in the file's pixels."""
        height, width = self.placement.height, self.placement.width
        packed = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        return np.unpackbits(packed, count=height * width).reshape(height, width).astype(bool)


class Pixels:
    """Material of the pixel figures, gathered image by image in the order of the split.

    unreadable: images with a pixel label that could not be read. full: those whose mask marks
    nearly all of the image.
    """

    def __init__(self) -> None:
        self._truths: list[Truth] = []
        self.unreadable = self.full = 0

    def add(
        self, sample: Sample, anomaly: Float[np.ndarray, "h w"], *, abnormal: bool, has_mask: bool
    ) -> None:
        """Takes an image that was read; one without a pixel label is left out."""
        if sample.mask is None:
            self.unreadable += has_mask
            return
        self.full += covered(sample.mask) > FULL
        bits = zlib.compress(np.packbits(sample.mask).tobytes(), level=1)
        self._truths.append(Truth(sample.placement, bits, np.array(anomaly), abnormal))

    def figures(self) -> dict[str, float | None] | None:
        """Figures of the maps as `pixel_figures` names them, where masks exist.

        None if no abnormal image has a pixel label. What a centre crop does not show counts as
        least abnormal. Of more than PIXELS in all only every `stride`th row and column is judged.
        """
        if not any(truth.abnormal for truth in self._truths):
            return None
        lowest = float(min(truth.anomaly.min() for truth in self._truths))
        count = sum(truth.placement.width * truth.placement.height for truth in self._truths)
        stride = math.ceil(math.sqrt(max(1.0, count / PIXELS)))
        masks, found = [], []
        for truth in self._truths:
            full = to_file(truth.anomaly, truth.placement, unseen=lowest)
            masks.append(truth.mask()[::stride, ::stride])
            found.append(full[::stride, ::stride])
        figures = pixel_figures(masks, found)
        return {**figures, "images": len(self._truths), "stride": stride}
