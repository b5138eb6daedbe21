"""What calibrating abnormal images choose of normal maps at each position."""

import numpy as np
import pytest

from ad_core.scoring.profile import NormalMaps
from ad_core.stages.position import JUDGES, Marked, choose, judges
from ad_core.types import Placement, Sample

SIDE = 32
PLACEMENT = Placement(SIDE, SIDE, (SIDE, SIDE), (0, 0, SIDE, SIDE), (0, 0, SIDE, SIDE))


def noise(count, *, border, seed):
    """Maps of even noise around 1, with a border that is as much hotter on all."""
    maps = np.random.default_rng(seed).normal(1.0, 0.05, (count, SIDE, SIDE)).astype(np.float32)
    maps[:, :2] += border
    return maps


def normals(border):
    gathered = NormalMaps()
    for number, one in enumerate(noise(30, border=border, seed=0)):
        gathered.add(one, PLACEMENT.content, group=str(number))
    return gathered


def defects(count, *, border, masks):
    """Maps with a warm spot in a corner, which the mask marks."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[20:23, 24:27] = True
    image = np.zeros((SIDE, SIDE, 1), np.float32)
    sample = Sample(image, mask if masks else None, PLACEMENT, 0.0)
    maps = noise(count, border=border, seed=1)
    maps[:, 20:23, 24:27] += 1.0
    return [Marked.of(sample, one) for one in maps]


@pytest.mark.parametrize("masks", [True, False])
def test_a_border_hotter_than_defects_is_taken_out(masks):
    marked = defects(10, border=3.0, masks=masks)
    choice = choose("auto", normals(3.0), marked, level_quantile=0.9)
    assert choice.kind == "mean" and choice.masks == masks and choice.images == 10
    assert choice.shares["none"] < 0.5 and choice.shares["mean"] == 1.0
    what = "the hottest place in the defect" if masks else "a place above the level"
    assert f"({what} of 10 abnormal images that calibrate: none " in str(choice)


def test_maps_stay_as_they_are_where_the_defect_is_hottest_anyway():
    marked = defects(10, border=0.0, masks=True)
    assert choose("auto", normals(0.0), marked, level_quantile=0.9).kind == "none"


@pytest.mark.parametrize("count", [0, 1])
def test_one_image_chooses_nothing(count):
    marked = defects(count, border=3.0, masks=True)
    assert choose("auto", normals(3.0), marked, level_quantile=0.9).kind == "none"


def test_what_is_asked_for_is_taken_without_images():
    choice = choose("deviation", normals(0.0), [], level_quantile=0.9)
    assert choice.kind == "deviation" and not choice.shares


def test_masks_choose_where_some_images_have_them():
    marked = defects(4, border=3.0, masks=True) + defects(20, border=3.0, masks=False)
    choice = choose("auto", normals(3.0), marked, level_quantile=0.9)
    assert choice.masks and choice.images == 4


def test_an_empty_mask_and_what_lies_beside_the_content_choose_nothing():
    content = (0, 8, SIDE, 24)
    placement = Placement(SIDE, 16, (SIDE, SIDE), (0, 0, SIDE, 16), content)
    image, mask = np.zeros((SIDE, SIDE, 1), np.float32), np.zeros((16, SIDE), bool)
    anomaly = np.zeros((SIDE, SIDE), np.float32)
    anomaly[:8] = 9.0
    marked = Marked.of(Sample(image, mask, placement, 0.0), anomaly)
    assert marked.bits is None and marked.exceeds(anomaly, 1.0) == 0.0
    anomaly[8, 0] = 2.0
    assert marked.exceeds(anomaly, 1.0) == 1.0


def test_of_many_abnormal_images_some_choose_drawn_by_the_seed():
    labels = np.array([0, 1] * (2 * JUDGES))
    indices = np.arange(len(labels)) + 7
    drawn = judges(labels, indices, seed=0)
    assert len(drawn) == JUDGES and all(index % 2 == 0 for index in drawn)
    assert drawn == judges(labels, indices, seed=0) != judges(labels, indices, seed=1)
