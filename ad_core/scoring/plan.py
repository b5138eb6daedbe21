"""The plan of a lot in shards: who scores which images, the same for every process.

    plan.json                 what the lot belongs to, and the rows of each shard; never replaced
    shards/00003-of-00008/    a finished shard: rows.parquet, lot.json, maps/; its being there is
                              the commit. What a process is working on ends in `.partial`

The processes share nothing but this folder. The first writes the plan; the others compare theirs
with it. Two may score one shard: the first that is whole stays, and both made the same rows.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ad_core.data.layouts.files import FileSource
from ad_core.errors import UserError
from ad_core.runtime import sealed
from ad_core.runtime.lock import NAME as LOCK
from ad_core.scoring.lot import MAPS, NAMES, PLAN, SUMMARY, TABLES, digest

SHARDS, ROWS = "shards", "rows.parquet"
OWN = (PLAN, SHARDS, SUMMARY, *TABLES, MAPS, LOCK)
# What a difference means to the person who reads of it.
WORDS = {
    "format": "version of zfn-ad",
    "columns": "version of zfn-ad",
    "detector": "detector",
    "input": "--input",
    "images": "images in --input",
    "listing": "images in --input",
    "maps": "--maps",
    "explain": "--explain",
    "batch_size": "--batch_size",
    "shards": "--shards",
}


class Plan:
    """Plan of a lot in shards, as it stands in plan.json. Made by `make_plan` or `read_plan`."""

    def __init__(self, output: Path, text: bytes):
        self.output = output
        self.sha256 = hashlib.sha256(text).hexdigest()
        content = json.loads(text)
        self.identity: dict[str, Any] = content["identity"]
        self.stamps: list[str] = content["stamps"]

    @property
    def count(self) -> int:
        """Number of shards."""
        return len(self.stamps)

    @property
    def images(self) -> int:
        """Number of images of the lot."""
        return int(self.identity["images"])

    def rows(self, number: int) -> range:
        """Places of the images of a shard."""
        return rows_of_shard(number, self.count, self.images)

    def folder(self, number: int) -> Path:
        """Place of a shard once it is finished."""
        return self.output / SHARDS / f"{number:05d}-of-{self.count:05d}"

    @property
    def is_merged(self) -> bool:
        """Tells whether the tables of the whole lot are there."""
        try:
            return bool(json.loads((self.output / SUMMARY).read_bytes())["finished"])
        except (OSError, ValueError, KeyError):
            return False

    def is_done(self, number: int) -> bool:
        """Tells whether a shard is finished."""
        return self.folder(number).is_dir() or self.is_merged

    @property
    def missing(self) -> list[int]:
        """Shards that are not finished."""
        if self.is_merged:
            return []
        return [number for number in range(self.count) if not self.folder(number).is_dir()]

    def check_identity(self, identity: Mapping[str, Any]) -> None:
        """Raises UserError, which says in what they differ, unless this lot is that one."""
        given = json.loads(json.dumps(identity))
        keys = [
            key for key in {**self.identity, **given} if self.identity.get(key) != given.get(key)
        ]
        if keys:
            words = ", ".join(dict.fromkeys(WORDS[key] for key in keys))
            raise UserError(
                f"`--output` (={self.output}) holds a lot in shards that differs in: {words}. "
                "Give the command that began it, or choose another folder."
            )

    def check_files(self, number: int, source: FileSource) -> None:
        """Raises UserError if an image of a shard was changed since the lot was planned."""
        if digest(source, self.rows(number), stamped=True) != self.stamps[number]:
            raise UserError(
                f"`--output` (={self.output}): images of shard {number} have another size or time "
                "of change than when the lot was planned; put them back, or choose another folder."
            )


def rows_of_shard(number: int, shards: int, images: int) -> range:
    """Places of the images of a shard: equal shares in the order of the listing."""
    return range(number * images // shards, (number + 1) * images // shards)


def make_plan(
    output: Path, identity: Mapping[str, Any], source: FileSource, *, shards: int
) -> Plan:
    """The plan of this lot in `output`: the one that is there, or a new one.

    Args:
        identity: as `identify` gives it without stamps, with the options.

    Raises:
        UserError: more shards than images, a plan of another lot, a folder that holds something
            else or cannot be written.
    """
    if not 1 <= shards <= len(source):
        raise UserError(
            f"`--shards` (={shards}) must lie from 1 to the number of images (={len(source)})."
        )
    identity = {**identity, "shards": shards}
    if not (output / PLAN).is_file():
        _refuse_other(output)
        _write(output, identity, source, shards)
    plan = read_plan(output)
    plan.check_identity(identity)
    return plan


def read_plan(output: Path) -> Plan:
    """The plan in `output`. Raises UserError where there is none, or it cannot be read."""
    try:
        return Plan(output, (output / PLAN).read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"`--output` (={output}) holds no lot in shards; score it with --shards=N --shard=i."
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{output / PLAN} cannot be read ({error}); restore it.") from error


def _write(output: Path, identity: Mapping[str, Any], source: FileSource, shards: int) -> None:
    """Writes the plan unless another process does so first."""
    beside = output / SHARDS
    stamps = [
        digest(source, rows_of_shard(number, shards, len(source)), stamped=True)
        for number in range(shards)
    ]
    own = json.dumps(sorted(OWN), indent=2) + "\n"
    text = json.dumps({"identity": identity, "stamps": stamps}, indent=2) + "\n"
    for name, content in ((sealed.OWN_OUTPUT, own), (PLAN, text)):
        sealed.create_file(
            output / name, lambda path, content=content: path.write_text(content), beside=beside
        )


def _refuse_other(output: Path) -> None:
    """Refuses a folder in which something bears a name that the lot needs."""
    names = {*NAMES, *OWN, sealed.OWN_OUTPUT} - {LOCK}
    found = sorted(name for name in names if os.path.lexists(output / name))
    # Looked at in this order, for another process may be planning, or was killed while it did.
    planned = set(OWN) <= sealed.own_names(output) or set(found) <= {SHARDS}
    if not planned and not (output / PLAN).is_file():
        raise UserError(
            f"`--output` (={output}) holds {found[0]}, which is no part of a lot in shards; choose "
            "another folder, or remove it."
        )
