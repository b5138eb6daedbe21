"""A run without abnormal images, whose recipe names other methods for it."""

import shutil

import numpy as np
import pytest
from PIL import Image

from ad_core.runtime.config import for_normals_alone, from_json
from ad_core.runtime.stop import Stop
from ad_core.stages.job import prepare
from ad_core.stages.parameters import KEYS
from ad_core.stages.parameters import config_of as config_of_parameters
from tests.small_config import small_config

BOTH, ALONE = "tests.toys.recalling,tests.toys.flat", "tests.toys.flat"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder of normal images, and of two abnormal ones to train and two to judge by."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for kind, count in (("train/good", 12), ("train/bad", 2), ("test/good", 2), ("test/bad", 2)):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(90, 110, (32, 32)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    return folder


def config_of(root, *, without=ALONE, abnormal_of_test=0.0):
    shares = {"normal": 1.0, "abnormal": 1.0, "abnormal_of_test": abnormal_of_test}
    return small_config(
        method=BOTH,
        without_abnormal=without,
        reconstructor={"flat": {"floor": 0.5}, "recalling": {}},
        data={"root": str(root), "image_size": 32, "workers": 1, "calibration": shares},
        statistics={"names": ("loss",)},
        decision={"rule": "normal_quantile"},
        score={"batch_size": 8, "workers": 1},
    )


@pytest.fixture
def normals(root, tmp_path):
    shutil.copytree(root, tmp_path / "normals")
    shutil.rmtree(tmp_path / "normals" / "train" / "bad")
    return tmp_path / "normals"


def test_other_methods_learn_where_no_abnormal_image_teaches_or_calibrates(normals, tmp_path):
    job = prepare(config_of(normals), tmp_path / "run", Stop())
    assert job.config.method == ALONE and not job.config.without_abnormal
    assert job.config.reconstructor.floor == 0.5  # as it was set for both
    assert not job.labels("calibration").any() and job.labels("test").any()


def test_the_workdir_goes_on_with_the_recipe_and_with_its_own_configuration(normals, tmp_path):
    first = prepare(config_of(normals), tmp_path / "run", Stop()).config
    again = prepare(config_of(normals), tmp_path / "run", Stop()).config
    own = from_json((tmp_path / "run" / "config.json").read_text())
    kept = prepare(own, tmp_path / "run", Stop()).config
    assert first.to_dict() == again.to_dict() == kept.to_dict()


def test_one_abnormal_image_that_calibrates_keeps_the_methods(root, normals, tmp_path):
    assert prepare(config_of(root), tmp_path / "a", Stop()).config.method == BOTH
    of_test = config_of(normals, abnormal_of_test=0.5)
    assert prepare(of_test, tmp_path / "b", Stop()).config.method == BOTH


def test_a_recipe_that_names_none_keeps_its_methods(normals, tmp_path):
    job = prepare(config_of(normals, without=""), tmp_path / "run", Stop())
    assert job.config.method == BOTH


def test_methods_that_stand_in_both_keep_their_settings_and_others_have_their_own():
    config = config_of("here", without="tests.toys.flat,tests.toys.noisy")
    found = for_normals_alone(config)
    assert found.reconstructor.flat.floor == 0.5 and found.reconstructor.noisy.noise == 0.2
    assert found.data.to_dict() == config.data.to_dict()
    assert for_normals_alone(found).to_dict() == found.to_dict()


def test_images_in_memory_are_treated_alike():
    given = dict.fromkeys(("method", "size", "backbone", "overrides"))
    given |= dict.fromkeys(KEYS)
    alone = config_of_parameters(given, any_abnormal=False)
    both = config_of_parameters(given, any_abnormal=True)
    assert "gaussian" in alone.method and "gaussian" not in both.method
    named = config_of_parameters(given | {"method": ALONE}, any_abnormal=False)
    assert named.method == ALONE
