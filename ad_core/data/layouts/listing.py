"""Files below a folder, and the rule which of them may be read."""

import itertools
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from ad_core.data.formats.image import EXTENSIONS
from ad_core.data.formats.kinds import (
    NAMES,
    is_image,
    is_image_content,
    is_named_image,
    read_head,
)
from ad_core.data.source import means_normal
from ad_core.errors import UserError
from ad_core.runtime.sealed import own_names

# Folders that divide a set, by their names in lower case, and the `folder` of their records.
DIVISIONS = {
    "train": "train", "val": "train", "valid": "train", "validation": "train", "test": "test"
}  # fmt: skip
GROUPS = "groups.csv"
_SUGGESTED = ("no", "free")  # normal in some sets, and "not ok" in others: suggested, never taken


class Listing(NamedTuple):
    """Content of a root; every path is relative to it.

    images: path -> (folder, class) as they lie on disk; folder "" where nothing divides the set.
    masks: path of an image -> paths of its masks, which count together.
    ignored: all else, folders with a slash at their end. loose: the masks among them.
    """

    images: Mapping[str, tuple[str, str]]
    masks: Mapping[str, tuple[str, ...]]
    ignored: tuple[str, ...]
    loose: tuple[str, ...] = ()


def existing_folder(root: str | os.PathLike[str]) -> Path:
    """The real path of `data.root`. Raises UserError if it is no folder, or this program's own."""
    if not os.fspath(root):
        raise UserError("`data.root` is not set; give a folder: `--config.data.root=FOLDER`.")
    if not os.path.isdir(root):
        kind = "is not a folder" if os.path.exists(root) else "no such folder"
        mend = "check the path, or give another one: `--config.data.root=FOLDER`"
        raise UserError(f"`data.root` (={os.fspath(root)}): {kind}; {mend}.")
    real = Path(os.path.realpath(root))
    refuse_own(real)
    return real


def refuse_own(path: Path) -> None:
    """Refuses to read as images a folder or file, its links followed, that this program wrote.

    Raises:
        UserError: naming it, and the folder that is marked.
    """
    folder = own_folder(path)
    if folder is not None:
        raise UserError(
            f"{path}: was written by this program (below {folder}), so it is no input; give the "
            "folder of the images."
        )


def own_folder(path: str | os.PathLike[str]) -> Path | None:
    """The folder that a command of this program wrote a path to; None if none did."""
    real = Path(os.path.realpath(path))
    inside = (real, *real.parents)
    marked = (a for a, b in zip(real.parents, inside, strict=False) if b.name in own_names(a))
    return next(marked, None)


def is_inside(path: str | os.PathLike[str], root: Path) -> bool:
    """Tells whether a path, its links followed, lies in the real path `root`."""
    return Path(os.path.realpath(path)).is_relative_to(root)


def split_name(path: str) -> tuple[str, str]:
    """A file's name without its extension, and that; "a.nii.gz" is a and .nii.gz.

    What follows the last dot is an extension if a letter is in it: "1.2.840" has none.
    """
    name = path.rpartition("/")[2]
    end = max((len(kind) for kind in NAMES if name.lower().endswith(kind)), default=0)
    if not end:
        kind = os.path.splitext(name)[1]
        end = len(kind) if any(map(str.isalpha, kind)) else 0
    return name[: len(name) - end], name[len(name) - end :]


def likely_normal(names: Collection[str]) -> str:
    """The class to suggest as normal in a command: one called normal or the like, else NAME."""
    likely = (n for n in sorted(names) if means_normal(n) or n.casefold() in _SUGGESTED)
    return next(likely, "NAME")


