"""What README.md and docs/ name is there: files, headings, modules, recipes and settings."""

import pkgutil
import re
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.runtime.benchmarks import KEYS
from ad_core.runtime.config import complete, flat
from ad_core.runtime.recipes import load_recipe
from ad_core.types import Batch, OnePass

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "benchmarks/README.md", *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md")))
LINK = re.compile(r"\]\(([^)\s]+)\)")
MODULE = re.compile(r"\bad_core(?:\.\w+)+")
IMPORT = re.compile(r"from ((?:ad_core|\w+_ad)[\w.]*) import ([\w, ]+)")
FILE = re.compile(r"\b((?:ad_core|benchmarks|docs|launch|tests|cyclegan_ad|vqgan_ad)/[\w/.]+\.\w+)")
RECIPE = re.compile(r"\bconfigs/([a-z0-9_]+\.py(?::[a-z0-9_,]+)?)")
SETTING = re.compile(r"--config\.([a-z_.]+[a-z_])=")
CODE = re.compile(r"```python\n(.*?)```", re.DOTALL)


def anchors(text):
    """The names by which a page's headings are reached."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_link_broken(link, page):
    if re.match(r"https?://|mailto:", link):
        return False
    path, _, anchor = link.partition("#")
    target = (ROOT / page).parent / path if path else ROOT / page
    return not target.exists() or bool(anchor) and anchor not in anchors(target.read_text())


def is_unknown_name(name):
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return True
    return False


def is_unknown_recipe(name):
    """A recipe that cannot do without a variant may be named without one."""
    if name.startswith("benchmark_"):
        return not (ROOT / "configs" / name).is_file()
    try:
        load_recipe(f"{ROOT}/configs/{name}", size="cpu")
    except UserError as error:
        return ":" in name or "name one of its variants" not in str(error)
    return False


@cache
def settings():
    """Every key of a configuration of generators, of two memories and of a benchmark."""
    keys, both = set(KEYS), ("vqgan_ad.vqgan", "cyclegan_ad.cyclegan")
    others = ("baselines_ad.padim", "baselines_ad.patchcore", "diffusion_ad.latent")
    for method in (*both, ",".join(both), *others):
        keys |= set(flat(complete(ConfigDict({"method": method}))))
    return keys


def complaints(text, page):
    """What a page names and is not there."""
    names = [*MODULE.findall(text)]
    for module, taken in IMPORT.findall(text):
        names += [f"{module}.{name.strip()}" for name in taken.split(",")]
    return [
        *(link for link in LINK.findall(text) if is_link_broken(link, page)),
        *(name for name in sorted({*names}) if is_unknown_name(name)),
        *(path for path in FILE.findall(text) if not (ROOT / path).exists()),
        *(name for name in RECIPE.findall(text) if is_unknown_recipe(name.rstrip(","))),
        *(key for key in SETTING.findall(text) if key != "section.key" and key not in settings()),
    ]


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_is_there(page):
    assert complaints((ROOT / page).read_text(), page) == []


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("see [the rules](rules.md)", "rules.md"),
        ("see [the house](../README.md#the-cellar)", "../README.md#the-cellar"),
        ("`ad_core.data.folder` reads it", "ad_core.data.folder"),
        ("    from ad_core.scoring import load_picture", "ad_core.scoring.load_picture"),
        ("the table of `ad_core/formats.py`", "ad_core/formats.py"),
        ("--config=configs/retina_oct.py:fantom", "retina_oct.py:fantom"),
        ("--config=configs/unheard_of.py", "unheard_of.py"),
        ("--config.data.colour=red", "data.colour"),
    ],
)
def test_what_is_not_there_is_found(text, named):
    assert complaints(text, "docs/decision.md") == [named]


def test_the_readme_has_at_most_110_lines():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 110


def test_every_page_can_be_reached_from_the_readme():
    reached = set(LINK.findall((ROOT / "README.md").read_text()))
    assert {page for page in PAGES if page != "README.md"} <= reached


def test_the_picture_of_the_readme_is_small():
    assert (ROOT / "docs/example.png").stat().st_size < 150_000


def example():
    """The namespace of the method that docs/architecture.md shows."""
    code = CODE.findall((ROOT / "docs/architecture.md").read_text())
    (method,) = [block for block in code if "def make" in block]
    names = {}
    exec(compile(method, "docs/architecture.md", "exec"), names)
    return names


def test_the_method_shown_learns_mean_and_spread_and_leaves_padding_out():
    names = example()
    images = np.random.default_rng(0).uniform(-1, 1, (7, 6, 5, 1)).astype(np.float32)
    batches = []
    for rows in (images[:4], images[4:]):
        fill = 4 - len(rows)
        padded = np.concatenate([rows, np.full((fill, 6, 5, 1), 9.0, np.float32)])
        valid = np.arange(4) < len(rows)
        batches.append(Batch(padded, np.zeros(4, int), valid, np.arange(4)))
    method = names["make"](ConfigDict({"reconstructor": names["defaults"]("cpu")}))
    assert isinstance(method.learn, OnePass)
    state = method.learn.fit(iter(batches), jax.random.key(0))
    np.testing.assert_allclose(state.params["mean"][0], images.mean(0), atol=1e-6)
    np.testing.assert_allclose(state.params["spread"][0], images.std(0), atol=1e-6)
    keys = jax.random.split(jax.random.key(0), 7)
    view = method.view(state, images, keys)
    expected = np.abs(images - images.mean(0)) / images.std(0)
    np.testing.assert_allclose(view.maps[view.anomaly], expected[..., 0], atol=1e-5)
