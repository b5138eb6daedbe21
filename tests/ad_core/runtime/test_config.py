import json

import pytest
from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.runtime.config import complete, differences, flat, from_json, to_json
from ad_core.runtime.defaults import defaults
from ad_core.statistics import WindowSettings


def recipe(**values):
    return ConfigDict({"method": "vqgan_ad.vqgan", **values})


def test_complete_holds_the_recipe_over_every_default():
    config = complete(recipe(size="cpu", train={"steps": 7}, data={"root": "here"}))
    assert config.train.steps == 7
    assert config.data.root == "here"
    assert config.train.batch_size == defaults("cpu").train.batch_size
    assert "codes" in config.reconstructor
    assert config.is_locked


def test_complete_changes_nothing_the_second_time():
    config = complete(recipe(size="accelerator", data={"value_range": (0, 4095)}))
    assert complete(config).to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train": {"stepz": 1}}, r"`config.train.stepz` is unknown; did you mean train.steps"),
        ({"steps": 1}, r"`config.steps` is unknown; did you mean train.steps\?"),
        ({"train": {"qqqq": 1}}, r"`config.train.qqqq` is unknown; known: .*train.batch_size"),
        ({"qqqq": {"x": 1}}, r"`config.qqqq.x` is unknown; known: data, "),
        ({"train": 5}, r"`config.train` is a section; its keys: .*train.steps"),
        ({"train": {"steps": "many"}}, r"`config.train.steps` \(='many'\) must be of type int"),
        ({"train": {"steps": 2.5}}, r"`config.train.steps` \(=2.5\) must be of type int"),
        ({"size": "huge"}, r"`config.size` \(='huge'\) must be one of cpu, accelerator"),
        ({"method": "vqgan_ad.nothing"}, r"Unknown module 'vqgan_ad.nothing'; known: .*vqgan_ad"),
        ({"method": ""}, r"`config.method` is missing; known: .*cyclegan_ad.cyclegan.*vqgan_ad"),
        ({"method": None}, r"`config.method` is missing"),
    ],
)
def test_a_wrong_recipe_is_one_message_with_key_value_and_mend(values, message):
    with pytest.raises(UserError, match=message):
        complete(recipe(**values))


def test_a_config_survives_json_with_its_tuples():
    config = complete(recipe(data={"value_range": (0, 255)}, statistics={"names": ("ssim",)}))
    again = from_json(to_json(config))
    assert again.to_dict() == config.to_dict()
    assert again.data.value_range == (0, 255)
    assert again.is_locked
    assert from_json(to_json(complete(recipe()))).data.value_range is None


def test_a_configuration_from_before_likeness_grouped_images_groups_none():
    text = to_json(complete(recipe()))
    assert from_json(text).data.grouping == "auto"
    content = json.loads(text)
    del content["data"]["grouping"]
    assert from_json(json.dumps(content)).data.grouping == "none"


@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("baselines_ad.features", "reconstructor.grid"),
        ("baselines_ad.padim,baselines_ad.features", "reconstructor.features.grid"),
    ],
)
def test_a_configuration_from_before_cells_has_one_cell(method, key):
    config = complete(recipe(method=method))
    assert flat(config)[key] == 0 and flat(from_json(to_json(config)))[key] == 0
    content = json.loads(to_json(config))
    section = content["reconstructor"]
    del section.get("features", section)["grid"]
    assert flat(from_json(json.dumps(content)))[key] == 1


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", '{"train": 3}', '{"unheard_of": 3}'])
def test_a_text_that_is_no_config_is_refused(text):
    with pytest.raises(UserError):
        from_json(text)


def test_differences_are_the_keys_and_both_values():
    a = complete(recipe(train={"steps": 5}, statistics={"names": ("all",)}))
    b = complete(recipe(train={"steps": 6}, statistics={"names": ("mse", "ssim")}))
    assert differences(a, b) == {
        "statistics.names": (["all"], ["mse", "ssim"]),
        "train.steps": (5, 6),
    }
    assert differences(a, from_json(to_json(a))) == {}
    assert differences(recipe(x=(1, 2)), recipe(x=[1, 2])) == {}
    assert differences(recipe(x=1), recipe(y={"z": 2})) == {"x": (1, None), "y.z": (None, 2)}


def test_flat_names_every_leaf_by_its_dotted_key():
    assert flat(ConfigDict({"a": 1, "b": {"c": (2,), "d": {"e": None}}})) == {
        "a": 1,
        "b.c": (2,),
        "b.d.e": None,
    }


def test_windows_of_the_config_are_those_of_the_statistics():
    windows = from_json(to_json(complete(recipe()))).statistics.windows
    assert WindowSettings(**windows) == WindowSettings()
    assert hash(WindowSettings(**windows)) == hash(WindowSettings())
