"""Image files as data sources: to score in order, or with labels, masks and groups."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from ad_core.data.formats.image import (
    SETTINGS,
    Picture,
    check_settings,
    read_full_mask,
    read_image,
    read_mask,
    read_stored,
    read_view,
)
from ad_core.data.formats.pages import split_page, spread
from ad_core.data.formats.resizing import Placement, place
from ad_core.data.formats.stored import Limits, Stored, Wanted
from ad_core.data.layouts.listing import Listing, is_inside
from ad_core.data.source import NORMAL, Record
from ad_core.errors import UserError


class FileSource:
    """Files to score, in the order given: no labels, no masks. Safe to use from threads.

    paths: relative to root; one may name a page, as `formats.pages` writes. image_shape: of every
    image. sizes: index -> (width, height) in pixels of each file that has been read, by
    which regions are mapped back.
    """

    def __init__(self, root: str | os.PathLike[str], paths: Sequence[str], data: ConfigDict):
        self.root = Path(root).resolve()
        self.paths = tuple(paths)
        options = data.to_dict()
        check_settings(options)
        self.image_shape = (options["image_size"], options["image_size"], options["channels"])
        self.sizes: dict[int, tuple[int, int]] = {}
        self.resize: str = options["resize"]
        self._options = options
        self._read = _reader(options)

    def __len__(self) -> int:
        return len(self.paths)

    def picture(self, index: int) -> Picture:
        """The image and the size of its file. Raises UserError as `read_image`."""
        path, page = self.locate(index)
        picture = self._read(path, **page)
        self.sizes[index] = (picture.width, picture.height)
        return picture

    def stored(self, index: int) -> Stored:
        """The values of the file, neither scaled nor resized. Raises UserError as `read_image`."""
        path, page = self.locate(index)
        return read_stored(path, *self._wanted(page))

    def fix_range(self, value_range: tuple[float, float]) -> None:
        """From now on images are read with this `data.value_range`."""
        self._options = self._options | {"value_range": value_range}
        self._read = _reader(self._options)

    def placement(self, index: int) -> Placement:
        """Where the image lies in the square, once it has been read."""
        width, height = self.sizes[index]
        return place(width, height, size=self.image_shape[0], resize=self._options["resize"])

    def view(self, index: int, longest: int) -> Float[np.ndarray, "h w c"]:
        """The whole image as the file has it, its longer side at most `longest` pixels."""
        path, page = self.locate(index)
        names = [name for name in SETTINGS if name != "resize"]
        return read_view(path, longest=longest, **{n: self._options[n] for n in names} | page)

    def locate(self, index: int) -> tuple[os.PathLike[str], dict[str, Any]]:
        """The file of an image, and the options of `read_image` that name a page of it."""
        name, page = split_page(self.paths[index])
        path = self.root / name
        if not is_inside(path, self.root):
            raise UserError(f"{path}: is a link that leads out of {self.root}; copy the image.")
        return path, page

    def _wanted(self, page: dict[str, Any]) -> tuple[Wanted, Limits]:
        rule = self._options | page
        limits = Limits(*(rule[name] for name in Limits._fields))
        return Wanted(rule["page"], rule["axis"]), limits

    def image(self, index: int) -> Float[np.ndarray, "h w c"]:
        """The image at the configured size, in [-1, 1]. Raises UserError as `read_image`."""
        return self.picture(index).image


class LabelledFiles(FileSource):
    """Files with labels, and masks where there are any: a DataSource.

    records: in the order given. ignored: relative paths of all that is there and not used, such as
    files that are no images by name, hidden ones, links that leave the root, masks without an
    image; loose: these masks. published: of a copy of a known set, class ("good", a defect, or
    "abnormal" for all) -> images in each of its versions.
    """

    published: Mapping[str, Sequence[int]] = {}

    def __init__(
        self,
        root: Path,
        records: Iterable[Record],
        data: ConfigDict,
        *,
        masks: Mapping[str, Sequence[str]],
        ignored: Iterable[str] = (),
        loose: Iterable[str] = (),
    ):
        self.records = tuple(records)
        super().__init__(root, [record.path for record in self.records], data)
        self.ignored, self.loose = tuple(sorted(ignored)), tuple(sorted(loose))
        self._masks = masks
        names = ("resize", "page", "axis", "max_pixels", "max_bytes", "max_frames")
        chosen = {name: self._options[name] for name in names}
        self._read_mask = partial(read_mask, size=self._options["image_size"], **chosen)

    def mask(self, index: int) -> Bool[np.ndarray, "h w"] | None:
        """True where abnormal; all False of a normal image; None of one without a mask."""
        if self.records[index].label == 0:
            return np.zeros(self.image_shape[:2], bool)
        if not self.records[index].has_mask:
            return None
        paths, page = self.locate_masks(index)
        return np.logical_or.reduce([self._read_mask(path, **page) for path in paths])

    def full_mask(self, index: int) -> Bool[np.ndarray, "h w"] | None:
        """As `mask`, in the pixels of the file, which has been read.

        Raises UserError if an image's masks differ in size.
        """
        if self.records[index].label == 0:
            width, height = self.sizes[index]
            return np.zeros((height, width), bool)
        if not self.records[index].has_mask:
            return None
        paths, page = self.locate_masks(index)
        wanted, limits = self._wanted(page)
        masks = [read_full_mask(path, wanted, limits._replace(min_side=1)) for path in paths]
        if len({mask.shape for mask in masks}) > 1:
            first, last = (os.fspath(path) for path in (paths[0], paths[-1]))
            raise UserError(f"{first}: differs in size from {last}; one image has both.")
        return np.logical_or.reduce(masks)

    def locate_masks(self, index: int) -> tuple[Sequence[os.PathLike[str]], dict[str, Any]]:
        """The files of an abnormal image's masks, and the options that name a page of them."""
        name, page = split_page(self.records[index].path)
        paths = [self.root / mask for mask in self._masks[name]]
        for path in paths:
            if not is_inside(path, self.root):
                raise UserError(f"{path}: is a link that leads out of {self.root}; copy the mask.")
        return paths, page


