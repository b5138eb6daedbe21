"""Maps of the images that calibrate, gathered and told as one."""

import numpy as np

from ad_core.scoring.fusion import fit_fusion
from ad_core.scoring.profile import NormalMaps
from ad_core.stages.shown import ShownMaps
from ad_core.types import Placement, Sample

SIDE = 12
CONTENT = (0, 2, SIDE, 10)
PLACEMENT = Placement(SIDE, 8, (SIDE, SIDE), (0, 0, SIDE, 8), CONTENT)
SAMPLE = Sample(np.zeros((SIDE, SIDE, 1), np.float32), None, PLACEMENT, 0.0)


def maps_of(count, methods, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, methods, SIDE, SIDE)).astype(np.float32)


def gathered(normal, marked):
    shown = ShownMaps()
    for number, maps in enumerate(normal):
        shown.add_normal(SAMPLE, maps, group=str(number))
    for maps in marked:
        shown.add_marked(SAMPLE, maps)
    return shown


def test_maps_of_several_methods_become_one_by_the_scales_of_what_is_shown():
    normal, marked = maps_of(8, 2), maps_of(3, 2, seed=1)
    normal[:, :, 0] = 99.0  # beyond the content, where nothing counts
    told = gathered(normal, marked).as_one(level_quantile=0.9)
    fusion = fit_fusion(list(normal[:, :, 2:10]), level_quantile=0.9)
    assert told.fusion == fusion and max(one.level for one in fusion.scales) < 10
    expected = NormalMaps()
    for number, maps in enumerate(normal):
        expected.add(fusion(maps), CONTENT, group=str(number))
    scale = {"kind": "none", "level_quantile": 0.9}
    assert told.normal.fit(**scale) == expected.fit(**scale)
    for one, maps in zip(told.marked, marked, strict=True):
        np.testing.assert_array_equal(one.anomaly, fusion(maps))


def test_one_map_stays_as_it_is_and_what_is_not_finite_judges_nothing():
    normal, marked = maps_of(4, 1), maps_of(2, 1, seed=1)
    marked[1, 0, 3, 3] = np.nan
    told = gathered(normal, marked).as_one(level_quantile=0.9)
    assert told.fusion is None and len(told.marked) == 1
    np.testing.assert_array_equal(told.marked[0].anomaly, marked[0, 0])


def test_what_is_gathered_is_a_copy():
    normal = maps_of(3, 2)
    shown = gathered(normal, normal[:1])
    before = normal.copy()
    normal[:] = 0.0
    told = shown.as_one(level_quantile=0.9)
    assert told.fusion == fit_fusion(list(before[:, :, 2:10]), level_quantile=0.9)
    assert told.marked[0].anomaly.any()
