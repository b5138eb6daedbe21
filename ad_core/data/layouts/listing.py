"""Files below a folder, and the rule which of them may be read."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

from ad_core.data.formats.dicom import PREAMBLE, is_dicom
from ad_core.data.formats.image import EXTENSIONS
from ad_core.errors import UserError

# Folders that divide a set, by their names in lower case, and the `folder` of their records.
DIVISIONS = {
    "train": "train", "val": "train", "valid": "train", "validation": "train", "test": "test"
}  # fmt: skip
GROUPS = "groups.csv"
_NORMAL = ("normal", "good", "no", "ok", "healthy", "free")


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
    """The real path of `data.root`. Raises UserError if it is no folder."""
    if not os.fspath(root):
        raise UserError("`data.root` is not set; give a folder: `--config.data.root=FOLDER`.")
    if not os.path.isdir(root):
        kind = "is not a folder" if os.path.exists(root) else "no such folder"
        mend = "check the path, or give another one: `--config.data.root=FOLDER`"
        raise UserError(f"`data.root` (={os.fspath(root)}): {kind}; {mend}.")
    return Path(os.path.realpath(root))


def is_inside(path: str | os.PathLike[str], root: Path) -> bool:
    """Tells whether a path, its links followed, lies in the real path `root`."""
    return Path(os.path.realpath(path)).is_relative_to(root)


def is_image(path: str) -> bool:
    """Tells whether a file's name ends as an image's does."""
    return path.lower().endswith(EXTENSIONS)


def split_name(path: str) -> tuple[str, str]:
    """A file's name without its extension, and that; "a.nii.gz" is a and .nii.gz."""
    name = path.rpartition("/")[2]
    end = max((len(kind) for kind in EXTENSIONS if name.lower().endswith(kind)), default=0)
    return name[: len(name) - end], name[len(name) - end :]


def likely_normal(names: Collection[str]) -> str:
    """The class to suggest as normal in a command: one called normal or the like, else NAME."""
    return next((name for name in sorted(names) if name.lower() in _NORMAL), "NAME")


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

    All else is hidden files, links that lead out, files of other kinds or elsewhere, and folders
    deeper or not among `top`, which are not entered.

    Args:
        top: names of the folders to enter in the root itself; None: all.
    """
    images: list[str] = []
    others: list[str] = []
    pending = [""]
    for level in range(depth + 1):
        below: list[str] = []
        for prefix in pending:
            for entry in scan(root / prefix):
                path = prefix + entry.name
                usable = not entry.name.startswith(".") and is_inside(root / path, root)
                known = level > 0 or top is None or entry.name in top
                if usable and known and level < depth and entry.is_dir():
                    below.append(path + "/")
                elif usable and level == depth and entry.is_file() and is_image(path):
                    images.append(path)
                elif path != GROUPS:
                    others.append(path + "/" * entry.is_dir())
        pending = below
    return images, others


def list_images(root: str | os.PathLike[str]) -> list[str]:
    """Files below `root` with an image's extension, relative, sorted.

    None is opened but those without an extension, or with one of digits alone: scanners write DICOM
    files under such names, and these are listed too.
    A link to a file stands in the list, and is refused when read if it leads out of the root.
    A link to a folder inside the root is not followed: its images are listed where they lie.

    Raises:
        UserError: there is no such folder or no image in it, a folder cannot be listed, or
            a link to a folder leads out of the root, so that images would go without a score.
    """
    top = existing_folder(root)
    found = []
    for folder, folders, files in os.walk(top, onerror=_refuse_listing):
        for name in folders:
            link = Path(folder) / name
            if not is_inside(link, top):
                raise UserError(f"{link}: is a link that leads out of {top}; score it by itself.")
        found += [(Path(folder) / name).relative_to(top).as_posix() for name in files]
    images = sorted(path for path in found if is_image(path) or _is_bare_dicom(top, path))
    if not images:
        kinds = ", ".join(EXTENSIONS)
        raise UserError(f"{root}: holds no image ({kinds}) among {len(found)} files.")
    return images


def _is_bare_dicom(top: Path, path: str) -> bool:
    """Tells whether a file without an extension is DICOM; an unreadable file is not."""
    name = path.rpartition("/")[2]
    kind = name.rpartition(".")[2] if "." in name else ""
    if (kind and not kind.isdecimal()) or "#" in name or not is_inside(top / path, top):
        return False
    try:
        if not (top / path).is_file():
            return False
        with (top / path).open("rb") as file:
            return is_dicom(file.read(PREAMBLE + 4))
    except OSError:
        return False


def _refuse_listing(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be listed ({error.strerror}); check it.") from error
