"""Image files as data sources: to score in order, or with labels, masks and groups."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from ad_core.data.formats.image import (
    SETTINGS,
    TYPE,
    UNFIXED,
    check_settings,
    count_images,
    read_image,
    read_stored,
    read_view,
)
from ad_core.data.formats.masks import image_turn, read_mask, turn_as
from ad_core.data.formats.pages import find_page, spread
from ad_core.data.formats.resizing import MIRRORING, nearest
from ad_core.data.formats.stored import Limits, Stored, Wanted
from ad_core.data.layouts.grouping import group_by_pattern, join_files, plain_name
from ad_core.data.layouts.listing import Listing, is_inside
from ad_core.data.shape import image_shape
from ad_core.data.source import NORMAL, Record
from ad_core.errors import UserError
from ad_core.types import Placement, Sample

OF_NETWORK = (
    "resize",
    "region",
    "reference",
    "turned",
    "draft",
)  # what makes a network's image of a file


class FileSource:
    """Files to score, in the order given: a `Source` and a `FileSet`, without labels or masks.

    paths: relative to root; one may name a page, as `formats.pages` writes. left_out, own: relative
    paths of what was found beside them, and is no image or was written by this program. groups:
    file -> group of the files that belong together.
    """

    left_out: Sequence[str] = ()
    own: Sequence[str] = ()
    groups: Mapping[str, str] = {}
    unfixed: tuple[str, ...] = TYPE  # reads so where `data.value_range` says nothing

    def __init__(self, root: str | os.PathLike[str], paths: Sequence[str], data: ConfigDict):
        self.root = Path(root).resolve()
        self.paths = tuple(paths)
        options = data.to_dict()
        check_settings(options)
        self.image_shape = image_shape(options)
        self.letterboxed = options["resize"] in MIRRORING
        if options["value_range"] is None:
            options["value_range"] = self.unfixed
        self._options = options
        self._read_file = _reader(options)

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, index: int) -> Sample:
        """The image, and what of its file it shows. Raises UserError as `read_image`."""
        path, page = self.locate(index)
        return self._read_file(path, **page)

    def stored(self, index: int) -> Stored:
        """The values of the file, neither scaled nor resized. Raises UserError as `read_image`."""
        path, page = self.locate(index)
        return read_stored(path, *self._wanted(page))

    def fix_range(self, value_range: Sequence[float | int | str]) -> None:
        """Makes `read` and `view` use this `value_range` of `read_image` from now on."""
        self._options = self._options | {"value_range": value_range}
        self._read_file = _reader(self._options)

    def view(self, index: int, longest: int) -> Float[np.ndarray, "h w c"]:
        """The whole image as the file has it, its longer side at most `longest` pixels."""
        path, page = self.locate(index)
        names = [name for name in SETTINGS if name not in OF_NETWORK]
        return read_view(path, longest=longest, **{n: self._options[n] for n in names} | page)

    def locate(self, index: int) -> tuple[os.PathLike[str], dict[str, Any]]:
        """The file of an image, and the options of `read_image` that name a page of it."""
        name, page = find_page(self.root, self.paths[index])
        path = self.root / name
        if not is_inside(path, self.root):
            raise UserError(f"{path}: is a link that leads out of {self.root}; copy the image.")
        return path, page

    def group_of(self, index: int) -> str:
        """Group of an image: of its file, or the file itself; pages of a file are one group."""
        name = plain_name(self.root, self.paths[index])
        return self.groups.get(name, name)

    def _wanted(self, page: dict[str, Any]) -> tuple[Wanted, Limits]:
        rule = self._options | page
        limits = Limits(*(rule[name] for name in Limits._fields))
        return Wanted(rule["page"], rule["axis"]), limits


class LabelledFiles(FileSource):
    """Files with labels, and masks where there are any: a `DataSource` and a `FileSet`.

    records: in the order given. ignored: relative paths of all that is there and not used, such as
    files that are no images by name, hidden ones, links that leave the root, masks without an
    image; loose: these masks. published: of a copy of a known set, class ("good", a defect, or
    "abnormal" for all) -> images in each of its versions. grouped: whether somebody told, or the
    set's names tell, what belongs together.
    """

    published: Mapping[str, Sequence[int]] = {}
    grouped = False
    unfixed = UNFIXED

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

    def read(self, index: int) -> Sample:
        """The image with its mask, in the pixels of the image's file.

        A mask that was saved at another size is brought to these. Raises UserError as `read_image`.
        """
        sample = super().read(index)
        return sample._replace(mask=self._mask(index, sample.placement))

    def _mask(self, index: int, placement: Placement) -> Bool[np.ndarray, "h w"] | None:
        height, width = placement.height, placement.width
        if self.records[index].label == 0:
            return np.zeros((height, width), bool)
        try:
            mask = self.read_mask(index)
        except UserError:
            return None
        return None if mask is None else nearest(mask, height=height, width=width)

    def read_mask(self, index: int) -> Bool[np.ndarray, "h w"] | None:
        """True where abnormal, in the pixels of the mask's file; None of a normal image.

        It is upright as its image is, where an EXIF tag turns that. Raises UserError if a mask
        cannot be read, an image's masks differ in size, or a tag leaves open how a mask lies.
        """
        if self.records[index].label == 0 or not self.records[index].has_mask:
            return None
        located = self.locate_masks(index)
        masks = [self._one_mask(index, path, page) for path, page in located]
        if len({mask.shape for mask in masks}) > 1:
            first, last = (os.fspath(path) for path, _ in (located[0], located[-1]))
            raise UserError(
                f"{first}: differs in size from {last}, a mask of the same image; give both one "
                "size."
            )
        return np.logical_or.reduce(masks)

    def _one_mask(
        self, index: int, path: os.PathLike[str], page: dict[str, Any]
    ) -> Bool[np.ndarray, "h w"]:
        wanted, limits = self._wanted(page)
        mask = read_mask(path, wanted, limits._replace(min_side=1))
        return turn_as(path, mask, image_turn(self.locate(index)[0], limits))

    def locate_masks(self, index: int) -> Sequence[tuple[os.PathLike[str], dict[str, Any]]]:
        """The files of an abnormal image's masks, each with the options that name a page of it.

        A mask of one page, stated for one slice alone, is that of the slice.
        """
        path = self.records[index].path
        name, page = find_page(self.root, path)
        own = path in self._masks
        located = []
        for mask in self._masks[path if own else name]:
            file, stated = find_page(self.root, mask)
            if not is_inside(self.root / file, self.root):
                raise UserError(
                    f"{self.root / file}: is a link that leads out of {self.root}; copy the mask."
                )
            single = own and page and not stated and self._pages(self.root / file, page) == 1
            located.append((self.root / file, stated or ({} if single else page)))
        return located

    def _pages(self, path: Path, page: dict[str, Any]) -> int:
        wanted, limits = self._wanted(page)
        return count_images(path, wanted, limits)


def label_files(
    root: Path,
    listing: Listing,
    data: ConfigDict,
    *,
    normal: Collection[str],
    groups: Mapping[str, str] | None = None,
) -> LabelledFiles:
    """The source of a listing, sorted by path, whose classes `normal` are normal.

    Any other class is a defect of that name; names of classes are compared without case. A file
    with several pages becomes an image each, where `data.page` says so.

    Args:
        groups: path -> group of files that belong together; of others `data.group_pattern` tells
            it from the path, and without that each file is a group of its own. Groups that share
            a file are one.

    Raises:
        UserError: `data.group_pattern` is wrong or does not match a path.
    """
    named = group_by_pattern(listing.images, str(data.group_pattern)) | dict(groups or {})
    sound = {name.casefold() for name in normal}
    records = []
    for path, (folder, name) in sorted(listing.images.items()):
        is_normal = name.casefold() in sound
        record = Record(
            path=path,
            label=int(not is_normal),
            defect=NORMAL if is_normal else name,
            group=named.get(path, path),
            folder=folder,
            has_mask=is_normal or path in listing.masks,
        )
        records += [record._replace(path=page) for page in spread(root, [path], data)]
    source = LabelledFiles(
        root,
        join_files(root, records),
        data,
        masks=listing.masks,
        ignored=listing.ignored,
        loose=listing.loose,
    )
    source.grouped = bool(named)
    return source


def _reader(options: dict[str, Any]) -> Callable[..., Sample]:
    chosen = {name: options[name] for name in SETTINGS}
    return partial(read_image, size=options["image_size"], **chosen)
