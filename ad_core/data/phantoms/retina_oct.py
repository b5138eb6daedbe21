"""Phantom B-scans of a retina, as optical coherence tomography shows it.

Procedural pictures for trying and testing the programs. They hold no clinical data, and
results on them say nothing about patients. Anatomy and its source: `retina_anatomy`.
"""

import numpy as np
from jaxtyping import Bool, Float

from ad_core.data.formats.resizing import reduce_area
from ad_core.data.phantoms import canvas
from ad_core.data.phantoms.canvas import stream
from ad_core.data.phantoms.retina_anatomy import (
    EXPOSURE,
    INDEX,
    LAYERS,
    LESION,
    Retina,
    anatomy,
    borders,
)
from ad_core.data.phantoms.retina_lesions import DEFECTS

VITREOUS = 0.02  # brightness; the RPE has 1
CHOROID = 0.56
SCLERA = 0.40


def draw(
    seed: tuple[int, ...], scan: int, *, size: int, defect: str | None
) -> tuple[Float[np.ndarray, "size size 1"], Bool[np.ndarray, "size size"]]:
    """One B-scan in [-1, 1] and the pixels that its lesion occupies.

    `seed` is the patient, who keeps the anatomy over all `scan`s. Without `defect` the same
    scan is drawn healthy, with the same speckle. A lesion changes only columns that it
    touches: there it may lift the layers above it, and dim those behind and below it.

    Args:
        seed: non-negative integers. scan: non-negative. defect: None or one of DEFECTS.
    """
    side = canvas.canvas_side(size)
    retina = anatomy(seed, scan, side)
    shot = stream(EXPOSURE, seed, scan)
    if defect is None:
        signal, mask = paint(retina, shot), np.zeros((side, side), bool)
    else:
        lesion = DEFECTS[defect](retina, stream(LESION, seed, scan))
        signal = paint(lesion.retina, shot)
        signal += lesion.cover * (lesion.level - signal)
        mask = lesion.mask
    picture = np.clip(_expose(signal, shot), 0, 1)
    return canvas.to_levels(reduce_area(picture, size)), canvas.reduce_mask(mask, size)


def paint(retina: Retina, shot: np.random.Generator) -> Float[np.ndarray, "n n"]:
    """Reflectivity before speckle: vitreous 0, RPE 1."""
    side = len(retina.base)
    y = canvas.centres(side)[:, None]
    edges = borders(retina)
    signal = np.full((side, side), VITREOUS, np.float32)
    above = np.full(side, VITREOUS, np.float32)
    below = np.full(side, CHOROID, np.float32)
    softness = [*(layer.softness for layer in LAYERS), 0.006]
    for edge, soft, level in zip(edges, softness, [*retina.brightness, below], strict=True):
        step, above = level - above, level
        start = max(0, int((edge.min() - soft) * side))
        end = max(0, int((edge.max() + soft) * side) + 2)
        rows = slice(start, end)
        signal[rows] += step * canvas.ramp(y[rows] - edge, soft)
        signal[end:] += step
    _add_hyaloid(signal, retina.base, edges[0], shot)
    signal *= _texture(y - retina.base, retina.choroid, shot)
    _add_vessels(signal, retina, edges)
    signal *= 1 - (1 - retina.shadow) * canvas.ramp(y - retina.base, 0.02)
    return signal


def _texture(depth: np.ndarray, choroid: np.ndarray, shot: np.random.Generator) -> np.ndarray:
    """Fibres within the retina; below Bruch's membrane (`depth` 0) the choroid."""
    side = depth.shape[0]
    fibres = canvas.enlarge(canvas.smooth_noise(shot, (128, 128), (0.7, 4.0)), side)
    small = canvas.enlarge(canvas.smooth_noise(shot, (128, 128), (1.3, 2.2)), side)
    large = canvas.enlarge(canvas.smooth_noise(shot, (64, 64), (1.4, 2.3)), side)
    texture = 1 + np.float32(0.07) * fibres
    below = np.flatnonzero((depth > 0).any(axis=1))[0]
    within = canvas.ramp(depth[below:] - np.float32(0.014), 0.012)
    texture[below:] += within * (_choroid(depth[below:], choroid, small, large) - texture[below:])
    return texture


