"""Images that cannot be read: found before anything is trained, and left out or refused."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from ad_core.data.batches import eval_batches
from ad_core.data.formats.stored import FileSet
from ad_core.data.source import DataSource, printable
from ad_core.data.splits import Splits
from ad_core.errors import UserError, require_choice
from ad_core.runtime.progress import Progress
from ad_core.runtime.sealed import write_json

NAME = "unreadable.json"  # in a workdir: a run that goes on need not look again
CHECKED = ("train", "calibration")  # what is judged is judged unreadable: inspect
LEAVE_OUT, REFUSE = "leave_out", "refuse"
SHOWN = 5  # images told by name
BATCH = 32


def leave_out_unreadable(
    source: DataSource, splits: Splits, data: ConfigDict, root: Path
) -> tuple[Splits, dict[str, str]]:
    """The splits without the training and calibration images that cannot be read; path -> why.

    Every such image is decoded once, unless an earlier command in this workdir did so.

    Args:
        root: the workdir.

    Raises:
        UserError: `data.unreadable` is "refuse" and there are such images, or no normal
            image is left in a split that had one.
    """
    require_choice("data.unreadable", data.unreadable, (LEAVE_OUT, REFUSE))
    if not isinstance(source, FileSet):  # what is drawn can be drawn
        return splits, {}
    checked = [index for name in CHECKED if name in splits for index in splits[name].tolist()]
    why = _known(root, source, checked)
    if why is None:
        why = _find(source, checked, workers=int(data.workers))
    if why and data.unreadable == REFUSE:
        raise UserError(_refusal(why))
    lost = {index for index in checked if source.records[index].path in why}
    kept = {name: _without(own, lost, name) for name, own in splits.items()}
    _check(source, splits, kept)
    return kept, why


def keep_findings(source: DataSource, splits: Splits, why: Mapping[str, str], root: Path) -> None:
    """Writes what was found to the workdir; `splits` are those that `leave_out_unreadable` gave."""
    left = {index for name in CHECKED if name in splits for index in splits[name].tolist()}
    paths = {source.records[index].path for index in left} | set(why)
    images = {printable(path): text for path, text in sorted(why.items())}
    write_json(root / NAME, {"of": _digest(paths), "images": images})


def told_unreadable(why: Mapping[str, str]) -> list[str]:
    """Lines that name the images that were left out, the first SHOWN of them with the reason."""
    if not why:
        return []
    rows = [f"    {printable(text)}" for _, text in sorted(why.items())[:SHOWN]]
    more = [f"    and {len(why) - SHOWN} more, in {NAME}"] if len(why) > SHOWN else []
    plural = "s" * (len(why) != 1)
    head = f"warning: {len(why)} image{plural} cannot be read and left out of training:"
    mend = f"  --config.data.unreadable={REFUSE} ends a run instead"
    return [head, *rows, *more, mend]


def _find(source: DataSource, indices: Sequence[int], *, workers: int) -> dict[str, str]:
    found: dict[str, str] = {}
    progress = Progress(len(indices), label="check")
    readings = eval_batches(source, np.array(indices, int), batch_size=BATCH, workers=workers)
    for reading in readings:
        found |= {source.records[index].path: text for index, text in reading.errors.items()}
        progress.update(int((np.asarray(reading.batch.index) >= 0).sum()))
    progress.close()
    return found


def _known(root: Path, source: DataSource, indices: Sequence[int]) -> dict[str, str] | None:
    """Findings of an earlier command about the same images; None without any."""
    if not (root / NAME).is_file():
        return None
    kept = json.loads((root / NAME).read_text())
    paths = {printable(source.records[index].path): source.records[index].path for index in indices}
    if kept["of"] != _digest(set(paths.values())):
        return None
    return {paths[name]: text for name, text in kept["images"].items()}


def _digest(paths: set[str]) -> str:
    text = "\n".join(sorted(map(printable, paths)))
    return hashlib.sha256(text.encode()).hexdigest()


def _without(own: np.ndarray, lost: set[int], name: str) -> np.ndarray:
    return own[~np.isin(own, list(lost))] if name in CHECKED and lost else own


def _check(source: DataSource, before: Splits, after: Splits) -> None:
    for name, own in after.items():
        had = any(source.records[index].label == 0 for index in before[name])
        if had and not any(source.records[index].label == 0 for index in own):
            raise UserError(
                f"No normal image of the {name} split can be read ({len(before[name])} images); "
                "launch/inspect_data.py says what is wrong with them."
            )


def _refusal(why: Mapping[str, str]) -> str:
    paths = sorted(why)
    names = ", ".join(map(printable, paths[:SHOWN])) + (", ..." if len(paths) > SHOWN else "")
    plural = "s" * (len(paths) != 1)
    return (
        f"{len(paths)} image{plural} to learn from cannot be read: {names}. The first: "
        f"{why[paths[0]]} Remove or mend them, or set `--config.data.unreadable={LEAVE_OUT}`."
    )
