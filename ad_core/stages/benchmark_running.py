"""Running of a benchmark's cells: processes of their own, some at a time, each at most once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ad_core.runtime.invocation import PROJECT
from ad_core.runtime.progress import duration
from ad_core.runtime.sealed import write_json
from ad_core.runtime.workdir import Workdir
from ad_core.stages.benchmark_cells import Cell
from ad_core.stages.finished import is_finished

TRAIN = PROJECT / "launch" / "train.py"
WAIT_S = 0.1  # between two looks at the processes
REASON = 400  # characters of a reason, at most


class Started(NamedTuple):
    """A cell that runs."""

    cell: Cell
    process: subprocess.Popen[bytes]


def is_done(cell: Cell) -> bool:
    """Tells whether a cell ran to its end by the same arguments and the same recipe."""
    noted = read_note(cell)
    same = noted.get("arguments") == list(cell.arguments) and noted.get("recipe") == cell.recipe
    return same and is_finished(Workdir(cell.folder), "evaluate")


def read_note(cell: Cell) -> dict[str, object]:
    """Note on a cell from before it started: arguments, recipe, commit, parallel."""
    path = _beside(cell, ".json")
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def seconds_of(cell: Cell) -> float:
    """Time of a finished cell's stages."""
    timing = json.loads(Workdir(cell.folder).results.read_text("utf-8"))["timing"]
    return sum(stage["seconds"] for stage in timing.values())


class Failed(NamedTuple):
    """A cell that failed, and why in one line."""

    cell: Cell
    reason: str


def run_cells(cells: Sequence[Cell], *, parallel: int, commit: str) -> list[Failed]:
    """Runs what is not done, `parallel` at a time; those that failed.

    How each ended, and how long the rest may take, is printed as cells end. The processes end with
    this one.
    """
    done = [cell for cell in cells if is_done(cell)]
    pace, waiting = Pace(parallel), [cell for cell in cells if cell not in done]
    for cell in done:
        pace.add(cell, seconds_of(cell))
    if done:
        print(f"{len(done)} of {len(cells)} runs are finished from before")
    failed = list[Failed]()
    for cell, status in _each(tuple(waiting), parallel, commit):
        waiting.remove(cell)
        if reason := _unmade(cell, failed) or failure(cell, status):
            failed.append(Failed(cell, reason))
        else:
            pace.add(cell, seconds_of(cell))
        count = f"[{len(cells) - len(waiting)}/{len(cells)}]"
        told = f"{reason or 'done'}{pace.left(waiting)}"
        print(f"{count} {name_of(cell)}: {told}", flush=True)
    return failed


def _each(waiting: Sequence[Cell], parallel: int, commit: str) -> Iterator[tuple[Cell, int]]:
    """Starts the cells in order and yields each with its status as it ends.

    A cell that follows one still waiting or running lets others go before it.
    """
    todo, running = list(waiting), list[Started]()
    while todo or running:
        while len(running) < parallel and (ready := _ready(todo, running)):
            todo.remove(ready)
            running.append(_start(ready, commit, parallel))
        time.sleep(WAIT_S)
        for one in [one for one in running if one.process.poll() is not None]:
            running.remove(one)
            if one.process.stdin is not None:  # always a pipe
                one.process.stdin.close()
            yield one.cell, one.process.returncode


def _ready(todo: Sequence[Cell], running: Sequence[Started]) -> Cell | None:
    """The first cell whose forerunner has ended; None where all must wait."""
    open_ = [*todo, *(one.cell for one in running)]
    return next((cell for cell in todo if not any(map(cell.follows, open_))), None)


def _unmade(cell: Cell, failed: Sequence[Failed]) -> str:
    """Reason of a cell whose forerunner failed; "" of others."""
    before = [one.cell for one in failed if cell.follows(one.cell)]
    return f"needs the detector of {name_of(before[0])}, which failed" if before else ""


def _start(cell: Cell, commit: str, parallel: int) -> Started:
    note = {"arguments": list(cell.arguments), "recipe": cell.recipe}
    write_json(_beside(cell, ".json"), note | {"commit": commit, "parallel": parallel})
    print(f"{name_of(cell)}: started", flush=True)
    command = [sys.executable, "-m", "ad_core.runtime.leash", str(TRAIN), *cell.arguments]
    paths = filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")])
    with _beside(cell, ".log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--workdir={cell.folder}"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
    return Started(cell, process)


def failure(cell: Cell, status: int) -> str:
    """Reason in one line why a cell failed; "" if it did not."""
    if status == 0 and is_done(cell):
        return ""
    lines = _beside(cell, ".log").read_text("utf-8", "replace").splitlines()
    told = [line.strip() for line in lines if line.strip()]
    errors = [line.removeprefix("error: ") for line in told if line.startswith("error: ")]
    if status < 0:
        by = signal.Signals(-status).name
        reason = f"ended by {by}" + (", perhaps for want of memory" if by == "SIGKILL" else "")
    elif status == 0 and not Workdir(cell.folder).results.exists():
        reason = "ended without figures"
    else:
        reason = (errors or told or [f"status {status}, without a word"])[-1]
    return reason if len(reason) <= REASON else reason[: REASON - 3] + "..."


def name_of(cell: Cell) -> str:
    """Set, method and seed of a cell, in words."""
    return f"{cell.set}, {cell.entrant.title}, seed {cell.seed}"


def _beside(cell: Cell, ending: str) -> Path:
    """A file about a cell, beside its workdir."""
    path = cell.folder.with_name(cell.folder.name + ending)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


class Pace:
    """Estimate of the time left, by the cells of the same method, or else by all that ended."""

    def __init__(self, parallel: int) -> None:
        self._parallel = parallel
        self._seconds: dict[str, list[float]] = {}

    def add(self, cell: Cell, seconds: float) -> None:
        """Counts a cell that ended."""
        self._seconds.setdefault(cell.entrant.name, []).append(seconds)

    def left(self, cells: Sequence[Cell]) -> str:
        """Words on the time that these cells may take, after a comma; "" without any or a clue."""
        every = [one for own in self._seconds.values() for one in own]
        if not cells or not every:
            return ""
        means = [self._seconds.get(cell.entrant.name, every) for cell in cells]
        total = sum(sum(own) / len(own) for own in means) / min(self._parallel, len(cells))
        return f", about {duration(total)} left"