def _choroid(
    depth: np.ndarray, choroid: np.ndarray, small: np.ndarray, large: np.ndarray
) -> np.ndarray:
    """Dark vessels, growing downwards, between brighter stroma; even sclera; decay with depth."""
    side = depth.shape[1]
    row, column = (np.maximum(depth, 0) * side).astype(int), np.arange(side)[None, :]
    grow = np.clip(depth / choroid, 0, 1.2)
    # The texture follows the curved base.
    lumen = canvas.ramp(0.3 + small[row, column] * (1 - grow) + large[row, column] * grow, 1.3)
    beyond = canvas.ramp(depth - choroid, 0.03)
    stroma = 1.06 - 0.48 * (1 - lumen) * (1 - beyond)
    decay = np.exp(-np.maximum(depth, 0) * np.float32(4.5))
    return decay * (stroma + beyond * (SCLERA / CHOROID - stroma))


def _add_hyaloid(
    signal: np.ndarray, base: np.ndarray, ilm: np.ndarray, shot: np.random.Generator
) -> None:
    """Adds the detached vitreous' skin to every third scan: a faint line above the retina."""
    side = len(ilm)
    x = canvas.centres(side)
    gap = shot.uniform(0.01, 0.07) * (1 + 0.6 * canvas.wave(shot, x, (0.7, 1.6)))
    faint = shot.uniform(0.06, 0.2) if shot.random() < 0.35 else 0.0
    line = base - 0.29 - gap
    distance = canvas.centres(side)[:, None] - np.minimum(line, ilm - 0.004)
    signal += np.float32(faint) * canvas.ramp(0.004 - np.abs(distance), 0.006)


def _add_vessels(signal: np.ndarray, retina: Retina, edges: np.ndarray) -> None:
    """A bright spot in the ganglion cell layer, and its shadow on all that lies behind."""
    side = len(retina.base)
    grid = canvas.centres(side)
    for x, radius, darkness in retina.vessels.tolist():
        near = canvas.columns(x, 4 * radius, side)
        column = grid[near]
        if not column.size:
            continue
        profile = np.exp(-(((column - x) / radius) ** 2) / 2)
        centre = 0.5 * (edges[INDEX["gcl"], near] + edges[INDEX["ipl"], near])
        depth = grid[:, None] - centre
        signal[:, near] *= 1 - darkness * profile * canvas.ramp(depth - radius, 2 * radius)
        spot = np.exp(-((depth / (1.2 * radius)) ** 2) / 2) * profile
        signal[:, near] += np.float32(0.3) * spot


def _expose(signal: np.ndarray, shot: np.random.Generator) -> np.ndarray:
    """Speckle, uneven light, the scanner's noise floor, and the display's contrast."""
    side = signal.shape[0]
    grain = side / canvas.FINE
    fine = canvas.smooth_noise(shot, (side, side), (0.75 * grain, 1.15 * grain))
    coarse = canvas.enlarge(canvas.smooth_noise(shot, (128, 128), (0.7, 1.1)), side)
    floor = np.abs(canvas.smooth_noise(shot, (side, side), (0.5 * grain, 0.8 * grain)))
    strength = shot.uniform(0.14, 0.24)
    light = 1 + 0.18 * canvas.wave(shot, canvas.centres(side), (0.5, 1.1, 2.3))
    seen = signal * np.exp(np.float32(strength) * (fine + np.float32(0.35) * coarse)) * light
    seen += np.float32(shot.uniform(0.015, 0.05)) * floor
    gain, gamma = shot.uniform(0.76, 1.0), shot.uniform(0.72, 0.95)
    return np.float32(gain) * np.maximum(seen, 0) ** np.float32(gamma)
