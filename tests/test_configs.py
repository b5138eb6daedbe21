"""Every recipe in configs/, in every variant."""

import importlib.util
from pathlib import Path

import pytest

from ad_core.errors import UserError
from ad_core.runtime.config import complete, flat, load_recipe

ROOT = Path(__file__).parent.parent / "configs"
FILES = sorted(path.stem for path in ROOT.glob("*.py"))
PHANTOM = ["", "phantom"]
WORDS = {
    "cyclegan": ["brain_mri", "screw", "retina_oct"],
    "mvtec": ["transistor", "screw"],
    "pcba": PHANTOM,
    "retina_oct": PHANTOM,
    "surface": PHANTOM,
}
VARIANTS = [(name, word) for name in FILES for word in WORDS.get(name, [""])]


def recipe(name, *words):
    return load_recipe(f"{ROOT}/{name}.py:{','.join(word for word in words if word)}")


def test_the_recipes_of_the_design_are_there():
    assert set(FILES) >= {
        "brain_mri", "breast_ultrasound", "folder", "fpet_sinogram", "magnetic_tile", "mvtec",
        "pcb", "pcba", "retina_oct", "surface",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "word"), VARIANTS)
@pytest.mark.parametrize("size", ["cpu", "accelerator"])
def test_every_variant_completes_in_both_sizes(name, word, size):
    config = complete(recipe(name, word, size))
    assert config.size == size
    assert config.data.image_size % 8 == 0
    assert config.data.channels in (1, 3)
    assert config.data.augment in ("none", "hflip", "flips_and_turns", "nine_versions")
    with pytest.raises((KeyError, AttributeError)):
        config.data.unheard_of = 1


@pytest.mark.parametrize(("name", "word"), VARIANTS)
def test_a_recipe_says_only_what_is_particular_to_it(name, word):
    assert len(flat(recipe(name, word))) < 15


@pytest.mark.parametrize("name", FILES)
def test_an_unknown_variant_is_refused_with_those_that_exist(name):
    with pytest.raises(UserError, match="unknown .*'nonsense'.*known: "):
        recipe(name, "nonsense")


def test_real_sets_are_sized_for_an_accelerator_and_the_demo_for_a_cpu():
    assert recipe("brain_mri").size == "accelerator"
    assert recipe("retina_oct").size == "accelerator"
    assert recipe("retina_oct", "phantom").size == "cpu"
    assert recipe("retina_oct", "phantom").data.source == "ad_core.data.phantoms.worlds"
    assert recipe("retina_oct").data.root == "data/retina_oct"


@pytest.mark.parametrize("name", ["pcba", "surface"])
def test_worlds_of_parts_are_drawn_or_read_from_a_folder(name):
    phantom, real = recipe(name, "phantom"), recipe(name)
    assert (phantom.size, real.size) == ("cpu", "accelerator")
    assert phantom.data.phantom.kind == name and phantom.data.channels == 3
    source = {"pcba": "ad_core.data.sets.pcba", "surface": "ad_core.data.layouts.folder"}[name]
    assert (real.data.source, real.data.root) == (source, f"data/{name}")


def test_sinograms_state_their_dose():
    config = complete(recipe("fpet_sinogram"))
    assert config.size == "cpu" and config.data.phantom.kind == "fpet_sinogram"
    assert config.data.phantom.dose == 1e5


def test_mvtec_needs_one_of_its_fifteen_categories():
    with pytest.raises(UserError, match="bottle, .*zipper"):
        recipe("mvtec")
    with pytest.raises(UserError, match="'gpu'; known: accelerator, cpu"):
        recipe("mvtec", "screw", "gpu")
    spec = importlib.util.spec_from_file_location("mvtec", ROOT / "mvtec.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert len(set(module.CATEGORIES)) == 15
    assert {*module.GREY, *module.FREE_POSE} <= set(module.CATEGORIES)
    assert recipe("mvtec", "screw").data.channels == 1
    assert recipe("mvtec", "transistor").data.to_dict() == {
        "source": "ad_core.data.sets.mvtec_ad",
        "root": "data/mvtec/transistor",
        "channels": 3,
        "protocol": "folders",
        "augment": "none",
    }


def test_contradicting_sizes_are_refused():
    with pytest.raises(UserError, match="cpu,accelerator"):
        recipe("retina_oct", "phantom", "cpu", "accelerator")


@pytest.mark.parametrize("name", FILES)
def test_the_docstring_names_source_licence_data_command_and_result(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    lines = [line.partition(":")[0] for line in module.__doc__.splitlines()]
    for item in ("Source", "Licence", "Data", "Command", "Variants", "Measured"):
        assert item in lines, item
    assert f"--config=configs/{name}.py" in module.__doc__


def test_cyclegan_keeps_to_its_recipe_at_both_resolutions():
    with pytest.raises(UserError, match="'cat'; known: hazelnut, screw, tile, wood, brain_mri"):
        recipe("cyclegan", "cat")
    for size, side, blocks in (("256", 256, 9), ("64", 64, 6)):
        config = complete(recipe("cyclegan", "hazelnut", size))
        assert (config.data.image_size, config.reconstructor.blocks) == (side, blocks)
        assert (config.train.epochs, config.train.batch_size) == (200, 2 * 16)
        assert config.data.channels == 3 and config.data.augment == "nine_versions"
        network = config.reconstructor
        assert (network.width, network.disc_width, network.disc_layers) == (64, 64, 3)
        assert (network.cycle_weight, network.identity_weight, network.pool) == (10, 5, 50)
        rates = network.optimiser
        assert (rates.lr, rates.b1, rates.b2, rates.lr_decay_start) == (2e-4, 0.5, 0.999, 0.1)
        assert not (network.disc_augment or network.ema or network.spectral_norm or network.monitor)
    oct_config = complete(recipe("cyclegan", "retina_oct", "64"))
    assert (oct_config.train.epochs, oct_config.data.augment) == (50, "hflip")
