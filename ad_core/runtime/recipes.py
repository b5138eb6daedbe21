"""Recipes: what is particular to a data set, as data in configs/NAME.py, and one parser for all.

A recipe file defines `RECIPE`, overrides of the defaults, and may define `VARIANTS`: name ->
overrides of RECIPE. Two groups of variants exist, and one of each may be named: sizes, which
are `cpu`, `accelerator` and every variant that sets `size`; and all others. The overrides of a
variant "a,b" hold where both a and b are chosen. A recipe without a `name` needs a variant.
"""

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.runtime.config import from_json
from ad_core.runtime.defaults import SIZES
from ad_core.runtime.invocation import PROJECT, shown

BENCHMARKS = "benchmark_"  # begins the name of a file that holds no recipe


def load_recipe(name: str, *, size: str = "") -> ConfigDict:
    """The recipe of "configs/NAME.py[:variant[,variant]]", or the config of a WORKDIR/config.json.

    A recipe is Python: load only what you trust.

    Args:
        size: taken where `name` names none; "" follows the device (see `device_size`).

    Raises:
        UserError: no such file, not a recipe, or a variant that it has not.
    """
    path, _, variant = name.partition(":")
    if not Path(path).is_file():
        raise UserError(f"`--config` (={path}): no such file; here: {_recipes_near(path)}.")
    if Path(path).suffix == ".json":
        return from_json(Path(path).read_text())
    module = execute(path)
    if not hasattr(module, "RECIPE"):
        raise UserError(f"`--config` (={path}) defines no RECIPE; see configs/folder.py.")
    try:
        return _resolve(module, [word for word in variant.split(",") if word], size)
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"`--config` (={name}): {error}") from error


def device_size() -> str:
    """The size that suits the devices of this process: "cpu" where JAX found no other."""
    import jax

    return "cpu" if jax.default_backend() == "cpu" else "accelerator"


def _recipes_near(path: str) -> str:
    """The recipes in the folder of `path`, else in configs/, else the project's own."""
    for folder in (Path(path).parent, Path("configs"), PROJECT / "configs"):
        files = sorted(folder.glob("[!_]*.py"))
        if found := [shown(file) for file in files if not file.name.startswith(BENCHMARKS)]:
            return ", ".join(found)
    return "none"


def execute(path: str) -> ModuleType:
    """The module of a file of the user's. Raises UserError for whatever is wrong in it."""
    spec = importlib.util.spec_from_file_location(f"recipe_{Path(path).stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"`--config` (={path}) must end in .py or .json.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever is wrong in a file of the user's
        raise UserError(f"`--config` (={path}): {type(error).__name__}: {error}") from error
    return module


class _Known(NamedTuple):
    """The names of a recipe's variants by group; a variant "a,b" has no name of its own."""

    others: list[str]
    sizes: list[str]


def _known(variants: Mapping[str, Any]) -> _Known:
    known = _Known([], [*SIZES])
    for name, changes in variants.items():
        if "," not in name and name not in SIZES:
            (known.sizes if "size" in changes else known.others).append(name)
    return known


def _resolve(module: ModuleType, words: list[str], size: str) -> ConfigDict:
    """RECIPE under the variants that were named and the size. Raises UserError without path."""
    config, variants = ConfigDict(module.RECIPE), getattr(module, "VARIANTS", {})
    known = _known(variants)
    _check_words(words, known)
    sizes = [word for word in words if word in known.sizes]
    size = sizes[0] if sizes else size or config.get("size") or device_size()
    chosen = [*(word for word in words if word not in sizes), size]
    config.size = size
    pairs = [name for name in variants if "," in name and {*name.split(",")} <= {*chosen}]
    for name in (*chosen, *pairs):
        config.update(variants.get(name, {}))
    if known.others and "name" not in config:
        raise UserError(f"name one of its variants: {', '.join(known.others)}.")
    return config


def _check_words(words: Sequence[str], known: _Known) -> None:
    for word in words:
        if word not in (*known.others, *known.sizes):
            listed = ", ".join((*known.others, *known.sizes))
            raise UserError(f"unknown variant {word!r}; known: {listed}.")
    for group in known:
        both = [word for word in words if word in group]
        if len(both) > 1:
            raise UserError(f"{' and '.join(both)} exclude each other; name one of them.")
