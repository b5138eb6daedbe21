"""The output folder of a lot: what is decided stays, and nothing unfinished looks finished.

    lot.json      while the lot is not finished: detector, images and options that it belongs to
    parts/        rows so far, sealed a part at a time; an engine may write them in any order. Some
                  rows, drawn by chance, keep their statistics for the look at the whole lot
    maps/         a map an image
    scores.*      all rows, merged from the parts at the end, or at a stop those so far
    summary.json  last; `finished` says whether every image has its row

The same lot goes on with the images that no part holds. Any other one begins with a folder in which
nothing is left of the lot before.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ad_core.data.layouts.files import FileSource
from ad_core.data.source import printable
from ad_core.errors import UserError
from ad_core.runtime import sealed
from ad_core.runtime.lock import NAME as LOCK
from ad_core.runtime.lock import exclusive
from ad_core.scoring.drift import drawn_places
from ad_core.scoring.rows import (
    SCHEMA,
    count_rows,
    join_parts,
    list_parts,
    merge_parts,
    read_index,
    read_mapped,
    read_statistics,
    write_part,
)

FORMAT = 2  # of lot.json and the parts
JOURNAL, SUMMARY, PARTS, MAPS = "lot.json", "summary.json", "parts", "maps"
TABLES = ("scores.parquet", "scores.csv")
PLAN = "plan.json"  # of a lot in shards (`scoring.plan`)
# In the order in which a lot is removed: at no moment does a rest look like a whole one.
NAMES = (SUMMARY, *TABLES, JOURNAL, PARTS, MAPS)


class Lot:
    """A lot that has begun. Made by `open_lot`.

    Attributes:
        output: its folder. count: how many images it has. within: places of those that are scored
            here. before: how many of them had a row when this process took it up. drawn: places
            whose rows keep their statistics.
    """

    def __init__(
        self,
        output: Path,
        count: int,
        *,
        within: range | None = None,
        parts: Sequence[Path] | None = None,
    ):
        """Takes up the rows of `parts`, in their order; None: those that lie in its folder."""
        self.output, self.count = output, count
        self.within = range(count) if within is None else within
        self.drawn = frozenset(drawn_places(count).tolist())
        self._done = np.zeros(count, bool)
        found = list_parts(output / PARTS) if parts is None else parts
        self._parts = [part for part in found if self._take(part)]
        self.before = self.done

    @property
    def done(self) -> int:
        """Number of images that have a row."""
        return int(self._done.sum())

    @property
    def remaining(self) -> Int[np.ndarray, " n"]:
        """Places of the images to score here that have no row yet."""
        places = np.asarray(self.within)
        return places[~self._done[places]]

    def seal(self, index: Sequence[int], rows: Sequence[dict[str, Any]]) -> None:
        """Puts rows on the disk: from now on they are decided, whatever happens.

        Raises:
            UserError: they cannot be written, or the folder has gone.
        """
        if not (self.output / JOURNAL).is_file():
            raise UserError(
                f"`--output` (={self.output}) was removed while the lot ran, and the rows of "
                f"{self.done} images with it; give the same command again."
            )
        for run in _runs(index):
            part = [rows[place] for place in run]
            with self._told():
                write_part(self.output / PARTS, [index[place] for place in run], part)
        self._done[list(index)] = True
        self._parts = list_parts(self.output / PARTS)

    def count_rows(self, *, clipped: float) -> tuple[Counter[str], dict[str, float | int]]:
        """Counts of the rows so far, as `rows.count_rows`. Raises UserError if they are gone."""
        with self._told():
            return count_rows(self._parts, clipped=clipped)

    def statistics(self) -> tuple[list[int], Float[np.ndarray, "n k"]]:
        """Places and statistics of the drawn rows so far. Raises UserError if they are gone."""
        with self._told():
            return read_statistics(self._parts)

    def mapped(self) -> Iterator[int]:
        """Yields places of the images that have a map, where maps are written."""
        with self._told():
            yield from read_mapped(self._parts)

    def join(self, path: Path) -> None:
        """Seals the rows so far as one part at `path`, in place of theirs; errors as `seal`."""
        with self._told():
            join_parts(self._parts, path)
            _remove(self.output, (PARTS,))
        self._parts = [path]

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Writes the tables of all rows so far, then summary.json; a lot that is whole ends here.

        Raises:
            UserError: they cannot be written; the parts stay.
        """
        whole = self.done == self.count
        with self._told():
            merge_parts(self._parts, self.output)
            sealed.write_json(self.output / SUMMARY, {"finished": whole, **summary})
            if whole:
                _remove(self.output, (JOURNAL, PARTS))

    def _take(self, part: Path) -> bool:
        """Marks the rows of a part as done; False if it is none of this listing."""
        index = read_index(part)
        if not index or index[0] < 0 or index[-1] >= self.count or self._done[index].any():
            return False
        self._done[index] = True
        return True

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (UserError, OSError) as error:
            kept = f"The rows of {self.done} of {self.count} images are kept, and the"
            if len(self.within) < self.count:
                kept = "The shard is left as if it had not begun, and the"
            raise UserError(
                f"`--output` (={self.output}): {error} {kept} same command goes on."
            ) from error


