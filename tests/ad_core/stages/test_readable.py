import numpy as np
import pytest
from PIL import Image

from ad_core.data.source import open_source
from ad_core.errors import UserError
from ad_core.stages import readable
from ad_core.stages.readable import keep_findings, leave_out_unreadable, told_unreadable
from tests.small_config import small_config


@pytest.fixture
def data(tmp_path):
    """The section `data` of a folder of ten normal images."""
    folder = tmp_path / "set/train/good"
    folder.mkdir(parents=True)
    for number in range(10):
        Image.fromarray(np.full((16, 16), number, np.uint8)).save(folder / f"{number}.png")
    return small_config(data={"root": str(tmp_path / "set"), "image_size": 16}).data


def damage(data, *numbers):
    for number in numbers:
        with open(f"{data.root}/train/good/{number}.png", "wb") as file:
            file.write(b"no image")


def divided(data):
    """The source, and splits: five images train, three calibrate, two are judged."""
    numbers = np.arange(10)
    splits = {"train": numbers[:5], "calibration": numbers[5:8], "test": numbers[8:]}
    return open_source(data), splits


def test_damaged_images_leave_the_splits_that_decide_and_no_other(data, tmp_path):
    damage(data, 2, 6, 9)
    kept, why = leave_out_unreadable(*divided(data), data, tmp_path)
    assert {name: own.tolist() for name, own in kept.items()} == {
        "train": [0, 1, 3, 4],
        "calibration": [5, 7],
        "test": [8, 9],
    }
    assert set(why) == {"train/good/2.png", "train/good/6.png"}
    lines = told_unreadable(why)
    assert "2 images cannot be read and left out" in lines[0] and "2.png" in lines[1]


def test_whole_images_stay_and_nothing_is_said(data, tmp_path):
    kept, why = leave_out_unreadable(*divided(data), data, tmp_path)
    assert sum(map(len, kept.values())) == 10 and not why and told_unreadable(why) == []


def test_by_configuration_they_are_refused_by_name(data, tmp_path):
    damage(data, 2, 6)
    data.unreadable = "refuse"
    with pytest.raises(UserError, match=r"2 images .* read: train/good/2.png, train/good/6.png\."):
        leave_out_unreadable(*divided(data), data, tmp_path)
    data.unreadable = "ignore"
    with pytest.raises(UserError, match="must be one of leave_out, refuse"):
        leave_out_unreadable(*divided(data), data, tmp_path)


def test_a_split_that_loses_every_normal_image_is_refused(data, tmp_path):
    damage(data, 5, 6, 7)
    with pytest.raises(UserError, match="No normal image of the calibration split can be read"):
        leave_out_unreadable(*divided(data), data, tmp_path)


def test_a_run_that_goes_on_looks_at_no_image_again(data, tmp_path, monkeypatch):
    damage(data, 2)
    source, splits = divided(data)
    kept, why = leave_out_unreadable(source, splits, data, tmp_path)
    keep_findings(source, kept, why, tmp_path)
    monkeypatch.setattr(readable, "_find", lambda *args, **options: pytest.fail("looked"))
    again, found = leave_out_unreadable(source, splits, data, tmp_path)
    assert found == why and again["train"].tolist() == kept["train"].tolist()
    other = splits | {"train": splits["train"][:3], "test": np.arange(3)}
    monkeypatch.setattr(readable, "_find", lambda *args, **options: {"looked": "again"})
    assert leave_out_unreadable(source, other, data, tmp_path)[1] == {"looked": "again"}
