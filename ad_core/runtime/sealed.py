"""Files and folders that are whole or not there: the one way to put a result on disk.

A result is written under a partial name, brought to the disk, and renamed; a folder gets the
SHA-256 of its files first. A kill at any moment leaves what was there before, or the new result.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ad_core.errors import UserError

MANIFEST = "MANIFEST.json"
PARTIAL = ".partial"  # ends the name of what is not whole; anyone may remove it
OLD = ".old"  # ends the name of a folder while another takes its place
# Lists, in a folder, the names there that this program wrote: none of them is ever input.
OWN_OUTPUT = ".zfn-output"


class Damaged(Exception):
    """A file of a sealed folder is not what was written.

    Attributes:
        file: its name, relative to the folder.
        fault: what is wrong with it, such as "is missing".
    """

    def __init__(self, file: str, fault: str):
        super().__init__(f"its file {file!r} {fault}")
        self.file, self.fault = file, fault


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8; errors as `write_file`."""
    write_file(path, lambda partial: partial.write_text(text, "utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Writes strict JSON; errors as `write_file`.

    Raises:
        ValueError: NaN or an infinity; nothing was written.
    """
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Puts in place, in one move, the file that `write` makes at the path it is given.

    Raises:
        UserError: the disk is full, or the place cannot be written.
    """
    with _partial_of(path) as partial:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)


def write_folder(path: Path, write: Callable[[Path], object]) -> None:
    """Puts in place the folder that `write` fills, with a manifest of its files' SHA-256.

    What stood there is replaced. A folder in it that has a manifest of its own vouches for its
    files.

    Args:
        write: is given an empty folder.

    Raises:
        UserError: the disk is full, or the place cannot be written.
    """
    with _partial_of(path) as partial:
        _remove(partial)
        partial.mkdir(parents=True)
        write(partial)
        _seal(partial)
        replace(partial, path)


def create_file(path: Path, write: Callable[[Path], object], *, beside: Path) -> bool:
    """Puts in place the file that `write` makes, unless one is there; tells whether it did.

    Several processes on several machines may try at once: the first whose file is whole wins, and
    what the others made is dropped.

    Args:
        beside: a folder on the same disk for what is not whole; made if it does not exist.

    Raises:
        UserError: the disk is full, or the place cannot be written or has no hard links.
    """
    with _partial_of(beside / path.name, by=uuid.uuid4().hex) as partial:
        beside.mkdir(parents=True, exist_ok=True)
        write(partial)
        _sync(partial)
        try:
            os.link(partial, path)
        except FileExistsError:
            return False
        finally:
            _remove(partial)
        _sync(path.parent)
    return True


def create_folder(path: Path, write: Callable[[Path], object]) -> bool:
    """Puts in place the folder that `write` fills, unless one is there; tells whether it did.

    Several processes on several machines may try at once: the first whose folder is whole wins, and
    what the others made is dropped.

    Args:
        write: as for `write_folder`; it must put something into the folder.

    Raises:
        UserError: the disk is full, or the place cannot be written.
    """
    if path.exists():
        return False
    with _partial_of(path, by=uuid.uuid4().hex) as partial:
        partial.mkdir(parents=True)
        write(partial)
        _seal(partial)
        try:
            partial.rename(path)  # no folder takes the place of one that holds something
        except OSError:
            if not path.is_dir():
                raise
            _remove(partial)
            return False
        _sync(path.parent)
    return True


def _seal(partial: Path) -> None:
    """Writes the manifest of a folder, and brings all of it to the disk."""
    (partial / MANIFEST).write_text(json.dumps(_digests(partial), indent=2) + "\n", "utf-8")
    for inside in partial.rglob("*"):
        _sync(inside)
    _sync(partial)


def mark_own(folder: Path, names: Iterable[str]) -> None:
    """Writes down that these names in `folder` are this program's; earlier ones stay so.

    Done before anything of that name is written, so that a kill leaves nothing unmarked.

    Raises:
        UserError: as `write_file`.
    """
    known = _marked(folder)
    if not known.issuperset(names):
        write_json(folder / OWN_OUTPUT, sorted(known.union(names)))


def own_names(folder: Path) -> frozenset[str]:
    """Names of files and folders in `folder` that this program wrote, whole or partial.

    Empty where nothing is marked, or the list of them cannot be read.
    """
    marked = _marked(folder)
    if not marked:
        return marked
    unfinished = {f"{name}{end}" for name in (*marked, OWN_OUTPUT) for end in (PARTIAL, OLD)}
    return marked | unfinished | {OWN_OUTPUT}


def _marked(folder: Path) -> frozenset[str]:
    try:
        listed = json.loads((folder / OWN_OUTPUT).read_bytes())
    except (OSError, ValueError):
        return frozenset()
    return frozenset(map(str, listed)) if isinstance(listed, list) else frozenset()


def replace(new: Path, path: Path) -> None:
    """Gives the folder `new` the name `path`; what had it before is removed.

    Folders have no such move in one piece: between two moves the former one lies at `path`.old,
    where `find_folder` finds it.
    """
    old = path.with_name(path.name + OLD)
    if path.exists():
        _remove(old)
        path.rename(old)
    new.rename(path)
    _sync(path.parent)
    _remove(old)


def remove_folder(path: Path) -> None:
    """Removes a folder that is never half there under its own name."""
    partial = path.with_name(path.name + PARTIAL)
    _remove(partial)
    path.rename(partial)
    _remove(partial)


def remove(path: Path) -> None:
    """Removes a file or a folder if it is there, and what a kill may have left of it."""
    _remove(path.with_name(path.name + PARTIAL))
    if path.is_dir():
        remove_folder(path)
    else:
        path.unlink(missing_ok=True)


def find_folder(path: Path) -> Path:
    """The place of the folder last written to `path`: elsewhere if a kill came between two moves.

    It is `path` also where there is none.
    """
    old = path.with_name(path.name + OLD)
    return old if old.is_dir() and not path.exists() else path


def verify_folder(path: Path, *, needed: Collection[str] | None = None) -> None:
    """Compares every file that the manifest lists with its SHA-256.

    Args:
        needed: files that it must list; others may lie beside them. None: it must list all.

    Raises:
        Damaged: a file is missing, or not the one that was written.
    """
    listed = _read_manifest(path)
    try:
        found = _digests(path)
    except OSError as error:
        raise Damaged(str(error.filename), f"cannot be read ({error.strerror})") from error
    for name in sorted({*listed, *(found if needed is None else needed)}):
        if name not in listed and name in found:
            raise Damaged(name, f"is not in {MANIFEST}")
        if name not in found:
            raise Damaged(name, "is missing")
        if listed[name] != found[name]:
            raise Damaged(name, "was changed or damaged")


def verify_files(path: Path, names: Collection[str]) -> None:
    """Compares some files of a folder with the SHA-256 that its manifest lists; reads no other.

    Raises:
        Damaged: one of them is missing, or not the one that was written.
    """
    listed = _read_manifest(path)
    for name in names:
        if name not in listed:
            raise Damaged(name, f"is not in {MANIFEST}")
        try:
            found = _sha256(path / name)
        except FileNotFoundError as error:
            raise Damaged(name, "is missing") from error
        except OSError as error:
            raise Damaged(name, f"cannot be read ({error.strerror})") from error
        if found != listed[name]:
            raise Damaged(name, "was changed or damaged")


def _read_manifest(path: Path) -> dict[str, str]:
    try:
        listed = json.loads((path / MANIFEST).read_bytes())
    except FileNotFoundError as error:
        raise Damaged(MANIFEST, "is missing") from error
    except (OSError, ValueError) as error:
        raise Damaged(MANIFEST, f"is damaged ({error})") from error
    if not isinstance(listed, dict):
        raise Damaged(MANIFEST, "is damaged (no table of files)")
    return listed


def _digests(path: Path) -> dict[str, str]:
    """SHA-256 of the files of a folder but its manifest, by relative name."""
    return {
        file.relative_to(path).as_posix(): _sha256(file)
        for file in sorted(_files(path))
        if file != path / MANIFEST
    }


def _files(path: Path) -> Iterator[Path]:
    """All files below a folder; of one with a manifest of its own, the manifest alone."""
    for inside in path.iterdir():
        if not inside.is_dir():
            yield inside
        elif (inside / MANIFEST).is_file():
            yield inside / MANIFEST
        else:
            yield from _files(inside)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _partial_of(path: Path, *, by: str = "") -> Iterator[Path]:
    """The name under which `path` is written; whatever fails leaves nothing there.

    Args:
        by: who writes it, where several may at once.
    """
    partial = path.with_name(f"{path.name}.{by}{PARTIAL}" if by else path.name + PARTIAL)
    try:
        yield partial
    except BaseException as error:
        with suppress(OSError):
            _remove(partial)
        if not isinstance(error, OSError):
            raise
        raise UserError(
            f"{path} could not be written ({error.strerror or error}); "
            "free disk space or mend its permissions, and start again."
        ) from error


def _sync(path: Path) -> None:
    """Returns when a file or the names in a folder are on the disk, not in memory alone."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    """Removes a file or a folder, if there is one."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