def label_files(
    root: Path,
    listing: Listing,
    data: ConfigDict,
    *,
    normal: Collection[str],
    groups: Mapping[str, str] | None = None,
) -> LabelledFiles:
    """The source of a listing, sorted by path, whose classes `normal` are normal.

    Any other class is a defect of that name. A file with several pages becomes an image each,
    where `data.page` says so.

    Args:
        groups: path -> group of files that belong together; of others `data.group_pattern` tells
            it from the path, and without that each file is a group of its own.

    Raises:
        UserError: `data.group_pattern` is wrong or does not match a path.
    """
    named = group_by_pattern(listing.images, str(data.group_pattern)) | dict(groups or {})
    records = [
        Record(
            path=page,
            label=int(name not in normal),
            defect=NORMAL if name in normal else name,
            group=named.get(path, path),
            folder=folder,
            has_mask=name in normal or path in listing.masks,
        )
        for path, (folder, name) in sorted(listing.images.items())
        for page in spread(root, [path], data)
    ]
    return LabelledFiles(
        root, records, data, masks=listing.masks, ignored=listing.ignored, loose=listing.loose
    )


def group_by_pattern(paths: Iterable[str], pattern: str) -> dict[str, str]:
    """By path, what the (parentheses) of a regular expression find in it: its group.

    Empty for an empty pattern.

    Raises:
        UserError: no regular expression, one without parentheses, or a path without a match.
    """
    if not pattern:
        return {}
    where = f"`data.group_pattern` (={pattern!r})"
    try:
        search = re.compile(pattern)
    except re.error as error:
        raise UserError(f"{where} is no regular expression: {error}.") from error
    if not search.groups:
        raise UserError(f"{where} needs (parentheses) around what names the group.")
    groups = {}
    for path in paths:
        match = search.search(path)
        if match is None:
            raise UserError(f"{where} does not match {path!r}; every image needs a group.")
        groups[path] = "-".join(part or "" for part in match.groups())
    return groups


def _reader(options: dict[str, Any]) -> Callable[..., Picture]:
    chosen = {name: options[name] for name in SETTINGS}
    return partial(read_image, size=options["image_size"], **chosen)
