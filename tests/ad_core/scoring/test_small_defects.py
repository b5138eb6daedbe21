"""Defects of 6 px in images of many megapixels: found wherever they lie, borders of tiles too."""

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from ad_core.data.formats.resizing import place
from ad_core.data.tiles import Tiling, make_grid
from ad_core.runtime.config import complete
from ad_core.scoring.localisation import Localiser, regions
from ad_core.scoring.measuring import Measuring, make_measurer
from ad_core.scoring.sheets import by_sheets
from ad_core.scoring.tiling import least_region, make_method, seen_size
from ad_core.statistics import WindowSettings
from ad_core.types import TrainState

DEFECT, TILE, OVERLAP = 6, 256, 64
LEVEL = 0.1  # grain lies below it, the defect above


def measurer_of(side):
    """A blur by tiles: its residual is what is fine in an image."""
    config = complete(
        ConfigDict(
            {
                "method": "baselines_ad.blur",
                "size": "cpu",
                "data": {"image_size": side},
                "tiling": {"tile": TILE, "overlap": OVERLAP},
                "localisation": {"sigma": 1 / 256},
            }
        )
    )
    measuring = Measuring(
        make_method(config),
        (TrainState(jnp.int32(0), {}, (), {}), None),
        names=("residual_abs_max",),
        windows=WindowSettings(),
        localise=Localiser(None, config.localisation.sigma * min(seen_size(config))),
    )
    measurer = make_measurer([measuring], batch_size=1)
    return by_sheets(measurer, size=(side, side), overlap=OVERLAP), least_region(config)


def grain(side):
    rng = np.random.default_rng(0)
    rows = np.sin(np.arange(side) / 40)[:, None, None]
    return (0.3 * rows + rng.normal(0, 0.02, (side, side, 1))).astype(np.float32)


def places(side, count):
    """Where a defect is planted: corners, borders of tiles, and anywhere."""
    rng = np.random.default_rng(1)
    starts = make_grid((side, side), Tiling(TILE, OVERLAP)).down.starts()
    borders = np.concatenate([starts, starts + TILE]).clip(0, side) - DEFECT // 2
    ends = [0, side - DEFECT]
    near = rng.choice(borders, (count // 2, 2))
    near[::2, 0] = rng.integers(0, side, len(near[::2]))
    anywhere = rng.integers(0, side, (count - len(near) - 4, 2))
    corners = [(y, x) for y in ends for x in ends]
    return np.concatenate([corners, near, anywhere]).clip(0, side - DEFECT)


def check(side, count, *, together, pixels=None):
    """Plants `together` defects at a time, far apart, and looks for each one's region."""
    pixels = pixels or side
    measurer, area = measurer_of(side)
    clean, wanted = grain(pixels), places(pixels, count)
    size = (pixels, pixels)
    placement = place(pixels, pixels, size=(side, side), resize="own_size")
    while len(wanted):
        chosen: list[int] = []
        for number, spot in enumerate(wanted):
            far = [np.abs(spot - wanted[other]).max() > 100 for other in chosen]
            if all(far) and len(chosen) < together:
                chosen.append(number)
        image = clean.copy()
        for y, x in wanted[chosen]:
            image[y : y + DEFECT, x : x + DEFECT] += 0.6
        content = np.array([placement.content], np.int32)
        found = measurer.measure(image[None].clip(-1, 1), content).anomaly_map[0]
        boxes = regions(found, level=LEVEL, min_area=area, placement=placement)
        assert len(boxes) == len(chosen), (size, wanted[chosen])
        middles = np.array([[b["y"] + b["height"] / 2, b["x"] + b["width"] / 2] for b in boxes])
        for spot in wanted[chosen] + DEFECT / 2:
            assert np.abs(middles - spot).max(axis=1).min() <= 8, spot
        wanted = np.delete(wanted, chosen, axis=0)
    assert measurer.compilations() == 1


def test_defects_are_found_wherever_they_lie_in_an_image_of_many_tiles():
    check(640, 16, together=8)


def test_defects_are_found_across_the_sheets_of_an_image_that_is_larger():
    check(384, 10, together=10, pixels=560)


@pytest.mark.slow
def test_defects_are_found_at_two_hundred_places_of_an_image_of_4096_pixels():
    check(4096, 200, together=50)
