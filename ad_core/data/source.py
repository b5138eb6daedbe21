"""Interface of every set of images: records, and a way to read each one."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool
from ml_collections import ConfigDict

from ad_core.data.augment import check_augment
from ad_core.data.formats.intensity import is_robust
from ad_core.data.near_duplicates import group_near_duplicates
from ad_core.data.shape import image_shape
from ad_core.errors import UserError
from ad_core.runtime.registry import resolve
from ad_core.types import Sample

NORMAL = "good"  # the defect name of a normal image, after the MVTec AD layout

# What people call normal images, in lower case; a defect never has such a name.
NORMAL_NAMES = (NORMAL, "ok", "okay", "normal", "healthy", "pass", "passed")


def means_normal(name: str) -> bool:
    """Tells whether the name of a class or a label says normal, in whatever case."""
    return name.strip().casefold() in NORMAL_NAMES


def printable(text: str) -> str:
    r"""`text` with each byte of a file's name that is not UTF-8 written as \xNN.

    Such names may be opened, but no table, page or terminal takes them.
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


class Record(NamedTuple):
    """One image of a source, before anything is decoded.

    path: unique within the source, relative to its root; stands in every table.
    label: 0 normal, 1 abnormal. defect: its kind, "good" when normal.
    group: images that no split may separate (patient, part, near-duplicates).
    folder: "train" or "test" as the set lies on disk; "" where it makes no such division.
    has_mask: whether there is a pixel label; a normal image needs no file for it.
    """

    path: str
    label: int
    defect: str
    group: str
    folder: str
    has_mask: bool


@runtime_checkable
class Source(Protocol):
    """Random access to images of one size, safe to use from several threads.

    image_shape: height, width and channels of every image. letterboxed: whether part of an image
    may show nothing of its file, but a mirror image; `Sample.placement` then says which. A source
    whose images lie in files is a `FileSet` too.
    """

    image_shape: tuple[int, int, int]
    letterboxed: bool

    def read(self, index: int) -> Sample:
        """The image at an index; the same bits each time.

        Raises UserError, naming the file, when the image cannot be read. A mask that cannot be
        read is None: `DataSource.read_mask` says why.
        """
        ...


@runtime_checkable
class DataSource(Source, Protocol):
    """A source of labelled images; `records` has an entry for each."""

    records: tuple[Record, ...]

    def read_mask(self, index: int) -> Bool[np.ndarray, "h w"] | None:
        """True where abnormal, in the pixels of the mask's own file; None where there is none.

        Raises UserError, naming the mask, when it cannot be read.
        """
        ...


def open_source(
    data: ConfigDict, opener: Callable[[ConfigDict], DataSource] | None = None, *, tile: int = 0
) -> DataSource:
    """The source that `data.source` names: a module path, e.g. "ad_core.data.layouts.folder".

    "tfds:NAME" is a data set of TensorFlow Datasets. With `data.near_duplicates` every image is
    read once, and those that look alike become one group.

    Args:
        opener: makes the source of `data` where no module does, as of images in memory.
        tile: side of what is cut of an image before it is augmented; 0: all of it is.

    Raises:
        UserError: no such source, as the source's own, an augmentation that the size of the images
            does not allow, or a range that is not fixed yet.
    """
    shape = image_shape(data)
    check_augment(str(data.augment), (tile, tile, shape[2]) if tile else shape)
    source = (opener or _opener(str(data.source)))(data)
    if data.near_duplicates is not None:
        if is_robust(data):
            raise UserError(
                "`data.value_range` (=robust) depends on the images that train, and "
                "`data.near_duplicates` decides which do; give the range as numbers: LOW,HIGH."
            )
        group_near_duplicates(source, int(data.near_duplicates), workers=int(data.workers))
    return source


def _opener(name: str) -> Callable[[ConfigDict], DataSource]:
    module = "ad_core.data.layouts.tfds" if name.startswith("tfds:") else name
    return resolve(module, "open_source").open_source
