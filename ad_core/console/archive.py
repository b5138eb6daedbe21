"""Pictures and maps of a store, by the SHA-256 of the file, within a limit on the disk."""

import hashlib
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from pathlib import Path

from ad_core.runtime.sealed import PARTIAL, write_file

SHA = re.compile(r"[0-9a-f]{64}")
SLACK = 0.05  # of the limit, freed at once: to choose who goes looks at all
MAP = ".map.png"  # ends the name of a raw map


class Archive:
    """Folder of the files that were scored, unchanged, and of their raw maps.

    No name that a client gives becomes part of a path: a file is called by its own hash. Above the
    limit the oldest go, first those that no person has still to look at. What an event says of
    them stays.
    """

    def __init__(
        self, root: Path, limit: int | None, *, spared: Callable[[], Collection[str]] = tuple
    ):
        """Opens the folder, made by the first file.

        Args:
            limit: bytes of all files; None: no limit. spared: gives the SHA-256 of those whose
                files are the last to go.
        """
        self.root, self.limit, self._spared = root, limit, spared
        self._lock = threading.Lock()
        # The same image may come twice at once, and has one partial name.
        self._writing = [threading.Lock() for _ in range(16)]
        self._sizes: OrderedDict[str, int] = OrderedDict()  # by SHA-256, the oldest first
        self.used = 0  # bytes of all files
        found = root.glob("[0-9a-f][0-9a-f]/*") if root.is_dir() else ()
        for path in sorted(found, key=lambda path: path.stat().st_mtime_ns):
            if path.name.endswith(PARTIAL):  # what a kill has left
                path.unlink()
            else:
                self._count(path.name[:64], path.stat().st_size)

    def keep(self, content: bytes) -> str:
        """Puts a picture on the disk; returns its SHA-256.

        Raises:
            UserError: the disk is full, or the folder cannot be written.
        """
        sha = hashlib.sha256(content).hexdigest()
        path = self._path(sha)
        with self._of(sha):
            if path.is_file():
                return sha
            write_file(path, lambda partial: partial.write_bytes(content))
        self._grow(sha, len(content))
        return sha

    def keep_map(self, sha: str, content: bytes) -> None:
        """Puts the raw map of a picture on the disk, in place of an earlier one; as `keep`."""
        path = self._path(sha, MAP)
        with self._of(sha):
            former = path.stat().st_size if path.is_file() else 0
            write_file(path, lambda partial: partial.write_bytes(content))
        self._grow(sha, len(content) - former)

    def picture(self, sha: str) -> Path | None:
        """The file of a picture; None where it is not kept, or `sha` is no SHA-256."""
        return self._find(sha, "")

    def map(self, sha: str) -> Path | None:
        """The file of a raw map; None as `picture`."""
        return self._find(sha, MAP)

    def _of(self, sha: str) -> threading.Lock:
        return self._writing[int(sha[0], 16)]

    def _find(self, sha: str, end: str) -> Path | None:
        if not SHA.fullmatch(sha):
            return None
        path = self._path(sha, end)
        return path if path.is_file() else None

    def _path(self, sha: str, end: str = "") -> Path:
        return self.root / sha[:2] / f"{sha}{end}"

    def _count(self, sha: str, size: int) -> None:
        self._sizes[sha] = self._sizes.get(sha, 0) + size
        self.used += size

    def _grow(self, sha: str, size: int) -> None:
        with self._lock:
            self._count(sha, size)
            if self.limit is not None and self.used > self.limit:
                self._shrink(self.limit * (1 - SLACK), without=sha)

    def _shrink(self, goal: float, *, without: str) -> None:
        """Drops the oldest until `goal` is reached; `without` stays."""
        spared = frozenset(self._spared())
        old = [name for name in self._sizes if name != without]
        for name in sorted(old, key=spared.__contains__):  # keeps the order of age in each half
            if self.used <= goal:
                return
            for end in ("", MAP):
                self._path(name, end).unlink(missing_ok=True)
            self.used -= self._sizes.pop(name)
