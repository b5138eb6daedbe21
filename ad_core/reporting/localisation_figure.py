"""The figure of localisation: what each method makes of some images, as one picture.

Of each image it shows the image, its normal version, the residual, the map of features, the mask
and the verdict. A method is a block of rows below its name; its maps have one scale of colours for
all of its images, drawn as a bar below them.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from ad_core.reporting.localisation_rows import Heat, Row
from ad_core.reporting.svg import number
from ad_core.scoring.localisation import MapScale
from ad_core.scoring.pictures import colour, overlay, to_rgb
from ad_core.scoring.verdict import COLOURS, INSPECT

COLUMNS = ("image", "normal version", "residual", "map of features", "mask", "verdict")
_TEXT, _SMALL = 13, 11  # heights of letters in pixels
_LINE, _GAP, _LEFT = 18, 10, 170  # of text, between panels, of the names on the left
_BELOW = 36  # under a panel, for two lines of small words
_BAR = 10  # height of a bar of colours
_FRAME = 3  # around a verdict
_INK, _SOFT, _FAINT, _PAPER = "#1e1e28", "#5b6070", "#c9ccd6", "#ffffff"


class _Pen:
    """Sheet of paper on which panels and words are put, in pixels from its top left corner."""

    def __init__(self, width: int, height: int):
        self.sheet = Image.new("RGB", (width, height), _PAPER)
        self.draw = ImageDraw.Draw(self.sheet)
        self.fonts = {size: ImageFont.load_default(size) for size in (_TEXT, _SMALL)}

    def write(
        self, x: int, y: int, words: str, *, room: int, colour: str = _INK, size: int = _TEXT
    ) -> None:
        """Words from x on, below y; cut in the middle where they need more than `room`."""
        font, shown = self.fonts[size], words
        keep = len(words)
        while keep > 4 and font.getlength(shown) > room:
            keep -= 1
            head = keep // 2
            shown = f"{words[:head]}\u2026{words[len(words) - (keep - head) :]}"
        self.draw.text((x, y), shown, fill=colour, font=font)

    def centre(self, x: int, y: int, words: str, *, colour: str = _SOFT) -> None:
        """Small words around x, below y."""
        font = self.fonts[_SMALL]
        left = x - round(font.getlength(words) / 2)
        self.draw.text((left, y), words, fill=colour, font=font)

    def put(self, x: int, y: int, picture: UInt8[np.ndarray, "h w 3"], size: "_Size") -> None:
        """A picture brought to `size`; a pixel that grows stays a rectangle."""
        shown = Image.fromarray(picture).resize((size.width, size.height), Image.Resampling.BOX)
        self.sheet.paste(shown, (x, y))

    def frame(self, x: int, y: int, size: "_Size", colour: str, width: int = 1) -> None:
        """A line around a panel, outside of it."""
        far = (x + size.width + width - 1, y + size.height + width - 1)
        self.draw.rectangle(((x - width, y - width), far), outline=colour, width=width)


class _Size(NamedTuple):
    width: int
    height: int


def localisation_figure(rows: Sequence[Row], *, side_px: int = 160) -> UInt8[np.ndarray, "h w 3"]:
    """Rows of `localisation_rows`, of one method after the other, as one picture.

    A map that has no value stands as an empty panel. The verdict is the map that localises over
    the image, outlined where it is above the level of normal images, in a frame of the decision's
    colour, with the score, the threshold and, where the truth is known, what went wrong.

    Args:
        side_px: longer side of a panel.
    """
    blocks = [list(block) for _, block in itertools.groupby(rows, key=lambda row: row.method)]
    sizes = [_size(block[0], side_px) for block in blocks]
    width = _LEFT + len(COLUMNS) * (max(size.width for size in sizes) + _GAP)
    heights = [_height(len(block), size) for block, size in zip(blocks, sizes, strict=True)]
    pen, top = _Pen(width, sum(heights) + _GAP), _GAP
    for block, size, height in zip(blocks, sizes, heights, strict=True):
        _draw_block(pen, top, block, size)
        top += height
    return np.asarray(pen.sheet)


def _size(row: Row, side_px: int) -> _Size:
    h, w = row.image.shape[:2]
    return _Size(round(w * side_px / max(h, w)), round(h * side_px / max(h, w)))


def _height(rows: int, size: _Size) -> int:
    """Of a block: its name, the columns' names, the rows, the axis with the bars, a gap."""
    return 2 * _LINE + rows * (size.height + _BELOW) + 5 * _LINE


def _draw_block(pen: _Pen, top: int, rows: Sequence[Row], size: _Size) -> None:
    at = [_LEFT + place * (size.width + _GAP) for place in range(len(COLUMNS))]
    pen.write(_GAP, top, rows[0].method, room=pen.sheet.width - 2 * _GAP)
    for x, words in zip(at, COLUMNS, strict=True):
        pen.write(x, top + _LINE, words, room=size.width, colour=_SOFT)
    y = top + 2 * _LINE
    for row in rows:
        _draw_row(pen, y, at, row, size)
        y += size.height + _BELOW
    y -= _BELOW  # below the last panels
    _draw_axes(pen, at[0], y, rows[0], size)
    for place, pick in ((2, _residual), (3, _features)):
        if (heat := pick(rows[0])) is not None:
            _draw_bar(pen, at[place], y + _LINE, heat, size)


