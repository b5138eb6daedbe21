import shlex

import numpy as np
import pytest
from PIL import Image

from ad_core.data.source import Record
from ad_core.inspection.inspect import inspect
from ad_core.runtime.command import configure
from ad_core.stages.choice import choose_protocol, suiting, whole_command


def records(*kinds):
    return [
        Record(f"{n}", int(name != "good"), name, f"{n}", folder, False)
        for n, (folder, name) in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    ("kinds", "protocol"),
    [
        ([("train", "good"), ("test", "good"), ("test", "x")], "folders"),
        ([("train", "good"), ("train", "good")], "folders"),
        ([("train", "good"), ("train", "x")], "cyclegan_ad"),
        ([("", "good"), ("", "x")], "cyclegan_ad"),
        ([("", "good")], "cyclegan_ad"),
    ],
)
def test_the_split_follows_the_folders_where_they_hold_a_test(kinds, protocol):
    assert choose_protocol(records(*kinds)) == protocol


@pytest.fixture
def looked_at(tmp_path, pytestconfig):
    """Shapes and folder of images -> (name of the recipe, configuration, inspection)."""

    def look(shape, *, abnormal=0, colour=False, **options):
        rng = np.random.default_rng(0)
        for folder, count in (("train/good", 12), ("train/dent", abnormal)):
            for number in range(count):
                (tmp_path / folder).mkdir(parents=True, exist_ok=True)
                size = shape if number % 2 else (32, 32)
                pixels = rng.integers(0, 255, (*size, 3) if colour else size, dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / folder / f"{number}.png")
        name = f"{pytestconfig.rootpath}/configs/folder.py:cpu"
        own = [f"--config.{key}={value}" for key, value in options.items()]
        config = configure([f"--config={name}", f"--config.data.root={tmp_path}", *own])
        return name, config, inspect(config)

    return look


def test_shapes_and_channels_choose_how_images_are_read(looked_at):
    _, config, inspection = looked_at((32, 64), abnormal=8)
    chosen = suiting(inspection, config)
    assert chosen == {"data.resize": "letterbox", "data.channels": "1"}
    _, config, inspection = looked_at((32, 32), abnormal=8, colour=True)
    assert suiting(inspection, config) == {}


def test_without_abnormal_images_a_share_of_the_normal_ones_is_inspected(looked_at):
    _, config, inspection = looked_at((32, 32), colour=True)
    assert suiting(inspection, config) == {"decision.rule": "normal_quantile"}
    _, config, inspection = looked_at((32, 32), colour=True, **{"decision.rule": "manual",
                                      "decision.threshold": 1.0})  # fmt: skip
    assert suiting(inspection, config) == {}


def test_the_whole_command_gives_the_configuration_with_all_that_suits(looked_at):
    name, config, inspection = looked_at((32, 64), seed=3, **{"train.steps": 12})
    command = whole_command(inspection, config, name, workdir="runs/a b")
    program, *arguments = shlex.split(command.text("python launch/train.py"))[1:]
    assert program == "launch/train.py" and arguments[-1] == "--workdir=runs/a b"
    said = configure(arguments[:-1])
    assert (said.seed, said.train.steps, said.data.root) == (3, 12, config.data.root)
    assert (said.data.resize, said.data.channels) == ("letterbox", 1)
    assert said.decision.rule == "normal_quantile"
