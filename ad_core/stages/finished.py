"""Finished stages of a run, so that the same command computes nothing again.

Told by the files alone: a stage is finished while what it wrote, and the configuration it was
written for, are the same bytes. Nothing here needs JAX, so that the answer comes at once.
"""

import hashlib
import json
import shlex
import shutil
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ad_core.reporting.worth import worth
from ad_core.runtime.command import take
from ad_core.runtime.invocation import default_workdir, named_photos
from ad_core.runtime.sealed import MANIFEST, find_folder, write_json
from ad_core.runtime.workdir import Workdir

NAME = "finished.json"


def is_finished(workdir: Workdir, stage: str) -> bool:
    """Tells whether "calibrate" or "evaluate" has nothing left to do."""
    marked = _read(workdir).get(stage)
    return marked is not None and marked == _state(workdir, stage)


def mark_finished(workdir: Workdir, stage: str) -> None:
    """Notes that a stage is finished."""
    write_json(workdir.root / NAME, _read(workdir) | {stage: _state(workdir, stage)})


def forget_results(workdir: Workdir) -> None:
    """Removes what was derived from a detector that is about to be replaced.

    The report goes before the figures that it shows, and both before the detector: a kill in
    between leaves nothing that outlives what it was derived from.
    """
    (workdir.root / NAME).unlink(missing_ok=True)
    if workdir.report.parent.exists():
        shutil.rmtree(workdir.report.parent)
    workdir.results.unlink(missing_ok=True)


def mark_command(workdir: Workdir, argv: Sequence[str], stage: str) -> None:
    """Notes that a command line has done all up to `stage`, for `tell_finished`."""
    marked = _read(workdir)
    commands = marked.get("commands", {}) | {_arguments(argv): _given(argv, stage)}
    write_json(workdir.root / NAME, marked | {"commands": commands})


def tell_finished(argv: Sequence[str]) -> bool:
    """Says that a command has nothing left to do, if so: it is, to the letter, a finished one."""
    photos, root = named_photos(argv), take(argv, "workdir")[0]
    place = Path(root) if root else photos and default_workdir(photos)
    if not place:
        return False
    workdir = Workdir(place)
    command = _read(workdir).get("commands", {}).get(_arguments(argv))
    if not command or command != _given(argv, command["stage"]):
        return False
    if not is_finished(workdir, command["stage"]):
        return False
    announce_finished(workdir, command["stage"])
    return True


def _given(argv: Sequence[str], stage: str) -> dict[str, str]:
    """What a command line depends on but its words, and how far it goes."""
    return {"stage": stage, "recipe": _recipe(argv), "version": metadata.version("zfn-ad")}


def announce_finished(workdir: Workdir, stage: str) -> None:
    """Prints that a run is finished, what came of it, and what to do for another."""
    print(f"{workdir.root}: finished before with this configuration; nothing is computed again.")
    if stage == "evaluate":
        print(worth(json.loads(workdir.results.read_text())))
        print(f"report:  {workdir.report}")
    print(f"detector: {workdir.detector}")
    print("Images that were added since need another --workdir.")


def _read(workdir: Workdir) -> dict[str, Any]:
    path = workdir.root / NAME
    return json.loads(path.read_text()) if path.is_file() else {}


def _state(workdir: Workdir, stage: str) -> dict[str, str] | None:
    """Digests of what a stage reads and writes; None where a file is missing."""
    files = {"config": workdir.config, "detector": find_folder(workdir.detector) / MANIFEST}
    if stage == "evaluate":
        files |= {"results": workdir.results, "report": workdir.report}
    if not all(path.is_file() for path in files.values()):
        return None
    return {name: _digest(path) for name, path in files.items()}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _arguments(argv: Sequence[str]) -> str:
    """The arguments but for the workdir, which may be named in several ways."""
    return shlex.join(take(argv[1:], "workdir")[1])


def _recipe(argv: Sequence[str]) -> str:
    """Digest of the recipe that a command line names; "" where it names none."""
    path = Path((take(argv, "config")[0] or "").partition(":")[0])
    return _digest(path) if path.is_file() else ""
