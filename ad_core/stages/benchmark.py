"""A benchmark: finds the sets, runs the cells that are not done, writes the tables."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ml_collections import ConfigDict

from ad_core.reporting.comparison import Comparison, Trouble
from ad_core.reporting.comparison_files import NAMES, markdown, write_comparison
from ad_core.runtime.benchmarks import Benchmark, seeds_of
from ad_core.runtime.invocation import PROJECT
from ad_core.runtime.lock import exclusive
from ad_core.runtime.sealed import mark_own
from ad_core.runtime.workdir import Workdir
from ad_core.stages.benchmark_cells import Cell, Place, find_sets, make_cells
from ad_core.stages.benchmark_figures import measure_cell
from ad_core.stages.benchmark_localisation import LOCALISATION, draw_localisation
from ad_core.stages.benchmark_running import Failed, read_note, run_cells

FAILED, MISSING = 1, 3  # statuses: a run failed; a set is not there
CORES_A_CELL = 4
_PROBE = "import jax; print(jax.default_backend())"


def run_benchmark(benchmark: Benchmark, config: ConfigDict, workdir: Path) -> int:
    """Runs what is left and writes WORKDIR/table.*, index.html and the pictures; the status.

    Returns:
        FAILED where a run failed, else MISSING where a set is not there, else 0.

    Raises:
        UserError: a mistake in the configuration; nothing was run.
    """
    places = find_sets(benchmark, config)
    backend = _backend() if not (config.size and config.parallel) else ""
    size = str(config.size) or ("cpu" if backend == "cpu" else "accelerator")
    cells = make_cells(benchmark, config, places, workdir, size=size)
    parallel = int(config.parallel) or default_parallel(backend, os.cpu_count() or 1)
    with exclusive(workdir):
        mark_own(workdir, (*NAMES, "cells", LOCALISATION))
        _announce(places, cells, parallel)
        failed = run_cells(cells, parallel=parallel, commit=commit_of(PROJECT))
        comparison = compare(benchmark, config, places, cells, failed)
        pictures = draw_localisation(workdir, _done(cells, failed))
        write_comparison(workdir, comparison, pictures)
    print(markdown(comparison))
    print(f"tables: {', '.join(str(workdir / name) for name in NAMES)}")
    missing = any(place.missing for place in places)
    return FAILED if failed else MISSING if missing else 0


def default_parallel(backend: str, cores: int) -> int:
    """Cells at a time: one on an accelerator, else one for CORES_A_CELL cores, so times count."""
    return 1 if backend != "cpu" else max(1, cores // CORES_A_CELL)


def _backend() -> str:
    """The devices of a run. A process asks for them, since JAX would hold an accelerator's memory.

    An error of JAX is the runs' own, which then say it.
    """
    found = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True)
    return found.stdout.strip() or "cpu"


def _announce(places: Sequence[Place], cells: Sequence[Cell], parallel: int) -> None:
    print(f"{len(cells)} runs, {parallel} at a time")
    for place in places:
        if place.missing:
            print(f"  {place.set.name} is missing: {place.missing}")


def compare(
    benchmark: Benchmark,
    config: ConfigDict,
    places: Sequence[Place],
    cells: Sequence[Cell],
    failed: Sequence[Failed],
) -> Comparison:
    """The comparison of all cells that are done, with what failed and what is missing."""
    done = _done(cells, failed)
    measured = tuple(one for cell in done for one in measure_cell(cell))
    return Comparison(
        name=str(config.name),
        title=str(config.title),
        sets=tuple(place.set.name for place in places),
        measurements=measured,
        troubles=(*_missing(places), *_failed(failed)),
        published=benchmark.published,
        about=_about(config, done),
    )


def _done(cells: Sequence[Cell], failed: Sequence[Failed]) -> list[Cell]:
    gone = {one.cell.folder for one in failed}
    return [cell for cell in _by_set(cells) if cell.folder not in gone]


def _by_set(cells: Sequence[Cell]) -> list[Cell]:
    """Cells set by set and method by method, as rows stand."""
    names = [cell.set for cell in cells]
    entrants = [cell.entrant.name for cell in cells]
    return sorted(
        cells,
        key=lambda c: (names.index(c.set), entrants.index(c.entrant.name), c.seed),
    )


def _missing(places: Sequence[Place]) -> list[Trouble]:
    return [Trouble(place.set.name, "", (), place.missing) for place in places if place.missing]


def _failed(failed: Sequence[Failed]) -> list[Trouble]:
    """One trouble for the seeds of a method that failed alike."""
    seeds: dict[tuple[str, str, str], list[int]] = {}
    for cell, reason in failed:
        seeds.setdefault((cell.set, cell.entrant.title, reason), []).append(cell.seed)
    return [
        Trouble(name, title, tuple(sorted(own)), reason)
        for (name, title, reason), own in seeds.items()
    ]


def _about(config: ConfigDict, done: Sequence[Cell]) -> dict[str, str]:
    """Facts of the runs: seeds, protocol, commits, versions, machine."""
    notes = [read_note(cell) for cell in done]
    results = [json.loads(Workdir(cell.folder).results.read_text("utf-8")) for cell in done]
    versions = [f"{name} {value}" for of in results for name, value in of["versions"].items()]
    about = {
        "seeds": ", ".join(map(str, seeds_of(config))),
        "protocol": _each_once(of["protocol"] for of in results),
        "runs at a time": _each_once(str(note["parallel"]) for note in notes),
        "commit": _each_once(str(note["commit"]) for note in notes),
        "versions": _each_once(versions),
        "machine": f"{os.cpu_count()} cores",
    }
    return {word: fact for word, fact in about.items() if fact}


def _each_once(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words))


def commit_of(folder: Path) -> str:
    """The commit that a folder's code is of, "+" behind it where files differ; "" without git."""
    try:
        commit = _git(folder, "rev-parse", "--short=12", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit + "+" * bool(changed)


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