def _residual(row: Row) -> Heat | None:
    return row.residual


def _features(row: Row) -> Heat | None:
    return row.features


def _draw_row(pen: _Pen, y: int, at: Sequence[int], row: Row, size: _Size) -> None:
    truth = {None: "", True: "abnormal", False: "normal"}[row.abnormal]
    pen.write(_GAP, y, row.name, room=_LEFT - 5 * _GAP)
    pen.write(_GAP, y + _LINE, truth, room=_LEFT - 5 * _GAP, colour=_SOFT)
    for x, picture in zip(at, _panels(row), strict=True):
        if picture is None:
            pen.frame(x, y, size, _FAINT)
            pen.centre(x + size.width // 2, y + size.height // 2 - _SMALL, "none")
        else:
            pen.put(x, y, picture, size)
    pen.frame(at[-1], y, size, COLOURS[row.decision], _FRAME)
    below = y + size.height + _FRAME
    for place, words in enumerate(_verdict(row)):
        top = below + place * (_SMALL + 2)
        pen.write(at[-1], top, words, room=size.width, colour=COLOURS[row.decision], size=_SMALL)


def _panels(row: Row) -> list[UInt8[np.ndarray, "h w 3"] | None]:
    """Pictures of the columns, in their order."""
    mask = None
    if row.mask is not None:
        mask = np.repeat(np.where(row.mask, 255, 0).astype(np.uint8)[..., None], 3, axis=-1)
    return [
        to_rgb(row.image),
        None if row.drawn is None else to_rgb(row.drawn),
        *(None if heat is None else _coloured(heat) for heat in (row.residual, row.features)),
        mask,
        overlay(row.image, row.anomaly, row.scale),
    ]


def _coloured(heat: Heat) -> UInt8[np.ndarray, "h w 3"]:
    return colour(heat.scale.position(heat.values))


def _verdict(row: Row) -> tuple[str, str]:
    """The decision with the score against its threshold, and what is wrong with it."""
    told = f"{row.decision}: no score"
    if row.score is not None:
        # An image with clipped values is inspected whatever its score.
        sign = ">=" if row.score >= row.threshold else "<"
        told = f"{row.decision}, {row.score:.3g} {sign} {row.threshold:.3g}"
    inspected = row.decision == INSPECT
    if row.abnormal is None or inspected == row.abnormal:
        return told, ""
    return told, "false alarm" if inspected else "missed"


def _draw_axes(pen: _Pen, x: int, y: int, row: Row, size: _Size) -> None:
    """Pixels of the network's image, below and beside the last panel of the first column."""
    h, w = row.image.shape[:2]
    tick = 4
    for share, value in ((0.0, 0), (0.5, w // 2), (1.0, w)):
        across = x + round(share * (size.width - 1))
        pen.draw.line(((across, y), (across, y + tick)), fill=_SOFT)
        pen.centre(across, y + tick, f"{value}")
    pen.centre(x + size.width // 2, y + _LINE, "x in px")
    for share, value in ((0.0, 0), (0.5, h // 2), (1.0, h)):
        down = y - size.height + round(share * (size.height - 1))
        pen.draw.line(((x - tick, down), (x - 1, down)), fill=_SOFT)
        words = f"{value}" if share != 0.5 else f"y {value}"
        length = round(pen.fonts[_SMALL].getlength(words))
        pen.draw.text((x - tick - 2 - length, down - 7), words, fill=_SOFT, font=pen.fonts[_SMALL])


def _draw_bar(pen: _Pen, x: int, y: int, heat: Heat, size: _Size) -> None:
    """A bar of the colours, with the values of low, high and of the level, where there is one."""
    bar = colour(np.linspace(0.0, 1.0, size.width))[None]
    pen.put(x, y, bar, _Size(size.width, _BAR))
    scale: MapScale = heat.scale
    font, below = pen.fonts[_SMALL], y + _BAR + 1
    pen.draw.text((x, below), number(scale.low), fill=_SOFT, font=font)
    level, high = (float(p) for p in scale.position(np.array([scale.level, scale.high])))
    told = number(scale.high)
    wide = round(font.getlength(told))
    right = x + min(size.width - wide, round(high * size.width - wide / 2))
    pen.draw.text((right, below), told, fill=_SOFT, font=font)
    if heat.has_level:
        across = x + round(level * size.width)
        pen.draw.line(((across, y - 3), (across, y + _BAR + 2)), fill=_INK, width=2)
        second = below + 2 * (_SMALL + 3)
        pen.write(
            x, second, f"| level of normals {number(scale.level)}", room=size.width, size=_SMALL
        )
    words = below + _SMALL + 3
    pen.write(x, words, heat.words, room=size.width, colour=_SOFT, size=_SMALL)
