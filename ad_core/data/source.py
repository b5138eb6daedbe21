"""What lies behind every set of images: records, and a way to read each one."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from ad_core.registry import resolve

NORMAL = "good"  # the defect name of a normal image, after the MVTec AD layout


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
    """The source that `data.source` names by module path, e.g. "ad_core.data.folder"."""
    return resolve(str(data.source), "open_source").open_source(data)
