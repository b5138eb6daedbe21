"""Benchmarks: which methods are compared on which sets, as data in configs/benchmark_NAME.py.

Such a file defines `BENCHMARK`, overrides of KEYS, which the command line overrides in turn;
`METHODS` and `SETS`, name -> the fields of an Entrant and of a BenchmarkSet; and perhaps
`PUBLISHED`, the figure of the poster whose rows stand beside ours, and `OTHERS`, the recipe of
folders below the root that no set names.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.runtime.command import Kind
from ad_core.runtime.config import require_key
from ad_core.runtime.defaults import SIZES, Key, values_of
from ad_core.runtime.help import line_of_key
from ad_core.runtime.invocation import PROJECT, shown
from ad_core.runtime.recipes import BENCHMARKS, execute

KEYS: Mapping[str, Key] = {
    "name": Key("benchmark", "of the tables"),
    "title": Key("Benchmark", "of the page"),
    "root": Key("", "folder that holds a folder a set; '' each at its recipe's own place"),
    "seeds": Key((0, 1, 2), "of the runs of each method on each set, with commas"),
    "methods": Key((), "names among METHODS, with commas; () those of the file"),
    "sets": Key((), "names among SETS or of folders, with commas; () all"),
    "protocol": Key("", "how images are split; '' as each recipe does"),
    "size": Key("", "of networks and images; '' follows the device"),
    "inception": Key("", "Inception's .npz, for scores that need it; '' leaves these out"),
    "overrides": Key("", "KEY=VALUE of every run, SET:KEY=VALUE of one set's, with spaces"),
    "parallel": Key(0, "runs at a time; 0: one for four cores, on an accelerator one"),
}


class Entrant(NamedTuple):
    """A method as it takes part, by a name that a folder may have.

    title: its name in tables. method: module path, as `config.method`. recipe: in place of the
    set's, "{set}" standing for its name. size: the word for it, in place of the benchmark's.
    settings: overrides of the configuration, in sections; cpu, accelerator: more of them at a
    size; inception: more of them where its weights are given. scores: heading -> single statistic
    that is judged by itself too. classifiers: others than the configuration's, judged on a pool.
    without: heading -> columns, by a pattern as of file names, without which another row decides.
    after: name of the method whose detector of the same set and seed stands for "{after}" in
    settings: its run must have ended before this one begins.
    """

    name: str
    title: str
    method: str
    recipe: str = ""
    size: str = ""
    settings: Mapping[str, Any] = {}
    cpu: Mapping[str, Any] = {}
    accelerator: Mapping[str, Any] = {}
    inception: Mapping[str, Any] = {}
    scores: Mapping[str, str] = {}
    classifiers: tuple[str, ...] = ()
    without: Mapping[str, str] = {}
    after: str = ""


class BenchmarkSet(NamedTuple):
    """A set. recipe: NAME.py[:variant] beside the benchmark. folders: its names below a root."""

    name: str
    recipe: str
    folders: tuple[str, ...] = ()
    settings: Mapping[str, Any] = {}


class Benchmark(NamedTuple):
    """Content of a benchmark's file. folder: where it and its recipes lie. values: of KEYS."""

    folder: Path
    values: Mapping[str, Any]
    entrants: Mapping[str, Entrant]
    sets: Mapping[str, BenchmarkSet]
    published: str
    others: str


def _benchmarks() -> list[str]:
    """Benchmarks in configs/, or else the project's own."""
    for folder in (Path("configs"), PROJECT / "configs"):
        if found := sorted(folder.glob(f"{BENCHMARKS}*.py")):
            return [shown(file) for file in found]
    return []


def load_benchmark(name: str) -> Benchmark:
    """The benchmark of a file "configs/benchmark_NAME.py". It is Python: load only what you trust.

    Raises:
        UserError: no such file, no benchmark, or a field that a method or a set does not have.
    """
    if not Path(name).is_file():
        raise UserError(f"`--config` (={name}): no such file; known: {', '.join(_benchmarks())}.")
    module = execute(name)
    parts = [vars(module).get(part) for part in ("BENCHMARK", "METHODS", "SETS")]
    values, methods, sets = ({} if part is None else part for part in parts)
    if None in parts or not all(isinstance(part, dict) for part in parts):
        raise UserError(
            f"`--config` (={name}) defines no BENCHMARK, METHODS and SETS; see "
            "configs/benchmark_quick.py."
        )
    for key in values:
        require_key(key, KEYS)
    return Benchmark(
        Path(name).parent,
        values,
        {key: _made(Entrant, key, of, where=name) for key, of in methods.items()},
        {key: _made(BenchmarkSet, key, of, where=name) for key, of in sets.items()},
        getattr(module, "PUBLISHED", ""),
        getattr(module, "OTHERS", ""),
    )


def _made(kind: Any, key: str, of: Mapping[str, Any], *, where: str) -> Any:
    known = kind._fields[1:]
    if wrong := sorted(set(of) - set(known)):
        raise UserError(
            f"`--config` (={where}): {key!r} has no field {wrong[0]!r}; known: {', '.join(known)}."
        )
    return kind(key, **of)


def _read(name: str | None, rest: Sequence[str]) -> ConfigDict | None:
    if name is None:
        return None
    config = values_of(KEYS)
    config.lock()
    for key, value in load_benchmark(name).values.items():
        try:
            config[key] = value
        except TypeError as error:
            kind = type(KEYS[key].default).__name__
            raise UserError(f"`config.{key}` (={value!r}) must be of type {kind}.") from error
    return config


def _explain(config: ConfigDict) -> list[str]:
    return ["", "benchmark:", *(line_of_key(key, config[key], of) for key, of in KEYS.items())]


BENCHMARK = Kind(_read, _explain)


def seeds_of(config: ConfigDict) -> tuple[int, ...]:
    """The seeds, each once. Raises UserError where one is no whole number of 0 or more."""
    words = [str(seed).strip() for seed in config.seeds]
    if not words or not all(word.isdecimal() for word in words):
        raise UserError(f"`config.seeds` (={config.seeds}) must be whole numbers, as in 0,1,2.")
    return tuple(dict.fromkeys(map(int, words)))


def entrants_of(benchmark: Benchmark, config: ConfigDict) -> list[Entrant]:
    """The methods that take part, in order.

    Raises:
        UserError: a name that is none, or a method without the one that must run before it.
    """
    for name in config.methods:
        if name not in benchmark.entrants:
            known = ", ".join(benchmark.entrants)
            raise UserError(f"`config.methods` (={name!r}): unknown; known: {known}.")
    found = [benchmark.entrants[name] for name in config.methods or benchmark.entrants]
    for place, one in enumerate(found):
        if one.after and one.after not in [before.name for before in found[:place]]:
            raise UserError(
                f"`config.methods`: {one.name} needs the detector of {one.after}; name that before."
            )
    return found


def check_size(size: str) -> None:
    """Refuses a size that is none. Raises UserError."""
    if size not in ("", *SIZES):
        raise UserError(f"`config.size` (={size!r}) must be one of {', '.join(SIZES)}.")
