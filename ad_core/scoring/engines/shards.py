"""Batch scoring by shards: processes that share a folder, on one machine or on many.

Any launcher may start them, and start them again: a shard that is finished is skipped, one that was
cut short is begun anew. The merge at the end gives what scoring on one machine gives.
"""

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ad_core.data.source import printable
from ad_core.errors import UserError
from ad_core.runtime import sealed
from ad_core.runtime.lock import exclusive
from ad_core.runtime.stop import Stop
from ad_core.scoring.engines.local import Stopwatch, Task, map_names, score_lot, summarise
from ad_core.scoring.files import load_detector
from ad_core.scoring.inputs import open_input
from ad_core.scoring.lot import JOURNAL, MAPS, SUMMARY, Lot, identify
from ad_core.scoring.plan import ROWS, SHARDS, Plan, make_plan, read_plan
from ad_core.scoring.rows import read_paths
from ad_core.scoring.verdict import Explain

SHARD_IMAGES = 1000  # of a shard, where nobody says how many shards there are
# Number of this process among those that a launcher started: SLURM array, Kubernetes Indexed Job.
NUMBERED = ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")


class Sharded(NamedTuple):
    """A lot in shards that has begun: its plan, and what each process scores it with."""

    plan: Plan
    task: Task


def open_shards(
    detector_dir: Path,
    given: Path,
    output: Path,
    *,
    shards: int | None,
    maps: bool = False,
    explain: Explain = True,
    batch_size: int = 32,
    workers: int = 2,
) -> Sharded:
    """The lot of these images in `output`: begun, or gone on with.

    Args:
        shards: how many; None: as planned before. The rest as `engines.local.score_files`.

    Raises:
        UserError: no detector, no images, or a folder that holds another lot.
    """
    detector = load_detector(detector_dir, batch_size=batch_size)
    source = open_input(given, detector.parts.config.data)
    options = {"maps": maps, "explain": explain, "batch_size": batch_size}
    identity = identify(detector_dir, source, stamped=False, input=str(given), **options)
    count = read_plan(output).count if shards is None else shards
    plan = make_plan(output, identity, source, shards=count)
    return Sharded(plan, Task(detector, source, maps, explain, workers))


def score_shard(lot: Sharded, number: int, stop: Stop | None = None) -> bool:
    """Scores a shard and seals it; False where that was done before, or by another process.

    Raises:
        UserError: a number that is no shard's, an image changed since the plan, or a folder that
            cannot be written.
        Stopped: `stop` was set; the shard is left as if it had not begun.
    """
    plan, task = lot
    if not 0 <= number < plan.count:
        raise UserError(
            f"`--shard` (={number}) must lie from 0 to {plan.count - 1} (--shards - 1)."
        )
    if plan.is_done(number):
        return False
    plan.check_files(number, task.source)
    stop = Stop() if stop is None else stop

    def fill(folder: Path) -> None:
        watch = Stopwatch()
        sealed.write_json(folder / JOURNAL, {"plan": plan.sha256})
        part = Lot(folder, plan.images, within=plan.rows(number))
        score_lot(task, part, watch, stop)
        part.join(folder / ROWS)
        sealed.write_json(folder / JOURNAL, {"plan": plan.sha256, "seconds": watch.total()})

    try:
        return sealed.create_folder(plan.folder(number), fill)
    except UserError:
        if plan.is_done(number):  # the lot was merged meanwhile, and this work removed
            return False
        raise


def merge_shards(lot: Sharded) -> dict[str, Any]:
    """Writes the tables, the maps and summary.json of a lot whose shards are all finished.

    They are those of one machine to the last digit; `seconds` sums those of the shards. A lot that
    is merged already is left as it is.

    Raises:
        UserError: a shard is missing or damaged, or the folder cannot be written.
    """
    plan, task = lot
    with exclusive(plan.output, flag="--output"):
        if not plan.is_merged:
            _merge(plan, task)
        sealed.remove(plan.output / SHARDS)
    summary = json.loads((plan.output / SUMMARY).read_bytes())
    del summary["finished"]
    return summary


def _merge(plan: Plan, task: Task) -> None:
    if plan.missing:
        numbers = ",".join(map(str, plan.missing))
        raise UserError(
            f"`--merge`: {len(plan.missing)} of {plan.count} shards are not finished; score them "
            f"with --shards={plan.count} --shard={numbers}, then merge again."
        )
    seconds: defaultdict[str, float] = defaultdict(float)
    for number in range(plan.count):
        for what, spent in _check_shard(plan, task, number).items():
            seconds[what] += spent
    parts = [plan.folder(number) / ROWS for number in range(plan.count)]
    whole = Lot(plan.output, plan.images, parts=parts)
    if whole.done != plan.images:
        raise UserError(f"`--merge`: {plan.images - whole.done} images have no row, or two.")
    for number in range(plan.count):
        _move_maps(plan.folder(number) / MAPS, plan.output / MAPS)
    if task.maps:
        _check_maps(whole, task)
    whole.finish(summarise(task, whole, seconds, resumed=0))


def _check_shard(plan: Plan, task: Task, number: int) -> Mapping[str, float]:
    """Seconds that a shard took. Raises UserError unless it is whole, and of this plan."""
    folder, rows = plan.folder(number), plan.rows(number)
    try:
        sealed.verify_files(folder, (JOURNAL, ROWS))
        said = json.loads((folder / JOURNAL).read_bytes())
        paths = [printable(task.source.paths[place]) for place in rows]
        if said["plan"] != plan.sha256 or read_paths(folder / ROWS) != paths:
            raise sealed.Damaged(ROWS, "is of another lot")
    except sealed.Damaged as error:
        raise UserError(
            f"Shard {folder}: {error}; remove it, give --shard={number} again, then merge."
        ) from error
    return said["seconds"]


def _move_maps(source: Path, target: Path) -> None:
    """Moves all files below `source`; those that an earlier merge moved are there already."""
    for path in sorted(path for path in source.rglob("*") if path.is_file()):
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.replace(place)


def _check_maps(lot: Lot, task: Task) -> None:
    """Raises UserError where a row stands for a map that is not there."""
    for place in lot.mapped():
        for name in map_names(task.source.paths[place]):
            if not (lot.output / MAPS / name).is_file():
                raise UserError(f"`--merge`: {lot.output / MAPS / name} is missing; score again.")


def shard_numbers(text: str | None, environment: Mapping[str, str] = os.environ) -> list[int]:
    """Shards that a process scores: "3", "0,4,8", or where nothing is said the launcher's number.

    Raises:
        UserError: neither is there, or it is no number.
    """
    numbered = next((environment[name] for name in NUMBERED if name in environment), None)
    said = numbered if text is None else text
    if said is None:
        raise UserError(
            "`--shard` is missing: give --shard=0 to --shards - 1 to one process each, or start "
            f"them as an array ({' or '.join(NUMBERED)} is set there)."
        )
    try:
        return [int(number) for number in said.split(",")]
    except ValueError as error:
        raise UserError(f"`--shard` (={said}) must be a number, or several with commas.") from error
