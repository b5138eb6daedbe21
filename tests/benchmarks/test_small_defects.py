"""Boards of the benchmark of small defects: what is marked was changed, and is as small as told."""

import numpy as np
from PIL import Image

from ad_core.data.phantoms import pcba
from tests.benchmark_script import script

small_defects = script("small_defects")


def test_a_defect_is_as_small_as_told_and_its_mask_marks_what_it_changed():
    for kind in small_defects.KINDS:
        for seed in range(8):
            picture = Image.new("RGB", (90, 70), (30, 110, 70))
            mask = small_defects.spoil(picture, kind, np.random.default_rng(seed))
            marked, pixels = np.asarray(mask), np.asarray(picture)
            assert mask.mode == "1" and marked.shape == (70, 90)
            np.testing.assert_array_equal(marked, (pixels != (30, 110, 70)).any(axis=-1))
            rows, columns = np.nonzero(marked)
            longest = max(np.ptp(rows), np.ptp(columns)) + 1
            assert 8 <= longest <= 17  # a line of two pixels ends one behind its last


def test_boards_lie_in_the_layout_of_a_folder(tmp_path):
    small_defects.write(tmp_path / "boards", side=64, normal=3, abnormal=6)
    paths = sorted(p.relative_to(tmp_path / "boards") for p in tmp_path.rglob("*.png"))
    assert [str(p) for p in paths if p.parts[0] == "test"] == [
        "test/drop/006.png", "test/good/002.png", "test/pit/004.png", "test/scratch/008.png",
    ]  # fmt: skip
    truth = [p for p in paths if p.parts[0] == "ground_truth_train"]
    assert [p.name for p in truth] == ["003_mask.png", "007_mask.png", "005_mask.png"]
    families = {pcba.family((0, number * small_defects.FAMILIES)) for number in range(9)}
    assert len(families) == 1
    shape = np.asarray(Image.open(tmp_path / "boards/train/good/000.png")).shape
    assert shape == (64, 64, 3)
