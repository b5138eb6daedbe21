"""The normal calibration image that an image is nearest to."""

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

from ad_core.console.nearest import Nearest, NormalPictures
from ad_core.decision.facts import scored
from ad_core.errors import UserError
from ad_core.scoring.detector import Parts
from ad_core.scoring.localisation import MapScale
from tests.ad_core.console.test_recalibrate import table_of
from tests.small_config import small_config


def parts(reference, labels, *, data=None):
    table = table_of(labels)
    return Parts(
        config=small_config(data=data or {}),
        methods=(),
        classifier=None,
        thresholds={},
        rule="zfn",
        scale=MapScale(0.0, 1.0, 0.5),
        reference=np.asarray(reference, np.float32),
        facts={"scored": scored(table, np.zeros(len(labels)))},
    )


def test_nearest_is_that_of_scipy_in_units_of_the_spread():
    rng = np.random.default_rng(0)
    reference = (rng.normal(size=(30, 4)) * [1.0, 100.0, 0.01, 1.0]).astype(np.float32)
    given = (rng.normal(size=(20, 4)) * [1.0, 100.0, 0.01, 1.0]).astype(np.float32)
    found = Nearest.of(parts(reference, [0] * 30))
    apart = cdist(given, reference, "seuclidean", V=reference.astype(np.float64).var(axis=0))
    expected = [f"{row}.png" for row in apart.argmin(axis=1)]
    assert [found.path(row) for row in given] == expected


def test_abnormal_calibration_images_are_never_nearest():
    found = Nearest.of(parts([[0.0], [10.0]], [1, 0, 1, 0]))
    assert [found.path(np.float32([x])) for x in (-1.0, 9.0)] == ["1.png", "3.png"]


def test_statistic_that_never_varies_tells_nothing():
    found = Nearest.of(parts([[1.0, 0.0], [1.0, 5.0]], [0, 0]))
    assert found.path(np.float32([7.0, 4.0])) == "1.png"


def test_nothing_is_nearest_where_it_cannot_be_known():
    assert Nearest.of(parts([[0.0]], [0, 0])) is None
    assert Nearest.of(parts([[0.0]], [0])._replace(facts=None)) is None
    found = Nearest.of(parts([[0.0], [1.0]], [0, 0]))
    assert found.path(None) == found.path(np.float32([np.nan])) == ""


def test_picture_is_that_of_the_file_and_missing_ones_are_told(tmp_path):
    folder = tmp_path / "train" / "good"
    folder.mkdir(parents=True)
    for value in (10, 200):
        Image.fromarray(np.full((30, 60), value, np.uint8)).save(folder / f"{value}.png")
    data = {"source": "ad_core.data.layouts.folder", "root": str(tmp_path), "channels": 1}
    pictures, given = NormalPictures(), parts([[0.0]], [0], data=data)
    shown = pictures.picture(given, "train/good/200.png", longest=20)
    assert shown.shape == (10, 20, 3) and abs(int(shown.mean()) - 200) <= 1
    with pytest.raises(UserError, match="not where it was"):
        pictures.picture(given, "train/good/11.png", longest=20)
    gone = parts([[0.0]], [0], data=data | {"root": str(tmp_path / "gone")})
    assert pictures.has(given, "train/good/10.png") and not pictures.has(gone, "train/good/10.png")
    in_memory = parts([[0.0]], [0], data={"source": "ad_core.data.layouts.memory"})
    assert not pictures.has(in_memory, "image 0")


def test_folder_that_was_moved_is_told_and_one_without_the_images_is_refused(tmp_path):
    folder = tmp_path / "here" / "train" / "good"
    folder.mkdir(parents=True)
    Image.fromarray(np.full((30, 60), 90, np.uint8)).save(folder / "90.png")
    data = {"source": "ad_core.data.layouts.folder", "root": str(tmp_path / "gone"), "channels": 1}
    given, pictures = parts([[0.0]], [0], data=data), NormalPictures(tmp_path / "here")
    pictures.check(given, ["train/good/90.png"])
    assert pictures.picture(given, "train/good/90.png", longest=20).mean() == pytest.approx(
        90, abs=1
    )
    with pytest.raises(UserError, match=r"`--calibration_images` .* such as train/good/1.png"):
        pictures.check(given, ["train/good/1.png"])
    with pytest.raises(UserError, match="does not name the images .* launch/calibrate.py"):
        pictures.check(given, [])
