"""Procedural images as a data source: for trying and testing, with no clinical or factory data.

A world is one file with a `draw` function, and one line in KINDS.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from ml_collections import ConfigDict

from ad_core.data.formats.resizing import place
from ad_core.data.phantoms import fpet_sinogram, pcba, retina_oct, surface
from ad_core.data.shape import check_square, image_shape
from ad_core.data.source import NORMAL, Record
from ad_core.errors import UserError
from ad_core.types import Sample

MAX_SCANS = 3  # of one patient (or part)
TRAIN_SHARE = 0.6  # of the patients of each class, for the protocol `folders`


class World(NamedTuple):
    """Kind of phantom, and the function that draws it.

    draw: (seed, scan, *, size, defect) -> image [size, size, 1 or 3] in [-1, 1] and mask.
    `seed` is a tuple of non-negative integers that stands for the patient (or part), whose
    scans 0, 1, … share an anatomy; `defect` is one of `defects`, or None. Equal arguments give
    equal bits in any thread; what else was drawn does not matter.
    family: seed -> name of the kind of part, where a world has several; it enters the path.
    options: keys of `data.phantom` that `draw` takes besides.
    """

    draw: Callable[..., tuple[Float[np.ndarray, "h w c"], Bool[np.ndarray, "h w"]]]
    defects: tuple[str, ...]
    family: Callable[[tuple[int, ...]], str] | None = None
    options: tuple[str, ...] = ()


KINDS = {
    "fpet_sinogram": World(fpet_sinogram.draw, fpet_sinogram.DEFECTS, options=("dose",)),
    "pcba": World(pcba.draw, tuple(pcba.DEFECTS), family=pcba.family),
    "retina_oct": World(retina_oct.draw, tuple(retina_oct.DEFECTS)),
    "surface": World(surface.draw, tuple(surface.DEFECTS)),
}


class Scan(NamedTuple):
    """Drawing of a record: `patient` counts within its class, `scan` within the patient."""

    label: int
    patient: int
    scan: int


class PhantomSource:
    """Phantoms as a `DataSource`; nothing is kept, every call draws anew."""

    letterboxed = False

    def __init__(
        self,
        kind: str,
        *,
        seed: int,
        normal: int,
        abnormal: int,
        size: int,
        channels: int,
        options: dict[str, Any] | None = None,
    ):
        self._world = KINDS[kind]
        self._seed = seed
        self.image_shape = (size, size, channels)
        self._options = options or {}
        self._scans = _scans(seed, 0, normal) + _scans(seed, 1, abnormal)
        self.records: tuple[Record, ...] = tuple(_records(kind, seed, self._scans))

    def read(self, index: int) -> Sample:
        """The drawing with the pixels of its lesion: all of it is shown, and no value is beyond."""
        size, _, channels = self.image_shape
        image, mask = self._draw(index, self.defect(index))
        placement = place(size, size, size=size, resize="stretch")
        return Sample(_in_channels(image, channels), mask, placement, clipped=0.0)

    def read_mask(self, index: int) -> Bool[np.ndarray, "h w"] | None:
        """True where the lesion is; None of a normal image."""
        return self.read(index).mask if self.records[index].label else None

    def twin(self, index: int) -> Float[np.ndarray, "h w c"]:
        """The same scan without its lesion: what an ideal method would draw."""
        return _in_channels(self._draw(index, None)[0], self.image_shape[2])

    def defect(self, index: int) -> str | None:
        """The world's name of what is wrong in an image; None for a normal one."""
        record = self.records[index]
        return record.defect if record.label else None

    def part(self, index: int) -> tuple[tuple[int, ...], int]:
        """The seed and the scan that draw an image."""
        scan = self._scans[index]
        return (self._seed, scan.label, scan.patient), scan.scan

    def _draw(self, index: int, defect: str | None) -> tuple[np.ndarray, np.ndarray]:
        seed, scan = self.part(index)
        return self._world.draw(
            seed, scan, size=self.image_shape[0], defect=defect, **self._options
        )


def open_source(data: ConfigDict) -> PhantomSource:
    """The phantoms that `data.phantom` describes, at `data.image_size` and `data.channels`.

    Raises:
        UserError: an unknown kind (the message lists the known), a negative seed or count, no
            image at all, a dose of 0 or less, or a size or channel count that cannot be drawn.
    """
    phantom = data.phantom
    if phantom.kind not in KINDS:
        known = ", ".join(sorted(KINDS))
        raise UserError(f"Unknown `data.phantom.kind` (={phantom.kind!r}); known: {known}.")
    for name in ("seed", "normal", "abnormal"):
        if phantom[name] < 0:
            raise UserError(f"`data.phantom.{name}` (={phantom[name]}) must be 0 or more.")
    if phantom.normal + phantom.abnormal == 0:
        raise UserError("`data.phantom.normal` (=0) and `abnormal` (=0) leave no image; raise one.")
    if not phantom.dose > 0:
        raise UserError(f"`data.phantom.dose` (={phantom.dose}) must be above 0 counts.")
    check_square(data, "phantoms are drawn in no other shape")
    size, _, channels = image_shape(data)
    if size < 8:
        raise UserError(f"`data.image_size` (={size}) must be 8 or more for phantoms.")
    if channels not in (1, 3):
        raise UserError(f"`data.channels` (={channels}) must be 1 or 3.")
    return PhantomSource(
        phantom.kind,
        seed=phantom.seed,
        normal=phantom.normal,
        abnormal=phantom.abnormal,
        size=size,
        channels=channels,
        options={name: phantom[name] for name in KINDS[phantom.kind].options},
    )


def _in_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Grey repeated over three channels, or the mean of three, where a world draws otherwise."""
    if image.shape[-1] == channels:
        return image
    if channels == 1:
        return image.mean(axis=-1, keepdims=True)
    return np.repeat(image, channels, axis=-1)


def _scans(seed: int, label: int, count: int) -> list[Scan]:
    """`count` scans of one class, 1 to MAX_SCANS a patient; more scans keep the first ones."""
    per_patient = np.random.default_rng([seed, label]).integers(1, MAX_SCANS + 1, count)
    scans = [Scan(label, p, s) for p, visits in enumerate(per_patient) for s in range(visits)]
    return scans[:count]


def _records(kind: str, seed: int, scans: list[Scan]) -> list[Record]:
    world = KINDS[kind]
    patients = {
        label: 1 + max((s.patient for s in scans if s.label == label), default=-1)
        for label in (0, 1)
    }
    numbers = {0: 0, 1: 0}
    records = []
    for label, patient, _ in scans:
        number = numbers[label]
        numbers[label] += 1
        defect = world.defects[number % len(world.defects)] if label else NORMAL
        place = defect if label else "normal"
        root = f"{kind}/{world.family((seed, label, patient))}" if world.family else kind
        train = patient < max(1, round(TRAIN_SHARE * patients[label]))
        records.append(
            Record(
                path=f"{root}/{place}/{number:06d}",
                label=label,
                defect=defect,
                group=f"{root}/{'abnormal' if label else 'normal'}/{patient:05d}",
                folder="train" if train else "test",
                has_mask=True,
            )
        )
    return records
