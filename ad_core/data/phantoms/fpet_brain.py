"""A phantom brain's glucose uptake, at rest and while it looks: one slice through visual cortex.

Under a constant infusion of FDG the blood soon holds a constant level, and tissue traps what it
takes up: activity grows linearly, with a slope for each tissue. Stimulation raises the slope of
visual cortex for as long as it lasts. Grey matter takes up about four times as much as white
matter; 51 % is what visual stimulation adds by Fox et al., "Nonoxidative glucose consumption
during focal physiologic neural activity", Science 241 (1988). Lengths are shares of the field
of view, y points to the back of the head.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ad_core.data.phantoms import canvas

GREY, WHITE, LIQUOR, SKULL, SCALP = 1.0, 0.27, 0.05, 0.08, 0.22  # slopes, grey matter 1
RISE = (0.4, 0.6)  # of the slope at the response's centre, drawn for each subject
STIMULATION = (5.0, 40.0)  # minutes of the infusion; before and after it the subject rests
BRAIN = 0.86  # radius of the brain, the head's being 1
# Streams of random numbers: what a subject keeps, and what each frame has anew.
SUBJECT, WHOLE, FRAME, CLOCK, NOISE, RESPONSE = 1, 2, 3, 4, 5, 6


class Brain(NamedTuple):
    """Uptake of a brain, pixel by pixel.

    slope: activity gained per minute at rest, grey matter about 1.
    rise: the share by which stimulation raises it; 0 but in visual cortex.
    """

    slope: Float[np.ndarray, "n n"]
    rise: Float[np.ndarray, "n n"]


def activity(
    brain: Brain, minute: float, *, stimulated: bool
) -> tuple[Float[np.ndarray, "n n"], Float[np.ndarray, "n n"]]:
    """Activity after `minute` minutes of infusion: the part of rest, the part of stimulation.

    A subject who is not `stimulated` rests throughout. Activity that was taken up stays.
    """
    start, end = STIMULATION
    looked = np.clip(minute - start, 0, end - start) if stimulated else 0.0
    return brain.slope * np.float32(minute), brain.slope * brain.rise * np.float32(looked)


def anatomy(seed: tuple[int, ...], frame: int, side: int) -> Brain:
    """The brain of subject `seed`, as the head lies in `frame`."""
    subject = canvas.stream(SUBJECT, seed)
    across, down = _head(subject, canvas.stream(FRAME, seed, frame), side)
    radius = np.sqrt(across**2 + down**2)
    cortex = _cortex(subject, across, down, radius)
    slope = WHITE + (GREY - WHITE) * cortex
    for x, y, width, height, level in _nuclei(subject):
        inside = 1 - np.hypot((np.abs(across) - x) / width, (down - y) / height)
        slope += canvas.ramp(inside, 0.3) * (level - slope)
    slope = _furrow(subject, slope, across, down)
    brain = canvas.ramp(np.float32(BRAIN) - radius, 0.02)
    around = np.select([radius < BRAIN + 0.02, radius < 0.94, radius < 1], [LIQUOR, SKULL, SCALP])
    slope = brain * slope + (1 - brain) * around.astype(np.float32)
    return Brain(slope.astype(np.float32), _rise(subject, across, down, cortex * brain))


def _head(
    subject: np.random.Generator, frame: np.random.Generator, side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in which the head is the unit circle; the frame moves it a little."""
    width, length = subject.uniform(0.335, 0.365), subject.uniform(0.415, 0.445)
    turn = subject.normal(0, 0.02) + frame.normal(0, 0.008)
    shift = subject.normal(0, 0.006, 2) + frame.normal(0, 0.002, 2)
    x = canvas.centres(side)[None, :] - np.float32(0.5 + shift[0])
    y = canvas.centres(side)[:, None] - np.float32(0.5 + shift[1])
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    across, down = cos * x + sin * y, cos * y - sin * x
    down = down * np.float32(1 / length)
    broader = 1 + np.float32(subject.uniform(0.03, 0.10)) * down  # towards the back
    return across * np.float32(1 / width) / broader, down


def _cortex(
    subject: np.random.Generator, across: np.ndarray, down: np.ndarray, radius: np.ndarray
) -> np.ndarray:
    """Share of grey matter: a folded ribbon below the surface and on both sides of the midline."""
    side = len(radius)
    folds = canvas.enlarge(canvas.smooth_noise(subject, (64, 64), (1.2, 1.2)), side)
    midline = np.abs(across) + 0.6 * np.maximum(0.4 - np.abs(down + 0.02), 0)
    depth = np.minimum(BRAIN - radius, midline)
    return canvas.ramp(0.10 + 0.06 * folds - depth, 0.05)


def _nuclei(subject: np.random.Generator) -> list[tuple[float, ...]]:
    """Centre, half axes and slope of thalamus, caudate, putamen and ventricles, on both sides."""
    places = [
        (0.13, 0.10, 0.12, 0.14, 0.95),
        (0.15, -0.24, 0.08, 0.11, 1.0),
        (0.32, -0.12, 0.08, 0.20, 1.05),
        (0.07, -0.22, 0.05, 0.15, LIQUOR),
        (0.17, 0.30, 0.06, 0.16, LIQUOR),
    ]
    vary = subject.uniform(0.92, 1.08, (len(places), 4))
    return [(*(np.asarray(p[:4]) * v).tolist(), p[4]) for p, v in zip(places, vary, strict=True)]


def _furrow(
    subject: np.random.Generator, slope: np.ndarray, across: np.ndarray, down: np.ndarray
) -> np.ndarray:
    """The cleft between the hemispheres, front and back, filled with liquor."""
    width = subject.uniform(0.016, 0.028)
    cleft = canvas.ramp(np.minimum(width - np.abs(across), np.abs(down) - 0.42), 0.03)
    return slope + 0.9 * cleft * (LIQUOR - slope)


def _rise(
    subject: np.random.Generator, across: np.ndarray, down: np.ndarray, grey: np.ndarray
) -> np.ndarray:
    """Grey matter around the back pole, on both sides of the midline; exactly 0 elsewhere."""
    height = subject.uniform(*RISE)
    width, length = subject.uniform(0.36, 0.46), subject.uniform(0.32, 0.40)
    x, y = across / np.float32(width), (down - np.float32(0.66)) / np.float32(length)
    return (height * np.sqrt(np.clip(1 - x**2 - y**2, 0, 1)) * grey).astype(np.float32)
