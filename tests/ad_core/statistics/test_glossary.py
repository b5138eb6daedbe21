import jax
import numpy as np
import pytest

from ad_core.backbones import network_of
from ad_core.data.shape import image_shape
from ad_core.runtime.registry import known_modules, resolve
from ad_core.scoring.part import view_shapes
from ad_core.statistics import Available, Context, names
from ad_core.statistics.glossary import EITHER, HIGH, LOW, words
from ad_core.statistics.table import GROUPS
from ad_core.types import Steps, inference_state
from tests.small_config import small_config

PAIRS = Available(maps=("codes",), context=Context._fields)


@pytest.mark.parametrize("group", GROUPS)
def test_every_statistic_of_a_group_has_words(group):
    assert [n for n in names(group, available=PAIRS) if not words(n).known] == []


def test_no_two_statistics_of_a_whole_image_have_the_same_subject():
    whole = [n for n in names("pixel", available=PAIRS) if n != "minkowski"]
    subjects = [words(n).subject for n in whole]
    assert len(set(subjects)) == len(subjects)


@pytest.mark.parametrize("name", known_modules("make"))
def test_every_loss_and_map_of_a_method_has_words(name):
    method = resolve(name).make(small_config(method=name))
    losses, maps = method.losses, method.maps
    given = Available(losses=losses, maps=maps, context=Context._fields)
    assert [n for n in names("all", available=given) if not words(n).known] == []


def test_a_view_holds_no_loss_or_map_that_its_method_does_not_name():
    config = small_config(method="vqgan_ad.vqgan")
    method = resolve("vqgan_ad.vqgan").make(config)
    assert isinstance(method.learn, Steps)
    init, shape = method.learn.init, image_shape(config.data)
    state = inference_state(jax.eval_shape(lambda: init(jax.random.key(0), shape)))
    view = view_shapes(method, config, state)
    assert set(view.losses) == set(method.losses) and set(view.maps) == set(method.maps)


def test_the_worst_patch_is_told_as_one():
    found = words("loss_distance_map_max")
    assert found.unlike == "at the worst place the image looks unlike any normal patch"
    assert found.end == HIGH and found.local
    assert words("padim.loss_distance_map_max") == found


def test_differences_in_a_backbone_have_words_of_their_own():
    network = network_of("efficientnet_lite0")
    given = Available(context=Context._fields, backbone={network.name: network})
    deep = [n for n in names("deep", available=given) if "distance" in n or n.endswith("_fid")]
    assert {"deep_distance", "deep_efficientnet_lite0_fid"} < set(deep) and len(deep) > 20
    assert all("from its normal version" in words(n).unlike for n in deep)
    assert words("window_deep_distance_stage3_mean").local
    assert "at stage3" in words("deep_distance_stage3_max").subject


def test_likeness_is_abnormal_where_it_is_low():
    assert words("ssim").end == words("window_ssim_min").end == LOW
    assert words("mse").end == words("window_mse_max").end == HIGH
    assert words("residual_mean").end == EITHER


def test_an_unknown_name_is_told_by_its_own_words():
    found = words("loss_colour_of_sound")
    assert found.subject == "loss colour of sound" and not found.known and found.end == EITHER


def test_pooled_features_are_told_by_their_level():
    assert "stage3" in words("features.deep_stage3_0012").subject
    assert words("loss_distance_stage5").known
    assert np.all([words(n).known for n in ("deep_head", "clipped")])
