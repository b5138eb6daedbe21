"""Every recipe in configs/, in every variant."""

import importlib.util
from itertools import product
from pathlib import Path

import jax
import pytest

from ad_core.errors import UserError
from ad_core.runtime.config import complete, flat
from ad_core.runtime.defaults import SIZES
from ad_core.runtime.recipes import load_recipe

ROOT = Path(__file__).parent.parent / "configs"
STEMS = sorted(path.stem for path in ROOT.glob("*.py"))
FILES = [name for name in STEMS if not name.startswith("benchmark_")]
BENCHMARKS = [name for name in STEMS if name.startswith("benchmark_")]


def load(name):
    """The recipe file as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def words_of(name):
    """(variants that are no sizes, or "" where none must be named; sizes) of a recipe."""
    module = load(name)
    variants = getattr(module, "VARIANTS", {})
    single = {k: v for k, v in variants.items() if "," not in k}
    sizes = [*SIZES, *(k for k, v in single.items() if "size" in v)]
    others = [k for k in single if k not in sizes]
    return others if "name" not in module.RECIPE else ["", *others], sizes


WORDS = {name: words_of(name) for name in FILES}
VARIANTS = [(name, word) for name in FILES for word in WORDS[name][0]]
SIZED = [(name, *pair) for name in FILES for pair in product(*WORDS[name])]


def recipe(name, *words, size=""):
    given = ",".join(word for word in words if word)
    return load_recipe(f"{ROOT}/{name}.py:{given}", size=size)


def test_the_recipes_of_the_design_are_there():
    assert set(FILES) >= {
        "brain_mri", "breast_ultrasound", "folder", "fpet_sinogram", "magnetic_tile", "mvtec",
        "pcb", "pcba", "retina_oct", "surface",
    }  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_recipe_is_data(name):
    module = load(name)
    assert isinstance(module.RECIPE, dict)
    assert all(isinstance(changes, dict) for changes in getattr(module, "VARIANTS", {}).values())
    assert not [value for value in vars(module).values() if callable(value)]


def test_every_variant_is_looked_at():
    assert len(SIZED) == 6 * 2 + 2 * 2 * 2 + 4 * 2 + 15 * 2 + 7 * 4


@pytest.mark.parametrize(("name", "word", "size"), SIZED)
def test_every_variant_completes_in_every_size(name, word, size):
    config = complete(recipe(name, word, size))
    assert config.size == ("cpu" if size == "cpu" else "accelerator")
    assert complete(recipe(name, size, word)).to_dict() == config.to_dict()
    assert config.name.startswith(name)
    assert config.data.image_size % 8 == 0
    assert config.data.channels in (1, 3)
    assert config.data.augment in ("none", "hflip", "flips_and_turns", "nine_versions")
    with pytest.raises((KeyError, AttributeError)):
        config.data.unheard_of = 1


@pytest.mark.parametrize(("name", "word"), VARIANTS)
@pytest.mark.parametrize(
    ("backend", "size"), [("cpu", "cpu"), ("gpu", "accelerator"), ("tpu", "accelerator")]
)
def test_without_a_size_it_follows_the_device(monkeypatch, name, word, backend, size):
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert recipe(name, word).to_dict() == recipe(name, word, size).to_dict()


@pytest.mark.parametrize(("name", "word"), VARIANTS)
def test_a_recipe_says_only_what_is_particular_to_it(name, word):
    assert len(flat(recipe(name, word))) < 15


@pytest.mark.parametrize("name", FILES)
def test_an_unknown_variant_is_refused_with_those_that_exist(name):
    with pytest.raises(UserError, match="unknown .*'nonsense'.*known: "):
        recipe(name, "nonsense")


def test_the_demo_is_drawn_and_the_real_set_read():
    assert recipe("retina_oct", "phantom").data.source == "ad_core.data.phantoms.worlds"
    assert recipe("retina_oct").data.root == "data/retina_oct"
    assert recipe("retina_oct", "phantom", "cpu").train.steps == 600
    assert "train" not in recipe("retina_oct", "cpu")
    assert "train" not in recipe("retina_oct", "phantom", "accelerator")


@pytest.mark.parametrize("name", ["pcba", "surface"])
def test_worlds_of_parts_are_drawn_or_read_from_a_folder(name):
    phantom, real = recipe(name, "phantom"), recipe(name)
    assert phantom.data.phantom.kind == name and phantom.data.channels == 3
    source = {"pcba": "ad_core.data.sets.pcba", "surface": "ad_core.data.layouts.folder"}[name]
    assert (real.data.source, real.data.root) == (source, f"data/{name}")


def test_sinograms_state_their_dose():
    config = complete(recipe("fpet_sinogram", "cpu"))
    assert config.data.image_size == 64 and config.data.phantom.kind == "fpet_sinogram"
    assert config.data.phantom.dose == 1e5


def test_mvtec_needs_one_of_its_fifteen_categories():
    with pytest.raises(UserError, match="bottle, .*zipper"):
        recipe("mvtec")
    with pytest.raises(UserError, match="'gpu'; known: bottle, .*zipper, cpu, accelerator"):
        recipe("mvtec", "screw", "gpu")
    with pytest.raises(UserError, match="screw and wood exclude each other"):
        recipe("mvtec", "screw", "wood")
    module = load("mvtec")
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
    with pytest.raises(
        UserError, match="cpu,accelerator.*: cpu and accelerator exclude each other"
    ):
        recipe("retina_oct", "phantom", "cpu", "accelerator")


@pytest.mark.parametrize("name", FILES)
def test_the_docstring_names_source_licence_data_command_and_result(name):
    module = load(name)
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
