import json

import pytest

from ad_core.errors import UserError
from ad_core.runtime.workdir import claim
from tests.small_config import small_config


def config_of(**changes):
    config = small_config()
    config.update_from_flattened_dict(changes)
    return config


def test_a_workdir_is_made_once_and_taken_again_by_the_same_configuration(tmp_path):
    config = config_of(seed=3)
    workdir = claim(tmp_path / "new" / "run", config)
    before = workdir.config.read_bytes()
    assert json.loads(before)["seed"] == 3
    assert claim(workdir.root, config_of(seed=3)) == workdir
    assert workdir.config.read_bytes() == before


def test_a_configuration_that_made_nothing_gives_way(tmp_path):
    claim(tmp_path, config_of(**{"reconstructor.codes": 1}))
    workdir = claim(tmp_path, config_of())
    assert json.loads(workdir.config.read_text())["reconstructor"]["codes"] > 1


@pytest.mark.parametrize("made", ["checkpoints/000004", "statistics/test.parquet", "detector"])
def test_another_configuration_is_refused_with_every_key_that_differs(tmp_path, made):
    workdir = claim(tmp_path, config_of())
    (tmp_path / made).mkdir(parents=True)
    before = workdir.config.read_bytes()
    with pytest.raises(UserError, match=r"train\.steps was 300, now 4") as refused:
        claim(tmp_path, config_of(**{"seed": 1, "train.steps": 4}))
    assert "seed was 0, now 1" in str(refused.value)
    assert workdir.config.read_bytes() == before


def test_a_free_section_may_differ_and_is_renewed(tmp_path):
    claim(tmp_path, config_of())
    (tmp_path / "detector").mkdir()
    other = config_of(**{"decision.rule": "accuracy"})
    workdir = claim(tmp_path, other, free=("decision",))
    assert json.loads(workdir.config.read_text())["decision"]["rule"] == "accuracy"
    with pytest.raises(UserError, match="seed was 0, now 1") as refused:
        claim(tmp_path, config_of(seed=1), free=("decision",))
    assert "decision" not in str(refused.value)


def test_a_place_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"`--workdir` \(=.*file.*\) cannot be written"):
        claim(tmp_path / "file" / "run", config_of())
