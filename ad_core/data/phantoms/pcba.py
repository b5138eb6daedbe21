"""Phantom photographs of populated circuit boards, whole or with a fault of assembly.

Procedural pictures for trying and testing the programs; no factory made them. Families, parts
and faults: `board_layout`.
"""

import numpy as np
from jaxtyping import Bool, Float

from ad_core.data.formats.resizing import reduce_area
from ad_core.data.phantoms import canvas
from ad_core.data.phantoms.board_layout import (
    BODIES,
    DEFECT,
    DEFECTS,
    SHOT,
    Board,
    Part,
    board,
    family,
    pads,
)

__all__ = ["DEFECTS", "draw", "family"]

SOFT = 0.004  # blur of an edge
COPPER = np.array([0.13, 0.45, 0.27], np.float32)  # traces shine through the lacquer
TIN = np.array([0.74, 0.75, 0.76], np.float32)
PRINT = np.array([0.86, 0.88, 0.84], np.float32)


def draw(
    seed: tuple[int, ...], scan: int, *, size: int, defect: str | None
) -> tuple[Float[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """One shot of a board in [-1, 1], and the pixels in which a fault changes it.

    `seed` is the board, whose family and placement keep over all `scan`s. Without `defect` the same
    shot is drawn without the fault, with the same grain. The mask of a component that
    moved holds where it lies and where it should lie.

    Args:
        seed: non-negative integers. scan: non-negative. defect: None or one of DEFECTS.
    """
    whole = board(seed)
    image = _expose(whole, seed, scan, size)
    if defect is None:
        return image, np.zeros((size, size), bool)
    faulty = DEFECTS[defect](whole, canvas.stream(DEFECT, seed, scan))
    harmed = _expose(faulty, seed, scan, size)
    return harmed, (harmed != image).any(axis=-1)


class Easel:
    """A picture that shapes are laid onto, in the board's coordinates."""

    def __init__(self, side: int, shift: np.ndarray, ground: np.ndarray):
        self.picture = np.empty((side, side, 3), np.float32)
        self.picture[:] = ground
        self._side, self._shift = side, shift
        self._grid = canvas.centres(side)

    def lay(
        self,
        centre: tuple[float, float],
        half: tuple[float, float],
        colour: np.ndarray,
        *,
        angle: float = 0.0,
        share: float = 1.0,
        round_: bool = False,
        line: float = 0.0,
    ) -> None:
        """A rectangle or ellipse of half extents `half`; its outline alone where `line` is set.

        share: how much of what lies below is hidden.
        """
        x, y = centre[0] + self._shift[0], centre[1] + self._shift[1]
        cos, sin = float(np.cos(angle)), float(np.sin(angle))
        wide, high = (abs(cos) * half[k] + abs(sin) * half[1 - k] + 2 * SOFT + line for k in (0, 1))
        columns, rows = canvas.columns(x, wide, self._side), canvas.columns(y, high, self._side)
        across, down = self._grid[None, columns] - x, self._grid[rows, None] - y
        u = np.abs(cos * across + sin * down)
        v = np.abs(cos * down - sin * across)
        if round_:
            inside = (1 - np.hypot(u / half[0], v / half[1])) * min(half)
        else:
            inside = np.minimum(half[0] - u, half[1] - v)
        if line:
            inside = line / 2 - np.abs(inside)
        cover = np.float32(share) * canvas.ramp(inside.astype(np.float32), SOFT)
        below = self.picture[rows, columns]
        below += cover[:, :, None] * (colour - below)

    def stroke(self, line: np.ndarray, width: float, colour: np.ndarray) -> None:
        """A polyline [k, 2] of x, y, with square ends."""
        for start, end in zip(line[:-1], line[1:], strict=True):
            step = end - start
            middle = (start + end) / 2
            half = (float(np.hypot(*step)) / 2 + width / 3, width / 2)
            angle = float(np.arctan2(step[1], step[0]))
            self.lay((middle[0], middle[1]), half, colour, angle=angle)


def _expose(wanted: Board, seed: tuple[int, ...], scan: int, size: int) -> np.ndarray:
    """The board before the camera: a slight shift, uneven light, grain, stored levels."""
    shot = canvas.stream(SHOT, seed, scan)
    side = canvas.canvas_side(size)
    easel = Easel(side, shot.uniform(-0.006, 0.006, 2), wanted.green)
    lacquer = canvas.enlarge(canvas.smooth_noise(shot, (128, 128), (0.8, 0.8)), side)
    easel.picture *= (1 + np.float32(0.03) * lacquer)[:, :, None]
    _paint(easel, wanted)
    x = canvas.centres(side)
    light = shot.uniform(0.98, 1.18) + 0.08 * canvas.wave(shot, x, (0.4, 0.8))[None, :]
    light = light + 0.08 * canvas.wave(shot, x, (0.4, 0.8))[:, None]
    grain = np.float32(0.008) * shot.standard_normal((size, size, 3), dtype=np.float32)
    seen = easel.picture * light[:, :, None].astype(np.float32)
    small = [reduce_area(np.ascontiguousarray(seen[:, :, c]), size) for c in range(3)]
    levels = [canvas.to_levels(plane + grain[:, :, c]) for c, plane in enumerate(small)]
    return np.concatenate(levels, axis=-1)


def _paint(easel: Easel, wanted: Board) -> None:
    for line in wanted.traces:
        easel.stroke(line, 0.007, COPPER * (wanted.green[1] / 0.34))
    for part in wanted.design:
        width, height, pins, _ = BODIES[part.kind]
        room = (width + 0.012 + 0.35 * width * (pins == 1), height + 0.012 + 0.03 * (pins > 1))
        easel.lay((part.x, part.y), room, PRINT, angle=part.angle, share=0.75, line=0.005)
        for x, y, half_x, half_y in pads(part).tolist():
            easel.lay((x, y), (half_x, half_y), TIN * wanted.gloss * 0.86, angle=part.angle)
    for part in wanted.parts:
        _place(easel, part, wanted.gloss)
    for row in wanted.bridges:
        blob = 1.4 * float(row[:, 2:].min())
        easel.stroke(row[:, :2], 2 * blob, TIN * wanted.gloss)
        easel.stroke(row[:, :2] - 0.3 * blob, 0.5 * blob, TIN * wanted.gloss * 1.25)


def _place(easel: Easel, part: Part, gloss: float) -> None:
    """Shadow, leads, body and print of one component."""
    width, height, pins, colour = BODIES[part.kind]
    tint = np.array(colour, np.float32) * np.float32(part.tone)
    tin = TIN * np.float32(gloss)
    at, turn = (part.x, part.y), part.angle
    shade = (part.x + 0.006, part.y + 0.008)
    if part.kind == "electrolytic":
        easel.lay(shade, (width, height), np.zeros(3, np.float32), share=0.45, round_=True)
        easel.lay(at, (width, height), tint, round_=True)
        easel.lay(at, (0.86 * width, 0.86 * height), tint * 1.12, round_=True)
        stripe = _beside(part, -0.58 * width, 0.0)
        easel.lay(stripe, (0.24 * width, 0.5 * height), np.full(3, 0.12, np.float32), angle=turn)
        return
    easel.lay(shade, (width, height), np.zeros(3, np.float32), angle=turn, share=0.45)
    if pins > 1:
        for x, y, half_x, _ in pads(part).tolist():
            easel.lay((x, y), (0.75 * half_x, 0.016), tin * 1.1, angle=turn)
    easel.lay(at, (width, height), tint, angle=turn)
    if pins == 1:
        for end in (-0.8, 0.8):
            easel.lay(_beside(part, end * width, 0.0), (0.2 * width, height), tin, angle=turn)
    _print(easel, part, width, height)


def _print(easel: Easel, part: Part, width: float, height: float) -> None:
    """Prints the marks of a component: a dot at pin 1 and two lines, a value, or a band."""
    pale, turn = PRINT * 0.85, part.angle
    if part.kind in ("chip", "driver"):
        dot = _beside(part, -0.8 * width, 0.55 * height)
        easel.lay(dot, (0.011, 0.011), pale, round_=True)
        for k, y in enumerate((-0.3, 0.15)):
            reach = (0.34 + 0.09 * ((part.mark + k) % 3)) * width
            line = _beside(part, 0.1 * width, y * height)
            easel.lay(line, (reach, 0.007), pale, angle=turn, share=0.7)
    elif part.kind == "resistor":
        for k in range(2 + part.mark % 2):
            figure = _beside(part, (k - 0.8) * 0.4 * width, 0.0)
            easel.lay(figure, (0.1 * width, 0.5 * height), pale, angle=turn, share=0.8)
    elif part.kind == "diode":
        band = _beside(part, -0.35 * width, 0.0)
        easel.lay(band, (0.14 * width, height), np.full(3, 0.1, np.float32), angle=turn)


def _beside(part: Part, along: float, across: float) -> tuple[float, float]:
    """The place `along` the component's length and `across` it from its centre."""
    cos, sin = float(np.cos(part.angle)), float(np.sin(part.angle))
    return part.x + along * cos - across * sin, part.y + along * sin + across * cos
