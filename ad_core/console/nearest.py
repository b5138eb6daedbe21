"""Nearest normal calibration image of an image, by what the detector measures of both."""

import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from ml_collections import ConfigDict

from ad_core.data.source import DataSource, open_source, printable
from ad_core.errors import UserError
from ad_core.reporting.panels import picture_of
from ad_core.scoring.detector import Parts

MOST = 4_000_000  # numbers that are compared; of more images every n-th is taken


class Nearest(NamedTuple):
    """Normal images that calibrated: path and statistics of each, every statistic of one spread."""

    paths: tuple[str, ...]
    values: Float[np.ndarray, "m k"]
    spread: Float[np.ndarray, " k"]

    @classmethod
    def of(cls, parts: Parts) -> "Nearest | None":
        """Normal images of a detector; None where it does not say which image is which."""
        rows = (parts.facts or {}).get("scored", {"path": [], "label": []})
        pairs = zip(rows["path"], rows["label"], strict=True)
        paths = tuple(path for path, label in pairs if label == 0)
        values = np.asarray(parts.reference, np.float32)
        # Normal images that a person left out are in one of both alone.
        if not paths or len(paths) != len(values) or not values.shape[1]:
            return None
        step = max(1, -(-values.size // MOST))
        spread = values.std(axis=0)
        spread[~(spread > 0)] = np.inf  # what never varies tells nothing
        return cls(paths[::step], values[::step], spread)

    def path(self, statistics: Float[np.ndarray, " k"] | None) -> str:
        """Path of the nearest normal image, "" where nothing was measured.

        Nearest by the Euclidean distance of the statistics, each in units of its spread.
        """
        if statistics is None or not np.isfinite(statistics).all():
            return ""
        apart = (self.values - statistics[None]) / self.spread
        return self.paths[int(np.argmin(np.square(apart).sum(axis=1)))]


class NormalPictures:
    """Pictures of the calibration images, where their files lie as the detector names them.

    The place is listed when it is first asked for, once for detectors of the same images.
    """

    def __init__(self, root: Path | None = None) -> None:
        """Looks for them in `root`; None: where they lay when the detector was calibrated."""
        self._root = root
        self._lock = threading.Lock()
        self._of = ""
        self._source: DataSource | None = None
        self._index: dict[str, int] = {}

    def check(self, parts: Parts, paths: Collection[str]) -> None:
        """Refuses a folder that holds none of the images.

        Args:
            paths: of the normal images that calibrated.

        Raises:
            UserError: naming the folder and one of the images.
        """
        if not paths:
            raise UserError(
                f"`--calibration_images` (={self._root}): the detector does not name the images "
                "that calibrated it; leave the flag out, or calibrate its workdir again with "
                "launch/calibrate.py."
            )
        listed = self._listed(parts)[1]
        if not any(path in listed for path in paths):
            raise UserError(
                f"`--calibration_images` (={self._root}) holds none of the normal images that "
                f"calibrated the detector, such as {next(iter(paths))}; give the folder that "
                "stood as `data.root`."
            )

    def has(self, parts: Parts, path: str) -> bool:
        """Tells whether a calibration image is where it was."""
        return path in self._listed(parts)[1]

    def picture(self, parts: Parts, path: str, *, longest: int) -> UInt8[np.ndarray, "h w 3"]:
        """The picture of a calibration image as RGB, its longer side at most `longest` pixels.

        Raises:
            UserError: it is not where it was, or cannot be read.
        """
        source, index = self._listed(parts)
        if source is None or path not in index:
            raise UserError(f"{path}: this calibration image is not where it was.")
        return picture_of(source, index[path], longest)

    def _listed(self, parts: Parts) -> tuple[DataSource | None, Mapping[str, int]]:
        data = ConfigDict(parts.config.data.to_dict())
        data.near_duplicates = None  # groups are of no use here, and take long to find
        if self._root is not None:
            data.root = str(self._root)
        with self._lock:
            if self._of != str(data):
                self._of, self._source, self._index = str(data), None, {}
                try:
                    self._source = open_source(data)
                except UserError:  # the images have gone, or lay in memory
                    return None, {}
                records = enumerate(self._source.records)
                self._index = {printable(record.path): place for place, record in records}
            return self._source, self._index
