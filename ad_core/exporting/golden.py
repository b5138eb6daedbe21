"""Golden images: what an exported program must decide as its detector does.

Real ones, those that calibrated or others of their kind, and made ones: noise, edges, real images
changed, and mixtures of two, whose scores lie anywhere between those of both.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from ad_core.data.formats.stored import FileSet
from ad_core.data.source import open_source, printable
from ad_core.decision.table import read_table
from ad_core.errors import UserError
from ad_core.exporting.reading import BANDS, Rule
from ad_core.runtime.config import from_json
from ad_core.runtime.workdir import Workdir
from ad_core.scoring.inputs import open_input

REAL, MADE = "real", "made"
_CHANGED = 12  # real images that are changed, and pairs of them that are mixed
_MEND = "Give 8-bit images like those that calibrated: --images=PATH."


class Golden(NamedTuple):
    """An image as a file holds it, [h, w] or [h, w, 3]."""

    name: str
    kind: str
    values: UInt8[np.ndarray, "h w *c"]

    @property
    def pixels(self) -> UInt8[np.ndarray, "h w 3"]:
        """The image as a program takes it: a grey value stands three times."""
        if self.values.ndim == 3:
            return np.ascontiguousarray(self.values)
        return np.repeat(self.values[:, :, None], BANDS, axis=2)


class GoldenSet(NamedTuple):
    """Golden images, to be gone through as often as it takes.

    origin: of the real ones, in words. left_out: reason -> how many of them were not taken, as is
    known after a first pass.
    """

    origin: str
    each: Callable[[], Iterator[Golden]]
    left_out: Counter[str]


def golden_set(directory: Path, data: ConfigDict, rule: Rule, images: Path | None) -> GoldenSet:
    """The golden images of a detector.

    Args:
        directory: of the detector. images: as launch/score.py takes an input; None: those that
            calibrated, as the workdir around the detector knows them.

    Raises:
        UserError: none of the two; later on, no real image of 8 bits among them.
    """
    if images is not None:
        source: Any = open_input(images, data)
        indices, origin = range(len(source)), f"images of {images}"
    else:
        source, indices = split_images(directory.resolve().parent, "calibration", "pool")
        origin = "calibration images"
    left_out: Counter[str] = Counter()

    def each() -> Iterator[Golden]:
        left_out.clear()
        kept: list[Golden] = []
        for index in indices:
            found = read_golden(source, index)
            if isinstance(found, str):
                left_out[found] += 1
                continue
            if len(kept) < _CHANGED:
                kept.append(found)
            yield found
        if not kept:
            raise UserError(f"None of the {origin} holds 8-bit values that can be read. {_MEND}")
        yield from made_images(kept, rule)

    return GoldenSet(origin, each, left_out)


def split_images(workdir: Path, *splits: str) -> tuple[Any, list[int]]:
    """The source of a workdir, and the places of the images of the first split that it has.

    Raises:
        UserError: no workdir, none of the splits, or images that cannot be opened.
    """
    known = Workdir(workdir)
    tables = [known.statistics(split) for split in splits]
    table = next((path for path in tables if path.is_file()), None)
    if table is None or not known.config.is_file():
        raise UserError(
            f"`--detector`: the images of its {splits[0]} are not known ({workdir} is no "
            f"workdir). {_MEND}"
        )
    config = from_json(known.config.read_text("utf-8"))
    config.data.near_duplicates = None  # what belongs together does not matter here
    try:
        source = open_source(config.data)
    except UserError as error:
        raise UserError(f"The images of {workdir} cannot be opened: {error} {_MEND}") from error
    paths = set(read_table(table).path)
    chosen = [i for i, record in enumerate(source.records) if printable(record.path) in paths]
    return source, chosen


def read_golden(source: Any, index: int) -> Golden | str:
    """The image at an index of a source, or why it is none."""
    if not isinstance(source, FileSet):  # drawn at the network's size, in [-1, 1]
        image = np.round((source.read(index).image + 1) * 127.5).astype(np.uint8)
        return Golden(f"image {index}", REAL, image if image.shape[2] == BANDS else image[..., 0])
    try:
        stored = source.stored(index)
    except UserError:
        return "cannot be read"
    if stored.values.dtype != np.uint8 or stored.inverted or stored.own:
        return "not plain 8 bits"
    return Golden(str(source.locate(index)[0]), REAL, stored.values)


def made_images(real: list[Golden], rule: Rule) -> Iterator[Golden]:
    """Noise, edges, and what becomes of real images; always the same ones."""
    rng = np.random.default_rng(0)
    for name, values in _drawn(rule, rng):
        yield Golden(name, MADE, values)
    for number, one in enumerate(real):
        for name, values in _changed(one.values, rng):
            yield Golden(f"{name} of {one.name}", MADE, values)
        other = real[(number + 1) % len(real)]
        share = (number + 1) / (len(real) + 1)
        yield Golden(f"mixture {number}", MADE, _mixed(one, other, share))


def _drawn(rule: Rule, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """Images of the network's size, of a larger, a flat and a small one."""
    h, w = rule.height, rule.width
    for height, width in (
        (h, w),
        (2 * h + 1, w + 7),
        (h // 2 + 1, 2 * w),
        (h // 3 + 2, w // 3 + 1),
    ):
        across = np.linspace(0, 255, width).astype(np.uint8)
        yield "noise", rng.integers(0, 256, (height, width, BANDS), np.uint8)
        yield "gradient", np.broadcast_to(across, (height, width)).copy()
        yield "chequers", (np.indices((height, width)).sum(axis=0) % 2 * 255).astype(np.uint8)
        yield "edge", (np.indices((height, width))[0] * 2 > height).astype(np.uint8) * 255
    for grey in (0, 128, 255):
        yield "even grey", np.full((h, w), grey, np.uint8)


def _changed(values: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    wide = values.astype(np.int32)
    yield "mirror image", values[:, ::-1]
    yield "brighter", np.clip(wide + 25, 0, 255).astype(np.uint8)
    noise = rng.integers(-20, 21, values.shape)
    yield "noisy", np.clip(wide + noise, 0, 255).astype(np.uint8)


def _mixed(one: Golden, other: Golden, share: float) -> UInt8[np.ndarray, "h w 3"]:
    """Both images one over the other, on what both cover."""
    a, b = one.pixels, other.pixels
    height, width = min(len(a), len(b)), min(a.shape[1], b.shape[1])
    mixed = share * a[:height, :width] + (1 - share) * b[:height, :width]
    return np.round(mixed).astype(np.uint8)
