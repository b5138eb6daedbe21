"""Images that are larger than the network's, measured sheet by sheet by the program of one sheet.

A sheet is a part of the size of the network's image; neighbours overlap. So an image of any size
takes the memory of its own pixels and of a few sheets, and compiles nothing new. Its statistics are
those of the sheet whose first map is highest. Its maps have the network's size: each cell holds the
highest value of the pixels that it stands for.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ad_core.data.shape import Sides
from ad_core.runtime.inference import Begun
from ad_core.scoring.measuring import Content, Measured, Measurer
from ad_core.types import Box

TOGETHER = 4  # sheets that are measured at a time


class Sheet(NamedTuple):
    """Part of an image, left, top, right, bottom; of its map only what lies in `own` counts.

    content: of the sheet, as in a Batch: what of it shows the image.
    """

    box: Box
    own: Box
    content: Box


def make_sheets(image: Sides, size: Sides, overlap: int) -> list[Sheet]:
    """The sheets of an image, row by row; their own parts lie side by side and cover it.

    Args:
        image, size: height and width of the image, and of a sheet. overlap: in pixels, below every
            side of a sheet.
    """
    down, across = (_lines(*sides, overlap) for sides in zip(image, size, strict=True))
    return [
        Sheet(
            (x.begin, y.begin, x.begin + x.shown, y.begin + y.shown),
            (x.low, y.low, x.high, y.high),
            (0, 0, x.shown, y.shown),
        )
        for y, x in itertools.product(down, across)
    ]


class _Line(NamedTuple):
    """Where a sheet begins along a side, how much it shows, and what of that is its own."""

    begin: int
    shown: int
    low: int
    high: int


def _lines(side: int, sheet: int, overlap: int) -> list[_Line]:
    """Along a side as few as cover it; the last one ends where the image does."""
    if side <= sheet:
        return [_Line(0, side, 0, side)]
    count = 1 + -(-(side - sheet) // (sheet - overlap))
    begins = [min(n * (sheet - overlap), side - sheet) for n in range(count)]
    between = [(a + sheet + b) // 2 for a, b in itertools.pairwise(begins)]
    return [
        _Line(begin, sheet, low, high)
        for begin, low, high in zip(begins, [0, *between], [*between, side], strict=True)
    ]


def by_sheets(measurer: Measurer, *, size: Sides, overlap: int) -> Measurer:
    """The measurer, which measures images of another size sheet by sheet, one image a call."""

    def begin(image: Float[np.ndarray, "b h w c"], content: Content) -> Begun[Measured]:
        if image.shape[1:3] == tuple(size):
            return measurer.begin(image, content)
        assert len(image) == 1  # of other sizes no two need be alike
        # Nothing is begun before it is asked for: a few sheets at a time are copied.
        return Begun(lambda: _measure(measurer, image[0], size, overlap), lambda: None)

    return measurer._replace(
        begin=begin,
        relearnt=lambda known: by_sheets(measurer.relearnt(known), size=size, overlap=overlap),
    )


class _Whole:
    """Measurement of an image that grows sheet by sheet."""

    def __init__(self, image: Sides, size: Sides):
        self._image, self._size = image, size
        self._maps: np.ndarray | None = None
        self._drawn: np.ndarray | None = None
        self._statistics: np.ndarray | None = None
        self._highest = -np.inf

    def add(self, sheet: Sheet, measured: Measured) -> None:
        """Takes the measurement of a sheet, of one row."""
        left, top, right, bottom = sheet.own
        x, y = sheet.box[:2]
        within = slice(top - y, bottom - y), slice(left - x, right - x)
        found = measured.maps[0][:, *within]
        if self._maps is None:
            self._maps = np.full((len(found), *self._size), -np.inf, np.float32)
        rows = _cells(top, bottom, self._image[0], self._size[0])
        columns = _cells(left, right, self._image[1], self._size[1])
        for cells, shown in zip(self._maps, found, strict=True):
            _raise_cells(cells, shown, rows, columns)
        if measured.drawn is not None:
            self._draw(measured.drawn[0], sheet)
        # What is no number is the worst: an image with a sheet like that is inspected.
        highest = np.inf if np.isnan(found).any() else float(found[0].max())
        unsound = not np.isfinite(measured.statistics).all()
        highest = np.inf if unsound else highest
        if self._statistics is None or highest > self._highest:
            self._statistics, self._highest = measured.statistics, highest

    def _draw(self, drawn: Float[np.ndarray, "h w c"], sheet: Sheet) -> None:
        """Shows the pixel in the middle of each cell of the sheet's own part."""
        if self._drawn is None:
            self._drawn = np.zeros((*self._size, drawn.shape[-1]), drawn.dtype)
        left, top, right, bottom = sheet.own
        y, x = (_middles(*sides) for sides in zip(self._image, self._size, strict=True))
        rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
        pixels = np.ix_(y[rows] - sheet.box[1], x[columns] - sheet.box[0])
        self._drawn[np.ix_(rows, columns)] = drawn[pixels]

    def measured(self) -> Measured:
        """The measurement of all sheets, of one row."""
        assert self._statistics is not None and self._maps is not None  # an image has a sheet
        filled = np.stack([_filled(cells, self._image) for cells in self._maps])
        drawn = None if self._drawn is None else self._drawn[None]
        return Measured(self._statistics, filled[None], drawn)


