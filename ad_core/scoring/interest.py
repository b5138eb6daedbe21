"""Maps within the region of interest alone."""

import numpy as np
from jaxtyping import Float

from ad_core.data.region import within
from ad_core.runtime.inference import Begun
from ad_core.scoring.measuring import Content, Measured, Measurer
from ad_core.types import Box


def within_region(measurer: Measurer, region: str) -> Measurer:
    """The measurer, whose maps are at their lowest outside the region; "" is all of an image.

    What it measures for the decision stays the same: images are painted where they are read.
    """
    if not region:
        return measurer

    def begin(image: Float[np.ndarray, "b h w c"], content: Content) -> Begun[Measured]:
        begun = measurer.begin(image, content)

        def result() -> Measured:
            measured = begun.result()
            maps = measured.maps.copy()
            high, wide = maps.shape[2:]
            for row, found in enumerate(maps):
                box: Box = (0, 0, wide, high)
                if content is not None:
                    left, top, right, bottom = np.asarray(content)[row].tolist()
                    box = (left, top, right, bottom)
                looked = within(region, (high, wide), box)
                found[:, ~looked] = found[:, looked].min(axis=1, keepdims=True)
            return measured._replace(maps=maps)

        return Begun(result, begun.cancel)

    return measurer._replace(
        begin=begin, relearnt=lambda known: within_region(measurer.relearnt(known), region)
    )
