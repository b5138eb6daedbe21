"""Images in a folder: the MVTec AD layout with labels, or any files to score."""

import csv
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from ad_core.data.image import (
    EXTENSIONS,
    SETTINGS,
    Picture,
    check_settings,
    read_full_mask,
    read_image,
    read_mask,
    read_stored,
)
from ad_core.data.pages import split_page, spread
from ad_core.data.resizing import Placement, place
from ad_core.data.source import NORMAL, Record
from ad_core.data.stored import Limits, Stored, Wanted
from ad_core.errors import UserError

MASKS = {"train": "ground_truth_train", "test": "ground_truth"}
LAYOUT = (
    "train/good/*, test/good/*, test/<defect>/* and, where there are any, train/<defect>/* and "
    "masks in ground_truth/<defect>/<stem>_mask.png"
)


class FileSource:
    """Files to score, in the order given: no labels, no masks. Safe to use from threads.

    paths: relative to root; one may name a page, as ad_core.data.pages writes it. image_shape: of
    every image. sizes: index -> (width, height) in pixels of each file that has been read, by
    which regions are mapped back to it.
    """

    def __init__(self, root: str | os.PathLike[str], paths: Sequence[str], data: ConfigDict):
        self.root = Path(root).resolve()
        self.paths = tuple(paths)
        options = data.to_dict()
        check_settings(options)
        self.image_shape = (options["image_size"], options["image_size"], options["channels"])
        self.sizes: dict[int, tuple[int, int]] = {}
        self._options = options
        self._read = _reader(options)

    def __len__(self) -> int:
        return len(self.paths)

    def picture(self, index: int) -> Picture:
        """The image and the size of its file. Raises UserError as `read_image`."""
        path, page = self._locate(index)
        picture = self._read(path, **page)
        self.sizes[index] = (picture.width, picture.height)
        return picture

    def stored(self, index: int) -> Stored:
        """The values of the file, neither scaled nor resized. Raises UserError as `read_image`."""
        path, page = self._locate(index)
        return read_stored(path, *self._wanted(page))

    def placement(self, index: int) -> Placement:
        """Where the image lies in the square, once it has been read."""
        width, height = self.sizes[index]
        return place(width, height, size=self.image_shape[0], resize=self._options["resize"])

    def _locate(self, index: int) -> tuple[Path, dict[str, Any]]:
        name, page = split_page(self.paths[index])
        path = self.root / name
        if not _inside(path, self.root):
            raise UserError(f"{path}: is a link that leads out of {self.root}; copy the image.")
        return path, page

    def _wanted(self, page: dict[str, Any]) -> tuple[Wanted, Limits]:
        rule = self._options | page
        limits = Limits(*(rule[name] for name in Limits._fields))
        return Wanted(rule["page"], rule["axis"]), limits

    def image(self, index: int) -> Float[np.ndarray, "h w c"]:
        """The image at the configured size, in [-1, 1]. Raises UserError as `read_image`."""
        return self.picture(index).image


class FolderSource(FileSource):
    """A folder in the MVTec AD layout: a DataSource.

    records: sorted by path. ignored: relative paths of all that is there and not used: files
    that are no images by name, hidden ones, folders in folders, links that leave the root,
    masks without an image.
    """

    def __init__(
        self,
        root: Path,
        records: Sequence[Record],
        data: ConfigDict,
        *,
        masks: dict[str, str],
        ignored: Iterable[str],
    ):
        super().__init__(root, [record.path for record in records], data)
        self.records = tuple(records)
        self.ignored = tuple(sorted(ignored))
        self._masks = masks
        names = ("resize", "page", "axis", "max_pixels", "max_bytes", "max_frames")
        chosen = {name: self._options[name] for name in names}
        self._read_mask = partial(read_mask, size=self._options["image_size"], **chosen)

    def mask(self, index: int) -> Bool[np.ndarray, "h w"] | None:
        """True where abnormal; all False of a normal image; None of one without a mask."""
        record = self.records[index]
        if record.label == 0:
            return np.zeros(self.image_shape[:2], bool)
        if not record.has_mask:
            return None
        name, page = split_page(record.path)
        return self._read_mask(self.root / self._masks[name], **page)

    def full_mask(self, index: int) -> Bool[np.ndarray, "h w"] | None:
        """As `mask`, in the pixels of the file, which has been read."""
        record = self.records[index]
        if record.label == 0:
            width, height = self.sizes[index]
            return np.zeros((height, width), bool)
        if not record.has_mask:
            return None
        name, page = split_page(record.path)
        wanted, limits = self._wanted(page)
        return read_full_mask(self.root / self._masks[name], wanted, limits._replace(min_side=1))


