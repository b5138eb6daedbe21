"""Phantom sinograms of functional PET: what a ring of detectors counts while a brain takes up FDG.

Procedural pictures for trying and testing the programs. They hold no clinical data, and
results on them say nothing about patients. A row is a view (0 to 180 degrees), a column a
radial position. Left out: attenuation, scatter, randoms, decay and the scanner's blur. Brain
and its source: `fpet_brain`.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ad_core.data.phantoms import canvas
from ad_core.data.phantoms.fpet_brain import CLOCK, NOISE, RESPONSE, WHOLE, activity, anatomy
from ad_core.data.phantoms.radon import project

DEFECTS = ("activation",)
FRAMES = (25.0, 40.0)  # minutes of the infusion at which frames are taken, within STIMULATION
REFERENCE = 30.0  # minute at which an ordinary subject at rest gives `dose` counts
UPTAKE = 0.06  # standard deviation of the logarithm of what subjects take up as a whole


class Expected(NamedTuple):
    """Mean counts of each bin: at rest, and what activation adds (0 where it adds nothing).

    full: the counts shown white. It depends on dose and time alone: what a scanner knows.
    """

    rest: Float[np.ndarray, "views bins"]
    added: Float[np.ndarray, "views bins"]
    full: float


def draw(
    seed: tuple[int, ...], scan: int, *, size: int, defect: str | None, dose: float
) -> tuple[Float[np.ndarray, "size size 1"], Bool[np.ndarray, "size size"]]:
    """One sinogram in [-1, 1], linear in counts, and the bins that the activation reaches.

    `seed` is the subject, who keeps the anatomy over all `scan`s (frames). Counts are Poisson. What
    activation adds is counted apart and added, so that the same frame at rest, with the same
    noise, is `defect` None, and differs within the mask only.

    Args:
        seed: non-negative integers. scan: non-negative. defect: None or one of DEFECTS.
        dose: expected counts of a sinogram at rest after 30 minutes, of a subject of ordinary
            uptake; above 0.
    """
    mean = expected(seed, scan, size=size, dose=dose)
    counts = canvas.stream(NOISE, seed, scan).poisson(mean.rest)
    mask = np.zeros((size, size), bool)
    if defect is not None:
        counts = counts + canvas.stream(RESPONSE, seed, scan).poisson(mean.added)
        mask = mean.added > 0
    shown = np.clip(counts * (2 / mean.full) - 1, -1, 1)
    return shown.astype(np.float32)[:, :, None], mask


def expected(seed: tuple[int, ...], scan: int, *, size: int, dose: float) -> Expected:
    """Expectation from which the counts of a frame are drawn; the ideal observer knows it."""
    rest, added, minute = _projected(seed, scan, size)
    ordinary = dose * minute / REFERENCE
    uptake = np.exp(canvas.stream(WHOLE, seed).normal(0, UPTAKE))
    scale = ordinary * uptake / rest.sum()
    return Expected(rest * scale, added * scale, _white(ordinary / size**2))


@lru_cache(maxsize=32)  # image, mask and twin of a frame are asked for in turn, and other doses
def _projected(
    seed: tuple[int, ...], scan: int, size: int
) -> tuple[Float[np.ndarray, "size size"], Float[np.ndarray, "size size"], float]:
    """Line sums of the activity at rest and of what stimulation adds, and the frame's minute."""
    minute = float(canvas.stream(CLOCK, seed, scan).uniform(*FRAMES))
    brain = anatomy(seed, scan, canvas.canvas_side(size))
    rest, added = (
        project(part, views=size, bins=size) for part in activity(brain, minute, stimulated=True)
    )
    return rest, added, minute


def _white(mean: float) -> float:
    """Counts that hardly any bin exceeds, where an ordinary subject's bins hold `mean`."""
    peak = 3.5 * mean
    return float(peak + 4 * np.sqrt(peak))
