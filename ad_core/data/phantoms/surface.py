"""Phantom surfaces: a woven cloth, whole or with a scratch, a hole, a stain or a stray thread.

Procedural pictures for trying and testing the programs; no factory made them.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ad_core.data.formats.resizing import reduce_area
from ad_core.data.phantoms import canvas

# Streams of random numbers: what a cloth keeps over its shots, and what each shot has anew.
CLOTH, SHOT, EXPOSURE, DEFECT = 1, 2, 3, 4
DYES = np.array(  # of warp and weft, red, green, blue
    [
        [[0.62, 0.58, 0.50], [0.50, 0.46, 0.39]],
        [[0.40, 0.47, 0.56], [0.54, 0.60, 0.66]],
        [[0.55, 0.45, 0.38], [0.65, 0.57, 0.48]],
        [[0.44, 0.50, 0.42], [0.56, 0.61, 0.52]],
    ],
    np.float32,
)


class Cloth(NamedTuple):
    """One place on a cloth: its colour, and the factor by which a shot lights it."""

    colour: Float[np.ndarray, "n n 3"]
    light: Float[np.ndarray, "n n"]


def draw(
    seed: tuple[int, ...], scan: int, *, size: int, defect: str | None
) -> tuple[Float[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """One shot of a cloth in [-1, 1], and the pixels in which a defect changes it.

    `seed` is the cloth, which keeps its weave and dye over all `scan`s: places on it. Without
    `defect` the same shot is drawn whole, with the same grain.

    Args:
        seed: non-negative integers. scan: non-negative. defect: None or one of DEFECTS.
    """
    cloth = weave(seed, scan, canvas.canvas_side(size))
    whole = _expose(cloth.colour, cloth.light, seed, scan, size)
    if defect is None:
        return whole, np.zeros((size, size), bool)
    harmed = DEFECTS[defect](cloth.colour, canvas.stream(DEFECT, seed, scan))
    image = _expose(harmed, cloth.light, seed, scan, size)
    return image, (image != whole).any(axis=-1)


def weave(seed: tuple[int, ...], scan: int, side: int) -> Cloth:
    """A plain weave: upright and level yarns lie on top in turns, like a chessboard."""
    bolt, shot = canvas.stream(CLOTH, seed), canvas.stream(SHOT, seed, scan)
    pitch = bolt.uniform(0.060, 0.074)  # of the upright yarns, in shares of the side
    thick = pitch * bolt.uniform(0.94, 1.06)  # of the level ones
    tilt = bolt.normal(0, 0.03)
    dye = DYES[bolt.integers(len(DYES))] * np.float32(bolt.uniform(0.92, 1.08))
    x, y = canvas.centres(side)[None, :], canvas.centres(side)[:, None]
    bend = canvas.enlarge(canvas.smooth_noise(shot, (32, 32), (4.0, 4.0)), side) * np.float32(0.003)
    start = shot.uniform(0, 1, 2)
    warp = ((x + np.float32(tilt) * y + bend) / np.float32(pitch) + start[0]).astype(np.float32)
    weft = ((y - np.float32(tilt) * x + bend) / np.float32(thick) + start[1]).astype(np.float32)
    colour = _yarns(shot, warp, weft, dye)
    light = 1 + 0.10 * canvas.wave(shot, canvas.centres(side), (0.4, 0.9))[None, :]
    light = light * (1 + 0.10 * canvas.wave(shot, canvas.centres(side), (0.5, 1.1))[:, None])
    return Cloth(colour, light.astype(np.float32))


def _yarns(
    shot: np.random.Generator, warp: np.ndarray, weft: np.ndarray, dye: np.ndarray
) -> np.ndarray:
    """Round yarns that dive below each other, each of its own tone, with fibres along it."""
    over = (np.floor(warp) + np.floor(weft)) % 2 < 1  # the upright yarn lies on top
    across = np.where(over, warp, weft) % 1 - 0.5
    along = np.where(over, weft, warp) % 1 - 0.5
    dome = (1 - (1.75 * across) ** 2) * (1 - 0.9 * along**2)
    tones = shot.normal(1, 0.055, (2, 64)).astype(np.float32)
    number = np.where(over, np.floor(warp), np.floor(weft)).astype(int) % 64
    tone = np.where(over, tones[0][number], tones[1][number])
    side = len(warp)
    upright = canvas.smooth_noise(shot, (side, side), (2.5 * side / 256, 0.7 * side / 256))
    level = canvas.smooth_noise(shot, (side, side), (0.7 * side / 256, 2.5 * side / 256))
    fibre = 1 + np.float32(0.07) * np.where(over, upright, level)
    bright = (0.42 + 0.58 * np.clip(dome, 0, 1)) * tone * fibre
    return bright[:, :, None] * np.where(over[:, :, None], dye[0], dye[1])


def _mix(colour: np.ndarray, cover: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`other` laid over `colour`; where `cover` is 0 not a bit changes."""
    return colour + cover[:, :, None] * (other - colour)


