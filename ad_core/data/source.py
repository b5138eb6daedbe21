"""What lies behind every set of images: records, and a way to read each one."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from ad_core.data.formats.intensity import is_robust
from ad_core.data.near_duplicates import group_near_duplicates
from ad_core.errors import UserError
from ad_core.runtime.registry import resolve

NORMAL = "good"  # the defect name of a normal image, after the MVTec AD layout


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
    has_mask: whether `DataSource.mask` gives the abnormal pixels.
    """

    path: str
    label: int
    defect: str
    group: str
    folder: str
    has_mask: bool


@runtime_checkable
class DataSource(Protocol):
    """Random access to images of one size, safe to call from several threads."""

    records: tuple[Record, ...]

    def image(self, index: int) -> Float[np.ndarray, "h w c"]:
        """The image of `records[index]` at the configured size, float32 in [-1, 1].

        Raises UserError, naming the file, when it cannot be read.
        """
        ...

    def mask(self, index: int) -> Bool[np.ndarray, "h w"] | None:
        """True where abnormal, at the configured size; None without a pixel label.

        A normal image has an all-False mask.
        """
        ...


def open_source(data: ConfigDict) -> DataSource:
    """The source that `data.source` names: a module path, e.g. "ad_core.data.layouts.folder".

    "tfds:NAME" is a data set of TensorFlow Datasets. With `data.near_duplicates` every image is
    read once, and those that look alike become one group.

    Raises:
        UserError: no such source, as the source's own, or a range that is not fixed yet.
    """
    name = str(data.source)
    module = "ad_core.data.layouts.tfds" if name.startswith("tfds:") else name
    source = resolve(module, "open_source").open_source(data)
    if data.near_duplicates is not None:
        if is_robust(data):
            raise UserError(
                "`data.near_duplicates` decides which images train, and `data.value_range` "
                "(=robust) is fixed by them; give the range as numbers: LOW,HIGH."
            )
        group_near_duplicates(source, int(data.near_duplicates), workers=int(data.workers))
    return source
