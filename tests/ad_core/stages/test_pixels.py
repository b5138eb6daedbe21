"""Figures of localisation: maps against masks, in the pixels of the files."""

import numpy as np
import pytest
from PIL import Image

from ad_core.data.formats.resizing import mask_to_network
from ad_core.data.layouts.folder import open_source
from ad_core.runtime.defaults import defaults
from ad_core.stages.pixels import Pixels
from tests.samples import whole

SIDE = 4


def gathered(sign=1.0, labelled=True):
    """Two normal and three abnormal images whose left half is abnormal, and is the map."""
    pixels = Pixels()
    for label in (0, 0, 1, 1, 1):
        mask = np.zeros((SIDE, SIDE), bool)
        mask[:, : SIDE // 2] = label
        known = mask if labelled or not label else None
        sample = whole(np.zeros((SIDE, SIDE, 1), np.float32), known)
        anomaly = sign * mask.astype(np.float32)
        pixels.add(sample, anomaly, abnormal=bool(label), has_mask=True)
    return pixels


def test_maps_that_are_the_masks_have_perfect_figures():
    figures = gathered().figures()
    assert figures["images"] == 5
    assert figures["auroc"] == figures["ap"] == figures["pointing"] == 1
    assert figures["f1_max"] == 1
    assert figures["aupro"] == pytest.approx(1)
    assert figures["aupimo"] == pytest.approx(1)
    assert gathered(sign=-1.0).figures()["auroc"] == 0
    assert gathered().unreadable == 0


def test_masks_over_nearly_all_of_their_image_are_counted():
    pixels = gathered()
    assert pixels.full == 0
    for share, full in ((0.94, 0), (0.97, 1), (1.0, 2)):
        mask = np.arange(100).reshape(10, 10) < 100 * share
        sample = whole(np.zeros((10, 10, 1), np.float32), mask)
        pixels.add(sample, np.zeros((10, 10), np.float32), abnormal=True, has_mask=True)
        assert pixels.full == full


def test_without_labelled_abnormal_pixels_there_are_no_figures():
    pixels = gathered(labelled=False)
    assert pixels.figures() is None and pixels.unreadable == 3


def test_figures_are_taken_in_the_files_pixels(tmp_path):
    """Maps that are the masks at 8 px; of files of other sizes what was lost by that counts."""
    folder = tmp_path / "set"
    shapes = [(40, 64), (64, 24)]
    for name in ("train/good", "test/hole", "ground_truth/hole"):
        (folder / name).mkdir(parents=True)
    for number, shape in enumerate(shapes):
        mask = np.zeros(shape, np.uint8)
        mask[16:20, 8:16] = 255
        for name in (f"train/good/{number}", f"test/hole/{number}"):
            Image.fromarray(np.full(shape, 90, np.uint8)).save(folder / f"{name}.png")
        Image.fromarray(mask).save(folder / f"ground_truth/hole/{number}_mask.png")
    for resize in ("stretch", "letterbox", "centre_crop"):
        data = defaults("cpu").data
        data.update({"root": str(folder), "image_size": 8, "resize": resize})
        source, pixels = open_source(data), Pixels()
        samples = [source.read(i) for i, r in enumerate(source.records) if r.label]
        for sample in samples:
            small = mask_to_network(sample.mask, sample.placement).astype(np.float32)
            pixels.add(sample, small, abnormal=True, has_mask=True)
        figures = pixels.figures()
        assert figures["images"] == 2 and figures["stride"] == 1
        assert 0.5 < figures["auroc"] < 1 and 0 < figures["ap"] < 1
        masks = [sample.mask for sample in samples]
        assert [mask.shape for mask in masks] == shapes
        assert [int(mask.sum()) for mask in masks] == [32, 32]