@contextmanager
def open_lot(output: Path, identity: Mapping[str, Any], *, count: int) -> Iterator[Lot]:
    """The lot of this identity in `output`, alone in this process: gone on with, or begun.

    Args:
        identity: as `identify` gives it; of another one, what `output` holds is removed first.
        count: how many images it has.

    Raises:
        UserError: the folder cannot be written, is in use, or holds what this program did not
            write under a name that it needs.
    """
    with ExitStack() as held:
        try:
            output.mkdir(parents=True, exist_ok=True)
            _refuse_foreign(output)
            held.enter_context(exclusive(output, flag="--output"))
            _begin(output, json.loads(json.dumps(identity)))
        except OSError as error:
            raise UserError(
                f"`--output` (={output}) cannot be written ({error.strerror or error}); free disk "
                "space, mend its permissions or choose another folder."
            ) from error
        yield Lot(output, count)


def identify(
    detector: Path, source: FileSource, *, stamped: bool = True, **options: Any
) -> dict[str, Any]:
    """Identity of a lot: the detector's files, the images with size and time, the options.

    Args:
        stamped: False leaves out size and time, for which each file must be looked at.
    """
    manifest = sealed.find_folder(detector) / sealed.MANIFEST
    return {
        "format": FORMAT,
        "detector": hashlib.sha256(manifest.read_bytes()).hexdigest(),
        "images": len(source),
        "listing": digest(source, range(len(source)), stamped=stamped),
        "columns": SCHEMA.names,
        **options,
    }


def digest(source: FileSource, places: range, *, stamped: bool) -> str:
    """SHA-256 of the names of images, `stamped` with their files' size and time of change."""
    listing = hashlib.sha256()
    for place in places:
        stamp = _stamp(source, place) if stamped else ""
        listing.update(f"{printable(source.paths[place])}\0{stamp}\n".encode())
    return listing.hexdigest()


def _stamp(source: FileSource, index: int) -> str:
    """Size and time of change of the file of an image; "" where it has no file or none is there."""
    try:
        status = os.stat(source.locate(index)[0])
    except (OSError, UserError):
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


def _begin(output: Path, identity: Mapping[str, Any]) -> None:
    sealed.mark_own(output, (*NAMES, LOCK))
    if _read_journal(output) == identity:
        _remove(output, (SUMMARY, *TABLES))
        return
    _remove(output, NAMES)
    sealed.write_json(output / JOURNAL, identity)


def _read_journal(output: Path) -> Any:
    try:
        return json.loads((output / JOURNAL).read_bytes())
    except (OSError, ValueError):
        return None


def _refuse_foreign(output: Path) -> None:
    """Refuses a folder in which another's files bear the names that a lot needs."""
    own = sealed.own_names(output)
    if os.path.lexists(output / PLAN):
        raise UserError(
            f"`--output` (={output}) holds a lot that is scored in shards; choose another folder, "
            "or give its --shards and --shard, or --merge."
        )
    for name in NAMES:
        path = output / name
        if not os.path.lexists(path):
            continue
        right = path.is_dir() if name in (PARTS, MAPS) else path.is_file()
        ours = name in own or name in (SUMMARY, *TABLES) or _is_older_lot(output)
        if path.is_symlink() or not right or not ours:
            raise UserError(
                f"`--output` (={output}): {name} there is not this program's and would be "
                "replaced; move it away or choose another folder."
            )


def _is_older_lot(output: Path) -> bool:
    """Tells whether a version that left no mark wrote the scores here."""
    try:
        with (output / "scores.csv").open(encoding="utf-8") as file:
            return file.readline().startswith("path,status,error,score,decision,")
    except (OSError, UnicodeDecodeError):
        return False


def _remove(output: Path, names: Sequence[str]) -> None:
    for name in names:
        sealed.remove(output / name)


def _runs(index: Sequence[int]) -> Iterator[list[int]]:
    """Yields places of `index` whose values follow one another: a part has no gap."""
    run: list[int] = []
    for place, value in enumerate(index):
        if run and value != index[run[-1]] + 1:
            yield run
            run = []
        run.append(place)
    if run:
        yield run
