"""Commands as a person types them: the one that was given, and others to type next."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from ad_core.errors import UserError

PROJECT = Path(__file__).resolve().parents[2]  # the folder of ad_core, launch and configs
ENTRY = "zfn"
_entered: list[str] = []  # the word behind `zfn`; runpy writes its own into sys.argv
RUNS = "runs"  # where a run on PHOTOS lies, unless --workdir says otherwise


def enter(word: str) -> None:
    """Notes that `zfn WORD` started this program."""
    _entered[:] = [word]


def program(argv: Sequence[str]) -> str:
    """Words that start this program again: "python launch/train.py" or "zfn train"."""
    return f"{ENTRY} {_entered[0]}" if _entered else _python(argv[0])


def script(name: str) -> str:
    """Words that start launch/NAME.py as this program was started."""
    return f"{ENTRY} {name}" if _entered else _python(PROJECT / "launch" / f"{name}.py")


def _python(path: str | os.PathLike[str]) -> str:
    return f"python {shlex.quote(shown(path))}"


def given(argv: Sequence[str]) -> str:
    """The whole command, quoted for a shell."""
    return " ".join([program(argv), *map(shlex.quote, argv[1:])])


def shown(path: str | os.PathLike[str]) -> str:
    """A path as seen from the current folder where it lies below it, else as it is."""
    absolute, here = os.path.abspath(path), os.getcwd()
    inside = os.path.commonpath([absolute, here]) == here
    return os.path.relpath(absolute, here) if inside else os.fspath(path)


def named_photos(argv: Sequence[str]) -> Path | None:
    """Images named first on a command line, without a flag; None where there are none.

    Raises:
        UserError: there is no such file or folder, or nothing at all on the line.
    """
    if len(argv) < 2:
        raise UserError(f"Name a folder of images, or a configuration: {program(argv)} PHOTOS.")
    if argv[1].startswith("-"):
        return None
    if not Path(argv[1]).exists():
        raise UserError(f"{argv[1]}: no such folder or table; give the folder of the images.")
    return Path(argv[1])


def default_workdir(photos: Path) -> Path:
    """Folder of a run on these images."""
    return Path(RUNS) / run_name(photos)


def run_name(photos: Path) -> str:
    """Name of a run on these images: that of their folder or table."""
    resolved = photos.resolve()
    return (resolved.name if resolved.is_dir() else resolved.stem) or "photos"
