import pytest

from ad_core.data.augment import check_augment
from ad_core.data.formats.nifti import AXES
from ad_core.data.formats.resizing import RESIZES
from ad_core.data.source import Record
from ad_core.data.splits import make_splits
from ad_core.decision.selection import CRITERIA
from ad_core.runtime.config import complete, flat
from ad_core.runtime.defaults import SIZES, Key, defaults, shared_keys
from ad_core.runtime.help import USERS, describe, method_keys
from ad_core.runtime.recipes import load_recipe
from ad_core.runtime.registry import known_modules
from ad_core.stages.readable import LEAVE_OUT, REFUSE
from tests.small_config import small_config


def leaves(keys, prefix=""):
    for name, key in keys.items():
        if isinstance(key, Key):
            yield prefix + name, key
        else:
            yield from leaves(key, f"{prefix}{name}.")


def described(config):
    """Section -> its lines by key."""
    sections, found = {}, None
    for line in describe(config):
        if line and not line.startswith(" "):
            found = sections.setdefault(line.removesuffix(":"), {})
        elif line:
            found[line.split("=")[0].strip().removeprefix("--config.")] = line
    return sections


@pytest.mark.parametrize("size", ["cpu", "accelerator"])
def test_every_key_is_explained_in_one_line_and_is_the_default(size):
    keys = dict(leaves(shared_keys(size)))
    assert set(keys) == set(flat(defaults(size)))
    for name, key in keys.items():
        assert key.text and "\n" not in key.text and len(key.text) < 120, name
        assert key.only in USERS, name
        assert not key.choices or key.default in key.choices, name


@pytest.mark.parametrize("method", known_modules("make"))
def test_every_setting_of_every_method_is_explained(method):
    config = small_config(method=method)
    assert [name for name, key in method_keys(config).items() if not key.text] == []


def test_choices_are_those_that_the_program_takes():
    keys = dict(leaves(shared_keys("cpu")))
    tables = {
        "data.resize": RESIZES,
        "data.axis": AXES,
        "decision.criterion": CRITERIA,
        "data.unreadable": (LEAVE_OUT, REFUSE),
        "size": SIZES,
    }
    assert {name: keys[name].choices for name in tables} == {
        name: tuple(table) for name, table in tables.items()
    }
    for kind in keys["data.augment"].choices:
        check_augment(kind, (32, 32, 1))
    for protocol in keys["data.protocol"].choices:
        records = [Record(f"{n}", n % 2, "x", f"{n}", "train", False) for n in range(40)]
        shares = {"normal": 0.4, "abnormal": 1.0, "abnormal_of_test": 0.5}
        make_splits(records, protocol=protocol, calibration=shares, seed=0)


def test_keys_stand_by_section_with_their_values():
    config = small_config(train={"steps": 12}, decision={"rules": ("zfn", "accuracy")})
    sections = described(config)
    assert list(sections) == [
        "run", "data", "tiling", "train", "statistics", "decision", "localisation", "score",
        "reconstructor",
    ]  # fmt: skip
    assert sections["train"]["train.steps"].startswith("  --config.train.steps=12  ")
    assert "=zfn,accuracy  " in sections["decision"]["decision.rules"]
    assert (
        "(stretch | proportions | letterbox | centre_crop | own_size)"
        in sections["data"]["data.resize"]
    )
    assert "(l2 | l1)" in sections["reconstructor"]["reconstructor.reconstruction"]


def test_what_a_recipe_cannot_use_is_left_out(pytestconfig):
    folder = described(small_config())
    assert "data.root" in folder["data"] and "data.normal_classes" not in folder["data"]
    assert not any(key.startswith("data.phantom") for key in folder["data"])
    recipe = load_recipe(f"{pytestconfig.rootpath}/configs/folder.py:cpu")
    once = described(complete(recipe))
    assert "train" not in once and "data.augment" not in once["data"]
    assert "reconstructor.padim.floor" in once["reconstructor"]
    drawn = described(small_config(data={"source": "ad_core.data.phantoms.worlds"}))
    assert "data.phantom.kind" in drawn["data"] and "data.root" not in drawn["data"]
    classes = small_config(data={"source": "ad_core.data.layouts.class_folders"})
    assert "data.normal_classes" in described(classes)["data"]