def open_source(data: ConfigDict) -> FolderSource:
    """The folder `data.root`, listed but not yet read.

    A file groups.csv in it (columns path, group; paths relative to the root) names the images
    that no split may separate; any other file is a group of its own, all its pages included.

    Raises:
        UserError: the folder is missing or laid out in another way, or groups.csv is wrong.
    """
    root = _existing(str(data.root))
    listing = _list(root)
    _check_layout(root, listing)
    groups = _read_groups(root, listing.images)
    records = [
        Record(
            path=page,
            label=int(defect != NORMAL),
            defect=defect,
            group=groups.get(path, path),
            folder=folder,
            has_mask=defect == NORMAL or path in listing.masks,
        )
        for path, (folder, defect) in sorted(listing.images.items())
        for page in spread(root, [path], data)
    ]
    return FolderSource(root, records, data, masks=listing.masks, ignored=listing.ignored)


def list_images(root: str | os.PathLike[str]) -> list[str]:
    """Every file below `root` with an image's extension, relative, sorted; none is opened.

    A link to a file stands in the list, and is refused when read if it leads out of the root.
    A link to a folder inside the root is not followed: its images are listed where they lie.

    Raises:
        UserError: there is no such folder or no image in it, a folder cannot be listed, or
            a link to a folder leads out of the root, so that images would go without a score.
    """
    top = _existing(root)
    found = []
    for folder, folders, files in os.walk(top, onerror=_refuse_listing):
        for name in folders:
            link = Path(folder) / name
            if not _inside(link, top):
                raise UserError(f"{link}: is a link that leads out of {top}; score it by itself.")
        found += [(Path(folder) / name).relative_to(top).as_posix() for name in files]
    images = sorted(path for path in found if _is_image(path))
    if not images:
        kinds = ", ".join(EXTENSIONS)
        raise UserError(f"{root}: holds no image ({kinds}) among {len(found)} files.")
    return images


def read_manifest(path: str | os.PathLike[str]) -> list[str]:
    """The column `path` of a CSV file: images relative to the CSV's folder, in its order.

    Whether they exist shows when they are read, as with any damaged file.

    Raises:
        UserError: no such column or no row; or a path that is empty, absolute, stands twice, or
            leaves the folder by ".." or a link. The message names the row.
    """
    root = Path(path).resolve().parent
    seen: dict[str, int] = {}
    for line, row in _read_csv(path, ("path",)):
        name = row["path"]
        where = f"{path}, line {line}: `path` (={name!r})"
        parts = Path(name).parts
        if not parts or "\0" in name or name.startswith(("/", "\\")) or Path(name).is_absolute():
            raise UserError(f"{where} must be relative to {root}.")
        if ".." in parts or not _inside(root / split_page(name)[0], root):
            raise UserError(f"{where} leads out of {root}; copy the image there.")
        if name in seen:
            raise UserError(f"{where} stands in line {seen[name]} too; leave one.")
        seen[name] = line
    if not seen:
        raise UserError(f"{path}: holds no row; give one path a line below the header.")
    return list(seen)


def _reader(options: dict[str, Any]) -> Callable[[Path], Picture]:
    chosen = {name: options[name] for name in SETTINGS}
    return partial(read_image, size=options["image_size"], **chosen)


class _Listing(NamedTuple):
    images: dict[str, tuple[str, str]]  # path -> (folder, defect)
    masks: dict[str, str]  # path of an image -> path of its mask
    ignored: list[str]


def _list(root: Path) -> _Listing:
    files, ignored = _walk(root)
    split = {path: path.split("/") for path in files}
    images = {path: (part[0], part[1]) for path, part in split.items() if part[0] in MASKS}
    unused = set(files) - set(images)
    masks = {}
    for path, (folder, defect) in images.items():
        stem, kind = _stem(path)
        for name in (f"{stem}_mask.png", f"{stem}.png", f"{stem}_mask{kind}", f"{stem}{kind}"):
            mask = f"{MASKS[folder]}/{defect}/{name}"
            if mask in split:
                masks[path] = mask
                unused.discard(mask)
                break
    return _Listing(images, masks, ignored + sorted(unused))