def _distance_to_line(
    line: np.ndarray, side: int
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, "n n"]]:
    """Distance to a polyline [k, 2] of x, y, and how far along it (0 to 1) its foot lies."""
    x, y = canvas.centres(side)[None, :], canvas.centres(side)[:, None]
    best = np.full((side, side), 4.0, np.float32)
    along = np.zeros((side, side), np.float32)
    count = len(line) - 1
    for k, (start, end) in enumerate(zip(line[:-1], line[1:], strict=True)):
        step = end - start
        length = float(step @ step) + 1e-12
        foot = np.clip(((x - start[0]) * step[0] + (y - start[1]) * step[1]) / length, 0, 1)
        distance = np.hypot(x - start[0] - foot * step[0], y - start[1] - foot * step[1])
        nearer = distance < best
        best = np.where(nearer, distance, best)
        along = np.where(nearer, (k + foot) / count, along)
    return best.astype(np.float32), along.astype(np.float32)


def _place(rng: np.random.Generator, margin: float) -> np.ndarray:
    return rng.uniform(margin, 1 - margin, 2)


def scratch(colour: np.ndarray, rng: np.random.Generator) -> Float[np.ndarray, "n n 3"]:
    """A long, thin, nearly straight groove that tapers: torn fibres, pale beside a dark line."""
    angle, length = rng.uniform(0, np.pi), rng.uniform(0.35, 0.75)
    t = np.linspace(-0.5, 0.5, 13)
    bow = rng.uniform(-0.12, 0.12) * (0.25 - t**2)
    way = np.array([np.cos(angle), np.sin(angle)])
    line = _place(rng, 0.3) + length * (np.outer(t, way) + np.outer(bow, [-way[1], way[0]]))
    side = len(colour)
    distance, along = _distance_to_line(line, side)
    width = np.float32(rng.uniform(0.011, 0.017)) * (0.35 + 2.6 * along * (1 - along))
    ragged = canvas.enlarge(canvas.smooth_noise(rng, (128, 128), (0.8, 0.8)), side)
    width = width * (1 + 0.25 * ragged)
    pale = colour * 0.35 + np.float32(0.62)
    torn = _mix(colour, canvas.ramp(width - distance, 0.005), pale)
    dark = canvas.ramp(0.2 * width - distance, 0.004)
    return _mix(torn, dark, colour * np.float32(0.3))


def hole(colour: np.ndarray, rng: np.random.Generator) -> Float[np.ndarray, "n n 3"]:
    """A torn opening along the yarns, dark behind, with a frayed, paler rim."""
    side = len(colour)
    centre, radius = _place(rng, 0.15), rng.uniform(0.04, 0.085)
    x, y = canvas.centres(side)[None, :] - centre[0], canvas.centres(side)[:, None] - centre[1]
    stretch = rng.uniform(0.7, 1.4)
    distance = (np.abs(x / stretch) ** 2.4 + np.abs(y * stretch) ** 2.4) ** (1 / 2.4)
    fray = canvas.enlarge(canvas.smooth_noise(rng, (128, 128), (0.9, 0.9)), side)
    inside = (np.float32(radius) - distance + np.float32(0.009) * fray).astype(np.float32)
    rim = _mix(colour, 0.6 * canvas.ramp(inside + 0.014, 0.008), colour * 0.5 + np.float32(0.4))
    behind = np.full(3, 0.05, np.float32) + 0.05 * canvas.ramp(inside - 0.03, 0.05)[:, :, None]
    return _mix(rim, canvas.ramp(inside, 0.008), behind)