def scan(folder: Path) -> list[os.DirEntry[str]]:
    """Entries of a folder, sorted by name. Raises UserError if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        _refuse_listing(error)
        raise


def walk(
    root: Path, *, depth: int, top: Collection[str] | None = None
) -> tuple[list[str], list[str]]:
    """(images that lie exactly `depth` folders deep, all else but groups.csv).

    Images are what `find_images` finds, but for hidden files that only a name makes one. All else
    is links that lead out, files of other kinds or elsewhere, and folders hidden, deeper or not
    among `top`, which are not entered. What this program wrote is neither.

    Args:
        top: names of the folders to enter in the root itself; None: all.
    """
    images: list[str] = []
    others: list[str] = []
    pending = [""]
    for level in range(depth + 1):
        below: list[str] = []
        for prefix in pending:
            written = own_names(root / prefix)
            for entry in scan(root / prefix):
                path, hidden = prefix + entry.name, entry.name.startswith(".")
                folder = os.path.isdir(root / path)
                known = level > 0 or top is None or entry.name in top
                if entry.name in written or path == GROUPS:
                    continue
                if not is_inside(root / path, root):
                    others.append(path + "/" * folder)
                elif known and level < depth and folder and not hidden:
                    below.append(path + "/")
                elif level == depth and not folder and _is_to_learn(root / path, hidden):
                    images.append(path)
                else:
                    others.append(path + "/" * folder)
        pending = below
    return images, others


class Found(NamedTuple):
    """Files below a folder; every path is relative to it, and all are sorted.

    images: to be judged, readable or not. left_out: all other files, and links to what is no file.
    own: files and folders (with a slash at their end) that this program wrote.
    """

    images: tuple[str, ...]
    left_out: tuple[str, ...]
    own: tuple[str, ...]


def find_images(root: str | os.PathLike[str]) -> Found:
    """Every file below `root`, by what it is: see `ad_core.data.formats.kinds.is_image`.

    A link to a file that is named as an image is one, and is refused when read if it leads out of
    the root; another one is left out. A link to a folder inside the root is not followed: its
    images are listed where they lie.

    Raises:
        UserError: there is no such folder or no image in it, it was written by this program,
            a folder cannot be listed, or a link to a folder leads out of the root, so that
            images would go without a score.
    """
    top = existing_folder(root)
    pending, parts = [""], []
    while pending:
        below, found = _gather(top, pending.pop())
        pending += below
        parts.append(found)
    images, left_out, own = (
        tuple(sorted(itertools.chain(*names))) for names in zip(*parts, strict=True)
    )
    if not images:
        kinds = ", ".join(EXTENSIONS)
        raise UserError(f"{root}: holds no image ({kinds}) among {len(left_out)} files.")
    return Found(images, left_out, own)


def _is_to_learn(path: Path, hidden: bool) -> bool:
    if not os.path.isfile(path):
        return False
    return is_image_content(read_head(path) or b"") if hidden else is_image(path)


def list_images(root: str | os.PathLike[str]) -> list[str]:
    """The images of `find_images`; errors as there."""
    return list(find_images(root).images)


def _gather(top: Path, prefix: str) -> tuple[list[str], Found]:
    """What lies in a folder: the folders below it, and all else by what it is."""
    below: list[str] = []
    images, left_out, own = [], [], []
    written = own_names(top / prefix)
    for entry in scan(top / prefix):
        path, link = prefix + entry.name, entry.is_symlink()
        folder = os.path.isdir(top / path)
        if entry.name in written or (link and own_folder(top / path)):
            own.append(path + "/" * folder)
        elif folder and not link:
            below.append(path + "/")
        elif folder and not is_inside(top / path, top):
            link = top / path
            raise UserError(f"{link}: is a link that leads out of {top}; score it by itself.")
        elif not folder:
            (images if _is_to_judge(top, path) else left_out).append(path)
    return below, Found(tuple(images), tuple(left_out), tuple(own))


def _is_to_judge(top: Path, path: str) -> bool:
    """What leads out of the root is not opened: its name alone tells."""
    if is_inside(top / path, top):
        return is_image(top / path)
    return is_named_image(path)


def _refuse_listing(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be listed ({error.strerror}); check it.") from error
