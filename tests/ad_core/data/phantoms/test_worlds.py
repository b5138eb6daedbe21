"""What every world of phantoms keeps to, whatever it shows."""

import numpy as np
import pytest

from ad_core.data.phantoms.worlds import KINDS

CHANNELS = {"fpet_sinogram": 1, "pcba": 3, "retina_oct": 1, "surface": 3}


def drawn(world, seed, scan, **options):
    doses = {"dose": 1e4} if "dose" in KINDS[world].options else {}
    return KINDS[world].draw(seed, scan, **options, **doses)


@pytest.mark.parametrize("size", [8, 64, 96, 256, 300])
@pytest.mark.parametrize("world", sorted(KINDS))
def test_images_and_masks_have_the_size_and_range_asked_for(world, size):
    for defect in KINDS[world].defects:
        image, mask = drawn(world, (0,), 0, size=size, defect=defect)
        assert image.shape == (size, size, CHANNELS[world]) and image.dtype == np.float32
        assert mask.shape == (size, size) and mask.dtype == bool and mask.any()
        assert image.min() >= -1 and image.max() <= 1
        assert image.max() > image.min() + 0.5
