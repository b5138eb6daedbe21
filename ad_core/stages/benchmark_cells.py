"""Cells of a benchmark: a method on a set with a seed, each a main job of its own."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ad_core.data.sets.known_set import KnownSet
from ad_core.errors import UserError
from ad_core.runtime.benchmarks import (
    Benchmark,
    BenchmarkSet,
    Entrant,
    check_size,
    entrants_of,
    seeds_of,
)
from ad_core.runtime.command import written
from ad_core.runtime.config import complete, flat
from ad_core.runtime.help import PHANTOMS
from ad_core.runtime.recipes import load_recipe
from ad_core.runtime.registry import resolve
from ad_core.runtime.workdir import Workdir

LAYOUT = "train/good"  # tells that a folder below the root is a set
RULES = ("zfn", "miss_bound")  # that the tables show; miss_bound at 5 %
MISS_RATE = 0.05
AFTER = "{after}"  # in settings, for the detector of the method that an entrant comes after


class Place(NamedTuple):
    """A set as it was found. root: "" at its recipe's own place. missing: why it is not there."""

    set: BenchmarkSet
    root: str
    missing: str = ""


class Cell(NamedTuple):
    """A run to be made. arguments: of launch/train.py, but for --workdir. folder: its workdir."""

    set: str
    entrant: Entrant
    seed: int
    arguments: tuple[str, ...]
    folder: Path

    def follows(self, other: "Cell") -> bool:
        """Tells whether this run needs the detector of `other`."""
        same = (self.set, self.seed) == (other.set, other.seed)
        return same and self.entrant.after == other.entrant.name

    @property
    def recipe(self) -> str:
        """SHA-256 of the recipe that the cell is made by."""
        path = Path(self.arguments[0].partition("=")[2].partition(":")[0])
        return hashlib.sha256(path.read_bytes()).hexdigest()


def find_sets(benchmark: Benchmark, config: ConfigDict) -> list[Place]:
    """The sets to compare on, in the order of the file; those that are not there say why.

    Where the file names a recipe for other folders (`OTHERS`), the sets are the folders below the
    root that hold LAYOUT, and a set of the file that is not there is none.

    Raises:
        UserError: no root where there must be one, a root without sets, or an unknown set.
    """
    root = Path(str(config.root)) if config.root else None
    if root is not None and not root.is_dir():
        raise UserError(f"`config.root` (={root}): no such folder.")
    if benchmark.others:
        return _found_below(benchmark, config, root)
    names = config.sets or tuple(benchmark.sets)
    _check_names(names, benchmark.sets)
    return [_place(benchmark, benchmark.sets[name], root) for name in names]


def _found_below(benchmark: Benchmark, config: ConfigDict, root: Path | None) -> list[Place]:
    if root is None:
        raise UserError("`config.root` is missing: --config.root=DIR, with a folder a set in it.")
    folders = sorted(path.name for path in root.iterdir() if (path / LAYOUT).is_dir())
    known = {name: of for of in benchmark.sets.values() for name in _names(of)}
    found = {}
    for folder in folders:
        of = known.get(folder, BenchmarkSet(folder, benchmark.others))
        found.setdefault(of.name, Place(of, str(root / folder)))
    if not found:
        raise UserError(f"`config.root` (={root}): no folder in it holds {LAYOUT}/.")
    _check_names(config.sets, found)
    return [found[name] for name in config.sets or found]


def _check_names(names: tuple[str, ...], known: Mapping[str, Any]) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"`config.sets` (={name!r}): unknown; known: {', '.join(known)}.")


def _names(of: BenchmarkSet) -> tuple[str, ...]:
    return (of.name, *of.folders)


def _place(benchmark: Benchmark, of: BenchmarkSet, root: Path | None) -> Place:
    data = complete(load_recipe(str(benchmark.folder / of.recipe), size="cpu")).data
    if data.source.startswith(PHANTOMS):
        return Place(of, "")
    places = [Path(str(data.root))] if root is None else [root / name for name in _names(of)]
    for place in places:
        if place.exists():
            return Place(of, "" if root is None else str(place))
    known = getattr(resolve(data.source, "open_source"), "KNOWN", None)
    get = f" {known.title}: {known.fetch}" if isinstance(known, KnownSet) else ""
    tried = " or ".join(map(str, places))
    return Place(of, "", f"{tried}: no such folder.{get} Its images as {LAYOUT}/... will do too.")


def make_cells(
    benchmark: Benchmark, config: ConfigDict, places: list[Place], workdir: Path, *, size: str
) -> list[Cell]:
    """Every cell of the sets that are there: seed by seed, so that an early table is of all.

    Args:
        size: of networks and images, where a method names none.

    Raises:
        UserError: an unknown method, or a seed that is none.
    """
    check_size(size)
    entrants = entrants_of(benchmark, config)

    def made(entrant: Entrant, place: Place, seed: int) -> Cell:
        own = workdir / "cells" / place.set.name
        arguments = _arguments(benchmark, config, place, entrant, seed, size)
        detector = Workdir(own / entrant.after / str(seed)).detector
        arguments = tuple(word.replace(AFTER, str(detector)) for word in arguments)
        return Cell(place.set.name, entrant, seed, arguments, own / entrant.name / str(seed))

    return [
        made(entrant, place, seed)
        for seed in seeds_of(config)
        for place in places
        if not place.missing
        for entrant in entrants
    ]


def _arguments(
    benchmark: Benchmark, config: ConfigDict, place: Place, entrant: Entrant, seed: int, size: str
) -> tuple[str, ...]:
    recipe = entrant.recipe.format(set=place.set.name) or place.set.recipe
    name, _, variant = recipe.partition(":")
    words = ",".join(filter(None, [variant, entrant.size or size]))
    keys = {"method": entrant.method, "seed": seed, "decision.rules": RULES}
    keys["decision.miss_rate"] = MISS_RATE
    if place.root:
        keys["data.root"] = place.root
    if config.protocol:
        keys["data.protocol"] = config.protocol
    for settings in _settings(config, place, entrant, size):
        keys |= flat(ConfigDict(settings))
    own = [f"--config.{key}={written(value)}" for key, value in keys.items()]
    given = [f"--config.{override}" for override in _overrides(config, place.set.name)]
    return (f"--config={benchmark.folder / name}:{words}", *own, *given)


def _overrides(config: ConfigDict, name: str) -> list[str]:
    """KEY=VALUE for every set, and of SET:KEY=VALUE those for this one."""
    split = [override.partition("=") for override in str(config.overrides).split()]
    keyed = [(key.rpartition(":"), value) for key, _, value in split]
    return [f"{key}={value}" for (of, _, key), value in keyed if of in ("", name)]


def _settings(
    config: ConfigDict, place: Place, entrant: Entrant, size: str
) -> list[Mapping[str, Any]]:
    """Overrides in sections; what comes later counts."""
    settings = [entrant.settings, entrant.cpu if size == "cpu" else entrant.accelerator]
    if config.inception and entrant.inception:
        settings += [entrant.inception, {"statistics": {"backbone": str(config.inception)}}]
    return [*settings, place.set.settings]
