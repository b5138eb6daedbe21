"""Phantom circuit boards: the families of parts, and what one board of a family carries.

A family is a layout: places, kinds and joints of its components are fixed, as a design file
fixes them. Boards of a family differ as made boards do: by placement within the tolerance,
tone, solder and print. Lengths are shares of the image's side.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from ad_core.data.phantoms import canvas

# Streams of random numbers: a family's design, a board, each of its shots, what is wrong.
DESIGN, BOARD, SHOT, DEFECT = 1, 2, 3, 4
FAMILIES = ("controller", "power", "sensor")
GRID = 4  # cells of a layout along a side; a component fills one cell or two
TOLERANCE = 0.004  # standard deviation of a placement; it stays within twice as much

# kind: half width and half height of body, then pins on each long side, then colour
BODIES: dict[str, tuple[float, float, int, tuple[float, float, float]]] = {
    "chip": (0.150, 0.074, 6, (0.13, 0.13, 0.14)),
    "driver": (0.078, 0.066, 3, (0.16, 0.16, 0.18)),
    "resistor": (0.064, 0.034, 1, (0.18, 0.17, 0.17)),
    "capacitor": (0.064, 0.040, 1, (0.66, 0.54, 0.38)),
    "diode": (0.066, 0.034, 1, (0.62, 0.24, 0.16)),
    "electrolytic": (0.086, 0.086, 1, (0.74, 0.75, 0.77)),
}
# How often each family uses each kind for its single cells.
MIXTURES = {
    "controller": (0.0, 0.15, 0.45, 0.35, 0.05, 0.0),
    "power": (0.0, 0.2, 0.1, 0.15, 0.2, 0.35),
    "sensor": (0.0, 0.1, 0.3, 0.35, 0.25, 0.0),
}
LARGE = {"controller": 3, "power": 1, "sensor": 2}  # chips over two cells
EMPTY = {"controller": 0, "power": 2, "sensor": 3}  # cells without a component


class Part(NamedTuple):
    """A component: centre, angle (radians; 0: pins above and below) and its look.

    pins: on each of two sides. tone: factor on its colour. mark: which print it bears.
    """

    kind: str
    x: float
    y: float
    angle: float
    tone: float
    mark: int


class Board(NamedTuple):
    """One board of a family.

    parts: in drawing order. pads are where the design has them, whatever became of a part.

    green, gloss: tones of the lacquer and of the solder. traces: polylines of x, y.
    bridges: pairs of neighbouring pads that solder joins.
    """

    design: tuple[Part, ...]
    parts: tuple[Part, ...]
    traces: tuple[np.ndarray, ...]
    green: np.ndarray
    gloss: float
    bridges: tuple[np.ndarray, ...] = ()


def family(seed: tuple[int, ...]) -> str:
    """The family of board `seed`: boards take the families in turns."""
    return FAMILIES[seed[-1] % len(FAMILIES)]


@lru_cache
def design(name: str) -> tuple[Part, ...]:
    """The components of a family, as drawn; the same in every board and for every seed."""
    rng = canvas.stream(DESIGN, (FAMILIES.index(name),))
    free = np.ones((GRID, GRID), bool)
    kinds = list(BODIES)
    parts = []
    for _ in range(LARGE[name]):
        row, column, upright = _room(rng, free)
        centre = ((column + (1 - upright) * 0.5 + 0.5) / GRID, (row + upright * 0.5 + 0.5) / GRID)
        parts.append(Part("chip", *centre, upright * np.pi / 2, 1.0, int(rng.integers(4))))
    cells = np.argwhere(free)
    for row, column in cells[np.sort(rng.permutation(len(cells))[EMPTY[name] :])]:
        kind = kinds[rng.choice(len(kinds), p=MIXTURES[name])]
        angle = float(rng.integers(2)) * np.pi / 2
        centre = ((column + 0.5) / GRID, (row + 0.5) / GRID)
        parts.append(Part(kind, *centre, angle, 1.0, int(rng.integers(4))))
    return tuple(parts)


def _room(rng: np.random.Generator, free: np.ndarray) -> tuple[int, int, int]:
    """Takes two neighbouring free cells: the upper or left one, and 1 if one is above the other."""
    while True:
        row, column, upright = (int(n) for n in rng.integers((GRID, GRID, 2)))
        last = row + upright, column + 1 - upright
        if max(last) < GRID and free[row, column] and free[last]:
            free[row, column] = free[last] = False
            return row, column, upright


def pads(part: Part) -> np.ndarray:
    """Centre x, y and half extents across and along the row of pins, of each pad [p, 4]."""
    width, height, pins, _ = BODIES[part.kind]
    if pins == 1:  # one at each end
        ends = np.array([[-width, 0.0], [width, 0.0]])
        half = np.array([0.38, 0.95 if height < width else 0.38]) * [width, height]
    else:
        x = (np.arange(pins) - (pins - 1) / 2) * (2 * width / pins)
        ends = np.array([[p, s * (height + 0.010)] for s in (-1, 1) for p in x])
        half = np.array([0.27 * 2 * width / pins, 0.024])
    cos, sin = np.cos(part.angle), np.sin(part.angle)
    turned = ends @ np.array([[cos, sin], [-sin, cos]]) + [part.x, part.y]
    return np.concatenate([turned, np.tile(half, (len(ends), 1))], axis=1)


def board(seed: tuple[int, ...]) -> Board:
    """Board `seed` of its family, without a fault."""
    rng = canvas.stream(BOARD, seed)
    name = family(seed)
    plan = design(name)
    parts = []
    for part in plan:
        dx, dy = np.clip(rng.normal(0, TOLERANCE, 2), -2 * TOLERANCE, 2 * TOLERANCE)
        turn = np.clip(rng.normal(0, 0.02), -0.05, 0.05)
        tone = rng.normal(1, 0.06)
        parts.append(
            part._replace(x=part.x + dx, y=part.y + dy, angle=part.angle + turn, tone=float(tone))
        )
    green = np.array([0.07, 0.34, 0.20]) * rng.uniform(0.88, 1.12)
    return Board(plan, tuple(parts), _traces(name), green.astype(np.float32), rng.uniform(0.9, 1.1))


@lru_cache
def _traces(name: str) -> tuple[np.ndarray, ...]:
    """Copper from pad to pad, in level, upright and slanted runs; part of the design."""
    rng = canvas.stream(DESIGN, (FAMILIES.index(name), 1))
    points = np.concatenate([pads(part)[:, :2] for part in design(name)])
    lines = []
    for start in points[::2]:
        near = np.argsort(np.hypot(*(points - start).T))
        end = points[near[rng.integers(4, min(16, len(near)))]]
        dx, dy = end - start
        short = min(abs(dx), abs(dy))
        corner = start + np.sign([dx, dy]) * short
        lines.append(np.array([start, corner, end]))
    return tuple(lines)


def missing(whole: Board, rng: np.random.Generator) -> Board:
    """One component is not there; its pads lie bare."""
    k = rng.integers(len(whole.parts))
    return whole._replace(parts=whole.parts[:k] + whole.parts[k + 1 :])


def rotated(whole: Board, rng: np.random.Generator) -> Board:
    """One component sits askew, by 20 to 90 degrees."""
    k = int(rng.integers(len(whole.parts)))
    turn = rng.choice((-1, 1)) * rng.uniform(np.pi / 9, np.pi / 2)
    return _swap(whole, k, angle=whole.parts[k].angle + float(turn))


def shifted(whole: Board, rng: np.random.Generator) -> Board:
    """One component lies beside its pads, by 0.045 to 0.08 of the side."""
    k = int(rng.integers(len(whole.parts)))
    way, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.045, 0.08)
    part = whole.parts[k]
    return _swap(whole, k, x=part.x + far * float(np.cos(way)), y=part.y + far * float(np.sin(way)))


def bridge(whole: Board, rng: np.random.Generator) -> Board:
    """Solder joins two or three neighbouring pins of a component that has several in a row."""
    rows = [part for part in whole.parts if BODIES[part.kind][2] > 1]
    part = rows[rng.integers(len(rows))]
    pins = BODIES[part.kind][2]
    joined = int(rng.integers(2, min(pins, 3) + 1))
    first = int(rng.integers(2)) * pins + int(rng.integers(pins - joined + 1))
    return whole._replace(bridges=(pads(part)[first : first + joined],))


def _swap(whole: Board, k: int, **change: float) -> Board:
    part = whole.parts[k]._replace(**change)
    return whole._replace(parts=(*whole.parts[:k], part, *whole.parts[k + 1 :]))


DEFECTS = {"missing": missing, "rotated": rotated, "shifted": shifted, "solder_bridge": bridge}