def stain(colour: np.ndarray, rng: np.random.Generator) -> Float[np.ndarray, "n n 3"]:
    """A liquid that soaked in: the weave shows through, with a darker margin where it dried."""
    side = len(colour)
    centre, radius = _place(rng, 0.2), rng.uniform(0.07, 0.16)
    x, y = canvas.centres(side)[None, :] - centre[0], canvas.centres(side)[:, None] - centre[1]
    spread = canvas.enlarge(canvas.smooth_noise(rng, (32, 32), (1.6, 1.6)), side)
    inside = np.float32(radius) * (1 + np.float32(0.22) * spread) - np.hypot(x, y)
    inside = inside.astype(np.float32)
    tint = np.array([[0.62, 0.50, 0.36], [0.50, 0.56, 0.70], [0.70, 0.52, 0.50]], np.float32)
    tint = tint[rng.integers(3)] * np.float32(rng.uniform(0.85, 1.1))
    margin = canvas.ramp(inside, 0.012) * (1 - 0.45 * canvas.ramp(inside - 0.02, 0.03))
    return _mix(colour, margin, colour * tint)


def thread(colour: np.ndarray, rng: np.random.Generator) -> Float[np.ndarray, "n n 3"]:
    """A loose thread that lies on the cloth in curls and throws a shadow."""
    side = len(colour)
    count = 24
    turn = np.cumsum(rng.normal(0, 0.28, count)) + rng.uniform(0, 2 * np.pi)
    turn = turn + rng.choice((-1, 1)) * rng.uniform(0.02, 0.16) * np.arange(count)
    step = rng.uniform(0.45, 0.8) / count
    line = np.cumsum(step * np.stack([np.cos(turn), np.sin(turn)], axis=1), axis=0)
    line = line - (line.min(axis=0) + line.max(axis=0)) / 2 + _place(rng, 0.35)
    radius = np.float32(rng.uniform(0.007, 0.010))
    distance, _ = _distance_to_line(line, side)
    shadow, _ = _distance_to_line(line + [0.008, 0.010], side)
    dark = _mix(colour, 0.6 * canvas.ramp(radius - shadow, 0.008), colour * np.float32(0.3))
    shade = [[0.92, 0.90, 0.86], [0.16, 0.16, 0.20], [0.72, 0.22, 0.20]]
    dye = np.array(shade, np.float32)[rng.integers(3)]
    round_ = 0.6 + 0.4 * np.sqrt(np.clip(1 - (distance / radius) ** 2, 0, 1))
    return _mix(dark, canvas.ramp(radius - distance, 0.004), round_[:, :, None] * dye)


DEFECTS: dict[str, Callable[[np.ndarray, np.random.Generator], Float[np.ndarray, "n n 3"]]] = {
    "scratch": scratch,
    "hole": hole,
    "stain": stain,
    "thread": thread,
}


def _expose(
    colour: np.ndarray, light: np.ndarray, seed: tuple[int, ...], scan: int, size: int
) -> np.ndarray:
    """Light, a sensor's grain and the levels of a stored image, at `size`."""
    shot = canvas.stream(EXPOSURE, seed, scan)
    seen = colour * (light * np.float32(shot.uniform(1.05, 1.3)))[:, :, None]
    grain = np.float32(0.012) * shot.standard_normal((size, size, 3), dtype=np.float32)
    small = [reduce_area(np.ascontiguousarray(seen[:, :, c]), size) for c in range(3)]
    levels = [canvas.to_levels(plane + grain[:, :, c]) for c, plane in enumerate(small)]
    return np.concatenate(levels, axis=-1)
