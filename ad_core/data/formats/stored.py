"""Content of a file before it is scaled and resized, limits on it, and its refusal."""

import os
import stat
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float, Shaped

from ad_core.errors import UserError

DAMAGED = "it is damaged: copy it again or remove it"
PAGES = "give `--config.data.page=` a number (the first is 0), or `all`"
T = TypeVar("T")


class Stored(NamedTuple):
    """The values of one image, grey or RGB, upright.

    natural: the values that are black and white; None where the file says not.
    inverted: high values are dark (DICOM's MONOCHROME1).
    own: `natural` is what this file says of itself (its window, the bits it stores) and not what
    every file of its type says: another file may show the same values in other greys.
    turned: the EXIF orientation that was applied, 1 for none.
    size: height and width of the file's image, where it was decoded reduced; None: of `values`.
    """

    values: Shaped[np.ndarray, "h w *c"]
    natural: tuple[float, float] | None
    inverted: bool = False
    own: bool = False
    turned: int = 1
    size: tuple[int, int] | None = None


class Encoded(os.PathLike[str]):
    """The content of an image file that lies in a data set; stands wherever a path may."""

    def __init__(self, name: str, content: bytes):
        self._name = name
        self.content = content

    def __fspath__(self) -> str:
        """Name of the file in messages."""
        return self._name


class Limits(NamedTuple):
    """Limits on a file, checked before anything is decoded.

    max_bytes: of the file, and of what a compressed volume unfolds to. max_frames: pages, frames or
    slices of one file.
    """

    max_pixels: int
    max_bytes: int
    min_side: int
    max_frames: int


class Wanted(NamedTuple):
    """Choice of an image in a file: `page` a number or the word of a rule; `axis` of a volume.

    least: height and width that are enough, where a file may be decoded reduced; None: all of it.
    """

    page: int | str
    axis: str
    least: tuple[int, int] | None = None


@runtime_checkable
class FileSet(Protocol):
    """Source of files, which also shows what each file holds."""

    def locate(self, index: int) -> tuple[os.PathLike[str], dict[str, Any]]:
        """The file of an image, and the options of `read_image` that name a page of it."""
        ...

    def stored(self, index: int) -> Stored:
        """The values of the file, neither scaled nor resized. Raises UserError as `read`."""
        ...

    def view(self, index: int, longest: int) -> Float[np.ndarray, "h w c"]:
        """The whole image as the file has it, its longer side at most `longest` pixels."""
        ...

    def fix_range(self, value_range: Sequence[float | int | str]) -> None:
        """Makes `read` and `view` use this `value_range` of `read_image` from now on."""
        ...


def refuse(path: str | os.PathLike[str], problem: str, mend: str) -> NoReturn:
    """Raises the UserError of a file that is not read."""
    raise UserError(f"{os.fspath(path)}: {problem}; {mend}.") from None


def careful(path: str | os.PathLike[str], read: Callable[[], T]) -> T:
    """Result of `read`. A refusal tells only the kind of an error, which may quote a header."""
    try:
        return read()
    except UserError:
        raise
    except Exception as error:
        refuse(path, f"cannot be decoded ({type(error).__name__})", DAMAGED)


def check_size(path: str | os.PathLike[str], width: int, height: int, limits: Limits) -> None:
    """Refuses an image of too many or too few pixels."""
    if width * height > limits.max_pixels:
        problem = f"claims {width} x {height} pixels, more than `data.max_pixels`"
        mend = "reduce the image or raise the limit"
        refuse(path, f"{problem} (={limits.max_pixels})", mend)
    if min(width, height) < limits.min_side:
        problem = f"is {width} x {height} pixels, a side below `data.min_side` (={limits.min_side})"
        refuse(path, problem, "remove it or lower the limit")


def choose_page(
    path: str | os.PathLike[str], wanted: Wanted, count: int, *, limits: Limits, noun: str
) -> int:
    """The page to read of a file that holds `count` of them; the only one needs no rule.

    Args:
        noun: what the format calls them, e.g. "frames".
    """
    if count > limits.max_frames:
        problem = f"holds {count} {noun}, more than `data.max_frames` (={limits.max_frames})"
        refuse(path, problem, "split the file or raise the limit")
    if count == 1 and not isinstance(wanted.page, int):
        return 0
    number = page_number(wanted)
    if number is None:
        refuse(path, f"holds several {noun} ({count})", PAGES)
    if number >= count:
        refuse(path, f"holds {count} {noun} and none of number {number}", PAGES)
    return number


def page_number(wanted: Wanted) -> int | None:
    """The number that the rule names, None if it names none."""
    return int(wanted.page) if str(wanted.page).isdecimal() else None


def read_bytes(path: str | os.PathLike[str], max_bytes: int, *, keep: bool = False) -> bytes:
    """The content of a file; refuses a path that is no file, an empty file and one too large.

    keep: for a volume, which is read slice by slice. The last two are kept, and given again as long
        as time of change and size are the same.
    """
    if isinstance(path, Encoded):
        _check_bytes(path, len(path.content), max_bytes)
        return path.content
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # a named pipe would wait for ever
            if stat.S_ISDIR(status.st_mode):
                refuse(path, "is a folder", "give the paths of the images in it")
            refuse(path, "is not a file", "give the path of an image")
        _check_bytes(path, status.st_size, max_bytes)
        known = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size)
        data = _kept(os.fspath(path), known) if keep else Path(path).read_bytes()
    except OSError as error:
        refuse(path, f"cannot be read ({error.strerror})", "check the path and its permissions")
    _check_bytes(path, len(data), max_bytes)
    return data


@lru_cache(maxsize=2)
def _kept(path: str, known: tuple[int, ...]) -> bytes:
    return Path(path).read_bytes()


def _check_bytes(path: str | os.PathLike[str], count: int, max_bytes: int) -> None:
    if count == 0:
        refuse(path, "is empty (0 bytes)", "copy it again or remove it")
    if count > max_bytes:
        problem = f"has {count} bytes, more than `data.max_bytes` (={max_bytes})"
        refuse(path, problem, "reduce the file or raise the limit")
