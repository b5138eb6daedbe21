"""Store of the service: events in a SQLite file that is only ever added to, and their pictures."""

import csv
import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from io import TextIOBase
from pathlib import Path
from typing import Any

from ad_core.console.archive import Archive
from ad_core.console.chain import (
    COLUMNS,
    ERROR,
    RECEIVED,
    SCORED,
    START,
    Event,
    canonical,
    first_broken,
    seal,
)
from ad_core.console.image_state import FIELDS, ImageState, state_of
from ad_core.console.schema import SCHEMA, VERSION
from ad_core.errors import UserError
from ad_core.runtime.lock import exclusive
from ad_core.scoring.rows import plain


class StoreError(Exception):
    """The store did not do what it was asked: the disk is full or broken, or it is closed."""


FILE = "events.sqlite"
PICTURES = "pictures"
TAIL = 1000  # events that are checked when a store is opened
ORDERS = {
    "worst": "verdict != '', score IS NOT NULL, score DESC, time DESC",
    "newest": "time DESC",
    "oldest": "time",
}
INSERT = f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
UPSERT = (
    f"INSERT OR REPLACE INTO images ({', '.join(FIELDS)}) VALUES ({', '.join('?' * len(FIELDS))})"
)


class Store:
    """Events, the last state of each image, and the pictures, in a folder of one process.

    Every method may be called from any thread. An event is on the disk when `append` returns.

    Attributes:
        archive: pictures and maps by the SHA-256 of the file.
    """

    def __init__(self, path: Path, *, keep_bytes: int | None = None, read_only: bool = False):
        """Opens the store in the folder `path`; made where there is none.

        Args:
            keep_bytes: limit on pictures and maps; None: the disk's own.
            read_only: beside the process that holds the store, to look at it.

        Raises:
            UserError: another process holds it, the folder cannot be written, there is none to
                look at, or its newest events are not what was written.
        """
        self.path, self.file, self.read_only = path, path / FILE, read_only
        self._writing = threading.Lock()
        self._held = None if read_only else exclusive(path, flag="--store")
        if read_only and not self.file.is_file():
            raise UserError(f"`--store` (={path}): no store there ({FILE} is missing).")
        try:
            if self._held:
                self._held.__enter__()
            self._open(keep_bytes)
        except (sqlite3.Error, StoreError, OSError) as error:
            self.close()
            raise UserError(
                f"`--store` (={path}) cannot be opened ({error}); mend its permissions, free disk "
                "space, or choose another folder."
            ) from error
        except UserError:
            self.close()
            raise

    def _open(self, keep_bytes: int | None) -> None:
        self._connection: sqlite3.Connection | None = None
        if not self.read_only:
            self._connection = self._connect()
            script = f"BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;"
            self._connection.executescript(f"PRAGMA journal_mode = WAL; {script}")
        last = self.last()
        broken = self.verify(after=last.seq - TAIL) if last else None
        if broken is not None and not self.read_only:
            raise UserError(
                f"`--store` (={self.path}): event {broken} is not what was written; restore a copy "
                "of the store, or begin a new one and keep this one as evidence."
            )
        self.archive = Archive(self.path / PICTURES, keep_bytes, spared=self.awaiting)

    def close(self) -> None:
        """Lets the store go. Nothing is lost without it."""
        connection = getattr(self, "_connection", None)
        if connection is not None:
            connection.close()
        self._connection = None
        if self._held:
            self._held.__exit__(None, None, None)
        self._held = None

    def __enter__(self) -> "Store":
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes it."""
        self.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.file, timeout=10, check_same_thread=False)
        connection.isolation_level = None
        connection.row_factory = sqlite3.Row
        try:
            connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error:  # the file is no database
            connection.close()
            raise
        return connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that sees one state of the store and changes nothing.

        Raises:
            StoreError: the store cannot be read.
        """
        try:
            with closing(self._connect()) as connection:
                connection.execute("PRAGMA query_only = ON")
                connection.execute("BEGIN")
                yield connection
        except sqlite3.Error as error:
            raise StoreError(f"the store cannot be read ({error})") from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The one connection that writes, in a transaction: all of it is done, or nothing.

        Raises:
            StoreError: the disk refused, or the store is closed or open to look at it only.
        """
        with self._writing:
            connection = self._connection
            if connection is None:
                raise StoreError("the store is closed, or open to look at it only")
            try:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                _roll_back(connection)
                raise StoreError(f"the store refused ({error})") from error
            except BaseException:
                _roll_back(connection)
                raise

    def append(self, event: Event) -> Event:
        """The event as it now stands on the disk, numbered, dated and hashed.

        Raises:
            StoreError: it does not stand there.
        """
        return self.append_all([event])[0]

    def append_all(self, events: Sequence[Event]) -> list[Event]:
        """Several events, of which all stand on the disk or none; as `append`."""
        with self.writing() as connection:
            sealed = _seal_all(connection, events)
            for sha in {one.image_sha for one in sealed if one.image_sha}:
                state = state_of(sha, _select(connection, "image_sha = ? ORDER BY seq", [sha]))
                connection.execute(UPSERT, list(asdict(state).values()))
        return sealed

    def events(
        self,
        kind: str | Sequence[str] | None = None,
        image: str | None = None,
        after: int = 0,
        *,
        user: str | None = None,
        newest: bool = False,
        limit: int | None = None,
    ) -> list[Event]:
        """Events in order, or the newest first.

        Args:
            kind: one or several. image: SHA-256 of its file. after: seq that all come after.
            limit: how many at most.
        """
        where: list[str] = ["seq > ?"]
        values: list[Any] = [after]
        if kind is not None:
            kinds = [kind] if isinstance(kind, str) else list(kind)
            where.append(f"kind IN ({', '.join('?' * len(kinds))})")
            values += kinds
        for column, value in (("image_sha", image), ("user", user)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        order = f" ORDER BY seq{' DESC' if newest else ''} LIMIT ?"
        with self.reading() as connection:
            clause = " AND ".join(where) + order
            return list(_select(connection, clause, [*values, -1 if limit is None else limit]))

    def last(self, kind: str | None = None) -> Event | None:
        """The newest event, of one kind or of any; None where there is none."""
        found = self.events(kind, newest=True, limit=1)
        return found[0] if found else None

    def event(self, seq: int) -> Event | None:
        """The event of a number; None where there is none."""
        found = self.events(after=seq - 1, limit=1)
        return found[0] if found and found[0].seq == seq else None

    def image(self, sha: str) -> ImageState | None:
        """The last state of an image; None of one that never came."""
        found = self.images(sha=sha, limit=1)
        return found[0] if found else None

    def images(
        self,
        *,
        sha: str | None = None,
        decision: str | None = None,
        judged: bool | None = None,
        since: str = "",
        before: str = "",
        order: str = "worst",
        limit: int = 100,
        offset: int = 0,
    ) -> list[ImageState]:
        """Last states of images.

        Args:
            judged: True those with a verdict, False those without. since, before: times, as
                events bear them, of the last event: at `since` or after it, and before `before`.
            order: a key of ORDERS. worst: without a verdict first, without a score before those,
                then by falling score.
        """
        clause, values = _conditions(sha, decision, judged, since, before)
        query = f"SELECT * FROM images WHERE {clause} ORDER BY {ORDERS[order]} LIMIT ? OFFSET ?"
        with self.reading() as connection:
            rows = connection.execute(query, [*values, limit, offset]).fetchall()
        return [ImageState(**row) for row in map(dict, rows)]

    def count_images(
        self,
        *,
        decision: str | None = None,
        judged: bool | None = None,
        since: str = "",
        before: str = "",
    ) -> int:
        """Number of images that `images` would give without a limit."""
        clause, values = _conditions(None, decision, judged, since, before)
        with self.reading() as connection:
            row = connection.execute(f"SELECT count(*) FROM images WHERE {clause}", values)
            return int(row.fetchone()[0])

    def unanswered(self) -> list[Event]:
        """Every `received` without an end: what is under way, or what a kill cut off."""
        query = "image_sha IN (SELECT sha FROM images WHERE status = 'waiting') ORDER BY seq"
        with self.reading() as connection:
            events = list(_select(connection, query, []))
        ended = {event.about for event in events if event.kind in (SCORED, ERROR)}
        return [each for each in events if each.kind == RECEIVED and each.seq not in ended]

    def awaiting(self) -> set[str]:
        """Images that a person has still to look at."""
        query = "SELECT sha FROM images WHERE verdict = '' AND (audited OR decision = 'inspect')"
        with self.reading() as connection:
            return {row["sha"] for row in connection.execute(query)}

    def verify(self, *, after: int = 0) -> int | None:
        """Number of the first event that is missing or not what was written; None: all are whole.

        What was cut off at the end leaves a whole chain: compare number and hash of the last
        event with those that were noted elsewhere.

        Args:
            after: seq of an event that is taken for whole.
        """
        after = max(0, after)
        with self.reading() as connection:
            before = next(_select(connection, "seq = ?", [after]), None)
            if after and before is None:
                return after
            head = before.hash if before else START
            rows = _select(connection, "seq > ? ORDER BY seq", [after])
            return first_broken(rows, seq=after + 1, prev_hash=head)

    def stale_image(self) -> str | None:
        """The first image whose state is not what its events come to; None: all are right."""
        with self.reading() as connection:
            for row in connection.execute("SELECT * FROM images ORDER BY sha").fetchall():
                found = _select(connection, "image_sha = ? ORDER BY seq", [row["sha"]])
                if ImageState(**dict(row)) != state_of(row["sha"], found):
                    return row["sha"]
        return None

    def export(self, file: TextIOBase) -> int:
        """Writes every event as CSV, and returns their number.

        A cell that a spreadsheet would take for a formula has an apostrophe before it.
        """
        writer, count = csv.writer(file), 0
        writer.writerow(COLUMNS)
        with self.reading() as connection:
            for event in _select(connection, "1 ORDER BY seq", []):
                writer.writerow([plain(cell) for cell in _to_row(event)])
                count += 1
        return count


def _seal_all(connection: sqlite3.Connection, events: Sequence[Event]) -> list[Event]:
    last, sealed = next(_select(connection, "1 ORDER BY seq DESC LIMIT 1", []), None), []
    for event in events:
        seq, head = (last.seq, last.hash) if last else (0, START)
        last = seal(event, seq=seq + 1, prev_hash=head)
        connection.execute(INSERT, _to_row(last))
        sealed.append(last)
    return sealed


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def _conditions(
    sha: str | None, decision: str | None, judged: bool | None, since: str, before: str
) -> tuple[str, list[Any]]:
    where, values = ["1"], []
    told = (("sha = ?", sha), ("decision = ?", decision), ("time >= ?", since or None))
    for clause, value in (*told, ("time < ?", before or None)):
        if value is not None:
            where.append(clause)
            values.append(value)
    if judged is not None:
        where.append(f"verdict {'!=' if judged else '='} ''")
    return " AND ".join(where), values


def _select(connection: sqlite3.Connection, clause: str, values: Sequence[Any]) -> Iterator[Event]:
    query = f"SELECT {', '.join(COLUMNS)} FROM events WHERE {clause}"
    for row in connection.execute(query, values):
        fields: dict[str, Any] = dict(row)
        fields["detail"] = _read_detail(fields["detail"])
        yield Event(**fields)


def _read_detail(text: str) -> dict[str, Any]:
    """Detail of a row; one that somebody has spoilt stays visible, and breaks the chain."""
    try:
        found = json.loads(text)
    except ValueError:
        return {"spoilt": text}
    return found if isinstance(found, dict) else {"spoilt": text}


def _to_row(event: Event) -> list[Any]:
    fields = asdict(event) | {"detail": canonical(event.detail)}
    return [fields[name] for name in COLUMNS]