def _measure(
    measurer: Measurer, image: Float[np.ndarray, "height width c"], size: Sides, overlap: int
) -> Measured:
    whole = _Whole(image.shape[:2], size)
    sheets = make_sheets(image.shape[:2], size, overlap)
    for some in _several(sheets, min(TOGETHER, measurer.batch_size)):
        pixels = np.stack([_pixels(image, sheet, size) for sheet in some])
        content = np.array([sheet.content for sheet in some], np.int32)
        measured = measurer.measure(pixels, content)
        for row, sheet in enumerate(some):
            whole.add(sheet, measured.rows(slice(row, row + 1)))
    return whole.measured()


def middle_pixels(
    image: Float[np.ndarray, "height width c"], size: Sides
) -> Float[np.ndarray, "h w c"]:
    """The pixel in the middle of each cell, as the normal version of a large image shows them."""
    return image[np.ix_(*map(_middles, image.shape[:2], size))]


def _middles(pixels: int, cells: int) -> Int[np.ndarray, " cells"]:
    """The pixel in the middle of each cell along a side."""
    return (2 * np.arange(cells) + 1) * pixels // (2 * cells)


def _several(sheets: Sequence[Sheet], count: int) -> Iterator[list[Sheet]]:
    for start in range(0, len(sheets), count):
        yield list(sheets[start : start + count])


def _pixels(
    image: Float[np.ndarray, "height width c"], sheet: Sheet, size: Sides
) -> Float[np.ndarray, "h w c"]:
    left, top, right, bottom = sheet.box
    part = image[top:bottom, left:right]
    beyond = [(0, side - own) for side, own in zip(size, part.shape[:2], strict=True)]
    return np.pad(part, [*beyond, (0, 0)], mode="symmetric")


def _cells(start: int, stop: int, pixels: int, cells: int) -> Int[np.ndarray, " n"]:
    """Cell of each pixel from `start` to `stop`, of `pixels` in `cells`."""
    return np.arange(start, stop) * cells // pixels


def _raise_cells(
    cells: Float[np.ndarray, "h w"],
    found: Float[np.ndarray, "_ _"],
    rows: Int[np.ndarray, " _"],
    columns: Int[np.ndarray, " _"],
) -> None:
    """Raises each cell to the highest value of its pixels."""
    y, first_row = np.unique(rows, return_index=True)
    x, first_column = np.unique(columns, return_index=True)
    highest = np.maximum.reduceat(np.maximum.reduceat(found, first_row, 0), first_column, 1)
    place = np.ix_(y, x)
    cells[place] = np.maximum(cells[place], highest)


def _filled(cells: Float[np.ndarray, "h w"], image: Sides) -> Float[np.ndarray, "h w"]:
    """Gives cells without a pixel of their own, along a side with fewer pixels, their pixel's."""
    for axis, (pixels, count) in enumerate(zip(image, cells.shape, strict=True)):
        if pixels < count:
            own = np.arange(count) * pixels // count  # the pixel that a cell shows
            cells = np.take(cells, own * count // pixels, axis=axis)
    return cells
