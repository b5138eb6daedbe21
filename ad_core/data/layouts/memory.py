"""Images that a program gives, as paths, Pillow's or arrays, as a labelled source."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from ad_core.data.formats.image import UNFIXED, to_view
from ad_core.data.formats.pages import find_page
from ad_core.data.formats.stored import Encoded, Stored
from ad_core.data.formats.values import read_values, shown_name, stored_values
from ad_core.data.layouts.files import FileSource
from ad_core.data.layouts.grouping import group_by_pattern, join_files
from ad_core.data.source import NORMAL, Record
from ad_core.types import Sample

ROOT = Path("/")  # files may lie anywhere


class MemorySource(FileSource):
    """Images in the order given: a `DataSource` and a `FileSet`, without masks; all may train.

    Paths are read as any file is, and what Pillow or an array holds by the same steps. Nothing is
    copied: an array must stay as it is while the source is used. Images of one file, and those
    that Pillow opened from it, are of one group.
    """

    unfixed = UNFIXED

    def __init__(
        self,
        images: Sequence[Any],
        labels: Sequence[int],
        data: ConfigDict,
        *,
        groups: Sequence[str] | None = None,
    ):
        """Lists the images and reads none of them.

        Args:
            labels: 0 normal, 1 abnormal. groups: of images that no split may separate; None: as
                `data.group_pattern` says, without that each file or array is one.
        """
        self._images = tuple(images)
        names = [_name(image, number) for number, image in enumerate(images)]
        super().__init__(ROOT, [_place(name) for name in names], data)
        self._pillow = threading.Lock()  # an image decodes itself when it is first looked at
        self.grouped = groups is not None or bool(data.group_pattern)
        if groups is None:
            found = group_by_pattern(names, str(data.group_pattern))
            groups = [found.get(n, place) for n, place in zip(names, self.paths, strict=True)]
        records = [_record(*entry) for entry in zip(self.paths, labels, groups, strict=True)]
        joined = join_files(ROOT, records)
        self.records = tuple(r._replace(path=name) for r, name in zip(joined, names, strict=True))

    def read(self, index: int) -> Sample:
        """The image; its mask is empty where it is normal. Raises UserError as `read_image`."""
        if self._is_file(index):
            sample = super().read(index)
        else:
            with self._pillow:
                sample = read_values(*self._values(index))
        size = (sample.placement.height, sample.placement.width)
        return sample._replace(mask=None if self.records[index].label else np.zeros(size, bool))

    def read_mask(self, index: int) -> Bool[np.ndarray, "h w"] | None:
        """None: there are no masks."""
        return None

    def stored(self, index: int) -> Stored:
        """The values as they are, neither scaled nor resized. Raises UserError as `read`."""
        if self._is_file(index):
            return super().stored(index)
        with self._pillow:
            return stored_values(*self._values(index))

    def view(self, index: int, longest: int) -> Float[np.ndarray, "h w c"]:
        """The whole image at its own size, or its longer side at most `longest` pixels."""
        if self._is_file(index):
            return super().view(index, longest)
        options = {name: self._options[name] for name in ("channels", "value_range")}
        return to_view(self.records[index].path, self.stored(index), longest=longest, **options)

    def locate(self, index: int) -> tuple[os.PathLike[str], dict[str, Any]]:
        """The file of an image; of one in memory its name, and no content."""
        if self._is_file(index):
            return super().locate(index)
        return Encoded(self.records[index].path, b""), {}

    def _is_file(self, index: int) -> bool:
        return isinstance(self._images[index], (str, os.PathLike))

    def _values(self, index: int) -> tuple[str, Any, dict[str, Any]]:
        return self.records[index].path, self._images[index], self._options


def _name(image: Any, number: int) -> str:
    if isinstance(image, (str, os.PathLike)):
        return os.fspath(image)
    return shown_name(image, f"image {number}")


def _place(name: str) -> str:
    """The file of a name below ROOT, links followed; its page stays."""
    file, _ = find_page(Path(), name)
    return os.path.relpath(os.path.realpath(file), ROOT) + name[len(file) :]


def _record(place: str, label: int, group: str) -> Record:
    normal = label == 0
    return Record(place, int(label), NORMAL if normal else "defect", group, "train", normal)
