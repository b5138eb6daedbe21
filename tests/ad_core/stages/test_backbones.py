"""What a run notes of the backbones that its configuration names, and what it refuses."""

import json
import sys
from types import ModuleType

import pytest
from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.runtime.config import complete
from ad_core.runtime.workdir import Workdir
from ad_core.scoring.part import Part
from ad_core.stages.backbones import check_taught, record, recorded
from ad_core.statistics import Context
from ad_core.types import TrainState
from tests.baselines_ad import toy_backbone

TOY = "tests.baselines_ad.toy_backbone:toy"
METHODS = "baselines_ad.padim,baselines_ad.features"


def config_of(first=TOY, second="", seed=0, **data):
    sections = {name: {"backbone": b} for name, b in (("padim", first), ("features", second)) if b}
    recipe = {"method": METHODS, "size": "cpu", "seed": seed, "data": {"root": "here", **data}}
    return complete(ConfigDict(recipe | {"reconstructor": sections}))


def test_each_setting_is_noted_with_name_origin_licence_and_hash(tmp_path):
    workdir = Workdir(tmp_path)
    record(workdir, config_of())
    found = recorded(workdir, ())
    assert set(found) == {"reconstructor.padim.backbone", "reconstructor.features.backbone"}
    toy = {"name": "toy", "origin": "made up", "licence": "free"}
    toy["sha256"] = toy_backbone.load("toy").sha256
    assert found["reconstructor.padim.backbone"] == toy
    assert found["reconstructor.features.backbone"]["origin"].startswith("https://pypi.org/")
    backbone = toy_backbone.load("toy")
    state = TrainState(None, {}, (), {})
    looks = [Part("a", ConfigDict(), state, Context(backbone=b), ()) for b in (None, backbone)]
    assert recorded(workdir, looks)["statistics.backbone"] == toy


def test_a_run_that_goes_on_tells_what_it_began_with(tmp_path, monkeypatch):
    workdir = Workdir(tmp_path)
    record(workdir, config_of())
    before, read = recorded(workdir, ()), len(toy_backbone.LOADED)
    record(workdir, config_of())
    assert recorded(workdir, ()) == before and len(toy_backbone.LOADED) == read
    record(workdir, config_of("efficientnet_lite1"))
    names = {key: facts["name"] for key, facts in recorded(workdir, ()).items()}
    assert names["reconstructor.padim.backbone"] == "efficientnet_lite1"
    assert json.loads(workdir.backbones.read_text())


@pytest.fixture
def taught_here(monkeypatch):
    """A backbone that comes of a training on the same images, by the name of its module."""
    module = ModuleType("toys.taught")
    module.NAMES, module.load, module.network = ("toy",), toy_backbone.load, toy_backbone.network
    monkeypatch.setitem(sys.modules, "toys.taught", module)

    def of(training):
        module.taught = lambda spec: training
        return "toys.taught:toy"

    return of


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 1}, "was trained with seed = 1 and here it is 0"),
        ({"protocol": "cyclegan_ad"}, "trained with data.protocol = 'cyclegan_ad'|= cyclegan_ad"),
        ({"calibration": {"abnormal": 0.5}}, "trained with data.calibration.abnormal = 0.5"),
    ],
)
def test_weights_that_may_have_seen_what_judges_are_refused(taught_here, other, message):
    config = config_of(taught_here(config_of(**other)))
    with pytest.raises(UserError, match=message):
        check_taught(config)


@pytest.mark.parametrize("other", [{}, {"image_size": 64}, {"root": "elsewhere", "seed": 1}])
def test_the_same_split_another_size_and_other_images_are_no_leak(taught_here, other):
    check_taught(config_of(taught_here(config_of(**other))))
