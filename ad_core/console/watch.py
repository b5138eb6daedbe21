"""Watched folder: every image that is put there is scored once, when it is whole."""

import hashlib
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

from ad_core.console.answer import Answer
from ad_core.console.chain import ERROR, RECEIVED, SCORED
from ad_core.console.line import INTERRUPTED, Arrival, Line
from ad_core.console.store import StoreError
from ad_core.data.formats.kinds import is_image
from ad_core.data.source import printable
from ad_core.errors import UserError
from ad_core.runtime.sealed import mark_own, own_names
from ad_core.scoring.verdict import INSPECT, NORMAL

FOLDERS = (NORMAL, INSPECT)  # in the watched folder: where its images go, by decision
STABLE_S = 1.0  # a file that has stayed the same for so long is whole
EVERY_S = 0.25
AGAIN_S = 5.0  # until a file that could not be noted or moved is tried again
Identity = tuple[int, int, int]
UNFINISHED = (".partial", ".part", ".tmp", ".crdownload")  # ends of names under which others write


class Seen(NamedTuple):
    """File as it was last seen: what tells that it changed, since when it is so, its next turn."""

    identity: Identity
    since: float
    turn: float = 0.0


def check_folder(folder: Path) -> None:
    """Refuses a folder that cannot be watched, before anything takes long.

    Raises:
        UserError: no such folder, or `normal` or `inspect` in it are not this program's.
    """
    if not folder.is_dir():
        raise UserError(f"`--watch` (={folder}): no such folder; make it, or give another one.")
    for name in FOLDERS:
        if (folder / name).exists() and name not in own_names(folder):
            raise UserError(
                f"`--watch` (={folder}): {name} there is not this program's, and images would "
                "be moved to it; move it away or give another folder."
            )


class Watcher:
    """Thread that hands the images of a folder to a line and moves each to `normal` or `inspect`.

    A file counts once it has not changed for STABLE_S; under a name that begins with a dot or ends
    as UNFINISHED does, never. What is no image stays where it is and is told by name.
    """

    def __init__(
        self,
        folder: Path,
        line: Line,
        *,
        most_bytes: int,
        clock: Callable[[], float] = monotonic,
        tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True),
    ):
        """Looks at nothing before `start`.

        Args:
            most_bytes: of an image; a larger one is inspected. tell: for what a person must know.

        Raises:
            UserError: no such folder, it cannot be written, or `normal` or `inspect` in it are
                not this program's.
        """
        self.folder, self._line, self._most_bytes = folder, line, most_bytes
        self._clock, self._tell = clock, tell
        self._seen: dict[Path, Seen] = {}
        self._told: set[Path] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        check_folder(folder)
        mark_own(folder, FOLDERS)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def stop(self) -> None:
        """Returns when the file of the moment is answered; the others stay."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(EVERY_S):
            try:
                self.look()
            except OSError as error:
                self._once(self.folder, f"--watch: {error}")

    def look(self) -> list[Answer]:
        """One look at the folder: the answers on what is whole by now."""
        found = dict(self._files())
        self._seen = {path: seen for path, seen in self._seen.items() if path in found}
        answers = []
        for path, identity in sorted(found.items()):
            if self._stop.is_set():
                break
            seen = self._seen.get(path)
            if seen is None or seen.identity != identity:
                self._seen[path] = Seen(identity, self._clock())
            elif self._clock() >= max(seen.since + STABLE_S, seen.turn):
                answers += self._answer(path, identity)
        return answers

    def _files(self) -> Iterator[tuple[Path, Identity]]:
        for folder, folders, names in os.walk(self.folder):
            own = FOLDERS if Path(folder) == self.folder else ()
            folders[:] = [name for name in folders if name not in own and name[0] != "."]
            for name in names:
                path = Path(folder) / name
                if name.startswith(".") or name.lower().endswith(UNFINISHED):
                    continue
                if identity := _identity(path):
                    yield path, identity
                elif os.path.lexists(path):
                    self._once(path, f"{printable(str(path))}: is a link or no file; not scored")

    def _answer(self, path: Path, identity: Identity) -> list[Answer]:
        """Scores a file and moves it. It stays, and has its turn again, if that cannot be noted."""
        try:
            if not is_image(path):
                self._once(path, f"{printable(str(path))}: is no image, and stays where it is")
                return self._later(path)
            decision, answer = self._decision(path, identity)
        except (OSError, StoreError) as error:
            self._once(path, f"{printable(str(path))}: {error}")
            return self._later(path)
        if decision and _identity(path) == identity:
            self._move(path, decision)
        else:
            self._later(path)
        return [answer] if answer else []

    def _decision(self, path: Path, identity: Identity) -> tuple[str, Answer | None]:
        """Decision on a file, "" for not yet; the answer is None where it was scored before."""
        name = printable(path.relative_to(self.folder).as_posix())
        file = [name, *identity]
        if identity[1] > self._most_bytes:
            reason = f"the file has more than {self._most_bytes} bytes; see --max_upload_mb"
            arrival = Arrival(name, "watch", "", monotonic())
            return _noted(self._line.refuse("too_large", reason, arrival))
        content = path.read_bytes()
        former = self._former(hashlib.sha256(content).hexdigest(), file)
        if former:
            return former, None
        if not self._line.enter(wait_s=self._line.timeout_s):
            return "", None
        try:
            told: dict[str, Any] = {"entered": True, "more": {"file": file}}
            return _noted(self._line.score(content, name, "watch", **told))
        finally:
            self._line.leave()

    def _former(self, sha: str, file: list[Any]) -> str:
        """Decision on this very file by a process that ended before it was moved; "" if none."""
        events = self._line.store.events((RECEIVED, SCORED, ERROR), sha)
        received = {
            event.seq
            for event in events
            if event.kind == RECEIVED and event.detail.get("file") == file
        }
        answered = [event for event in events if event.detail.get("outcome") != INTERRUPTED]
        return next((each.decision for each in answered if each.about in received), "")

    def _move(self, path: Path, decision: str) -> None:
        """Moves a file to the folder of its decision, under a name that is free there."""
        target = self.folder / decision / path.relative_to(self.folder)
        number = 0
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            while os.path.lexists(target):
                number += 1
                target = target.with_name(f"{path.stem}-{number}{path.suffix}")
            path.rename(target)
        except OSError as error:
            self._once(path, f"{printable(str(path))}: is scored and cannot be moved ({error})")
            self._later(path)

    def _later(self, path: Path) -> list[Answer]:
        seen = self._seen.get(path)
        if seen:
            self._seen[path] = seen._replace(turn=self._clock() + AGAIN_S)
        return []

    def _once(self, path: Path, text: str) -> None:
        if path not in self._told:
            self._told.add(path)
            self._tell(text)


def _identity(path: Path) -> Identity | None:
    """Number, size and time of change of a file; None of a link, what is no file, or gone."""
    try:
        status = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _noted(answer: Answer) -> tuple[str, Answer]:
    return answer.decision if answer.event else "", answer