def _walk(root: Path) -> tuple[list[str], list[str]]:
    """Images and masks, each <folder>/<class>/<name>; and all else that is there."""
    files, ignored, pending = [], [], [""]
    for depth in range(3):
        below = []
        for prefix in pending:
            for entry in _scan(root / prefix):
                path = prefix + entry.name
                usable = not entry.name.startswith(".") and _inside(root / path, root)
                known = depth > 0 or entry.name in (*MASKS, *MASKS.values())
                if usable and known and depth < 2 and entry.is_dir():
                    below.append(path + "/")
                elif usable and depth == 2 and entry.is_file() and _is_image(path):
                    files.append(path)
                elif path != "groups.csv":
                    ignored.append(path + "/" * entry.is_dir())
        pending = below
    return files, ignored


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        _refuse_listing(error)
        raise


def _refuse_listing(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be listed ({error.strerror}); check it.") from error


def _check_layout(root: Path, listing: _Listing) -> None:
    """There must be normal images to train on; all else is for the split protocol to ask."""
    if ("train", NORMAL) in listing.images.values():
        return
    inner = [path.parent.parent for path in sorted(root.glob(f"*/train/{NORMAL}"))]
    classes = sorted({"/".join(place) for place in listing.images.values()})
    others = listing.ignored[:5] + ["..."] * (len(listing.ignored) > 5)
    out = any(not _inside(root / path, root) for path in listing.ignored)
    raise UserError(
        f"`data.root` (={root}): no image in train/{NORMAL}. Expected {LAYOUT}; "
        f"found images in {', '.join(classes) or 'none of these'}; not used: "
        f"{', '.join(others) or 'nothing'}. "
        + ("Links that lead out of it are not followed: copy the images. " if out else "")
        + (f"Did you mean {inner[0]}?" if inner else f"Put normal images into train/{NORMAL}.")
    )


def _read_groups(root: Path, images: dict[str, Any]) -> dict[str, str]:
    path = root / "groups.csv"
    groups: dict[str, str] = {}
    if not os.path.lexists(path):
        return groups
    for line, row in _read_csv(path, ("path", "group")):
        name, group = row["path"], row["group"]
        where = f"{path}, line {line}: `path` (={name!r})"
        if name not in images:
            raise UserError(f"{where} is no image of {root}; correct it or remove the line.")
        if not group:
            raise UserError(f"{where} has no group; name one or remove the line.")
        if groups.setdefault(name, group) != group:
            raise UserError(f"{where} is in two groups, {groups[name]!r} and {group!r}; keep one.")
    return groups


def _read_csv(
    path: str | os.PathLike[str], columns: Sequence[str]
) -> list[tuple[int, dict[str, str]]]:
    """The rows with the number of the line on which each ends. Columns beyond are left out."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            found = list(reader.fieldnames or [])
            rows = [
                (reader.line_num, {name: row.get(name, "") for name in columns}) for row in reader
            ]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check it.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is no CSV file in UTF-8 ({error}); save it as one.") from error
    missing = [name for name in columns if name not in found]
    if missing:
        raise UserError(
            f"{path}: lacks the column {', '.join(missing)}; its first line must name the "
            f"columns and reads {', '.join(found) or 'nothing'}."
        )
    return rows


def _existing(root: str | os.PathLike[str]) -> Path:
    if not os.fspath(root):
        raise UserError("`data.root` is not set; give a folder: `--config.data.root=FOLDER`.")
    if not os.path.isdir(root):
        kind = "is not a folder" if os.path.exists(root) else "no such folder"
        raise UserError(f"{os.fspath(root)}: {kind}; check the path.")
    return Path(os.path.realpath(root))


def _inside(path: Path, root: Path) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(root)


def _is_image(path: str) -> bool:
    return path.lower().endswith(EXTENSIONS)


def _stem(path: str) -> tuple[str, str]:
    """A file's name without its extension, and that; "a.nii.gz" is a and .nii.gz."""
    name = Path(path).name
    end = max((len(kind) for kind in EXTENSIONS if name.lower().endswith(kind)), default=0)
    return name[: len(name) - end], name[len(name) - end :]
