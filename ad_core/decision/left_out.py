"""Images that a person left out of calibration: who, why and when, logged and never forgotten."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool

from ad_core.decision.table import StatisticsTable
from ad_core.errors import UserError
from ad_core.runtime.sealed import write_json


class LeftOut(NamedTuple):
    """An image that was left out. path: as the table has it. when: UTC, ISO 8601."""

    path: str
    who: str
    why: str
    when: str

    def __str__(self) -> str:
        """Entry in words: a.png, left out by Ann (mislabelled) on 2026-01-31."""
        return f"{self.path}, left out by {self.who} ({self.why}) on {self.when[:10]}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return self._asdict()


def read_left_out(path: Path) -> tuple[LeftOut, ...]:
    """The log, oldest entry first; empty where nobody left anything out.

    Raises:
        UserError: the file is damaged.
    """
    if not path.is_file():
        return ()
    try:
        return tuple(LeftOut(**entry) for entry in json.loads(path.read_text()))
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged ({error}); restore a copy, for it says which images a person left "
            "out of calibration."
        ) from error


def make_entry(
    log: Sequence[LeftOut], table: StatisticsTable, image: str, *, who: str, why: str
) -> LeftOut:
    """The entry that leaves an image out; one that was logged before is refused.

    Args:
        table: of the images that calibrate. image: its path in the table.

    Raises:
        UserError: no such image, no name, no reason, or left out already.
    """
    if image not in table.path:
        raise UserError(f"`--leave_out` (={image!r}) is none of the images that calibrate.")
    for flag, text in (("who", who), ("why", why)):
        if not text.strip():
            raise UserError(f"`--{flag}` is missing: leaving an image out is logged with it.")
    if any(entry.path == image for entry in log):
        raise UserError(f"`--leave_out` (={image!r}) was left out before.")
    return LeftOut(image, who.strip(), why.strip(), datetime.now(UTC).isoformat("T", "seconds"))


def write_left_out(path: Path, log: Sequence[LeftOut]) -> None:
    """Writes the log, oldest entry first."""
    write_json(path, [one.to_dict() for one in log])


def left_out_rows(table: StatisticsTable, left_out: Sequence[LeftOut]) -> Bool[np.ndarray, " n"]:
    """True for each row that was left out."""
    paths = {entry.path for entry in left_out}
    return np.array([path in paths for path in table.path], dtype=bool)
