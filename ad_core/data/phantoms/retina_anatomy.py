"""The anatomy of a phantom retina: its layers, their course and brightness, by column.

The order and relative brightness of the layers follow the nomenclature of Staurenghi et al.,
"Proposed lexicon for anatomic landmarks in normal posterior segment spectral-domain optical
coherence tomography: the IN•OCT consensus", Ophthalmology 121 (2014); thicknesses are of the
usual order (retina 0.3 mm, choroid 0.2 mm). Lengths are shares of the image's side, y points
down, a larger y is deeper.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ad_core.data.phantoms import canvas
from ad_core.data.phantoms.canvas import stream


class Layer(NamedTuple):
    """Layer of the retina.

    thickness: away from the fovea. at_pit: its factor in the pit's centre.
    brightness: of the tissue, RPE 1. softness: blur of its upper border.
    """

    name: str
    thickness: float
    at_pit: float
    brightness: float
    softness: float


# From the vitreous to Bruch's membrane; the two spaces are empty unless a lesion fills them.
LAYERS = (
    Layer("nfl", 0.026, 0.10, 0.80, 0.006),
    Layer("gcl", 0.036, 0.06, 0.40, 0.010),
    Layer("ipl", 0.034, 0.10, 0.48, 0.010),
    Layer("inl", 0.032, 0.12, 0.25, 0.008),
    Layer("opl", 0.022, 0.35, 0.50, 0.008),
    Layer("onl", 0.066, 1.45, 0.19, 0.012),
    Layer("elm", 0.006, 1.00, 0.40, 0.005),
    Layer("myoid", 0.013, 1.10, 0.24, 0.005),
    Layer("ellipsoid", 0.014, 1.00, 0.82, 0.006),
    Layer("outer_segments", 0.018, 1.25, 0.36, 0.007),
    Layer("subretinal_space", 0.0, 1.0, 0.05, 0.004),
    Layer("rpe", 0.020, 1.00, 1.00, 0.006),
    Layer("sub_rpe_space", 0.0, 1.0, 0.45, 0.006),
    Layer("bruch", 0.006, 1.00, 0.72, 0.005),
)
INDEX = {layer.name: k for k, layer in enumerate(LAYERS)}
# Streams of random numbers: what keeps over a patient's scans, and what each scan has anew.
PATIENT, SLICE, EXPOSURE, LESION = 1, 2, 3, 4


class Retina(NamedTuple):
    """One scan's anatomy, by column.

    base: lower border of Bruch's membrane. thickness, brightness: of each layer.
    choroid: its thickness. shadow: factor on the signal below `base`.
    vessels: x, radius and darkness (share of the signal lost behind it) of each.
    pit: x of the fovea.
    """

    base: Float[np.ndarray, " n"]
    thickness: Float[np.ndarray, "layers n"]
    brightness: Float[np.ndarray, "layers n"]
    choroid: Float[np.ndarray, " n"]
    shadow: Float[np.ndarray, " n"]
    vessels: Float[np.ndarray, "v 3"]
    pit: float


def borders(retina: Retina) -> Float[np.ndarray, "layers_and_1 n"]:
    """Upper border of each layer of LAYERS, then the lower border of the last."""
    below = np.cumsum(retina.thickness[::-1], axis=0)[::-1]
    return np.concatenate([retina.base - below, retina.base[None]])


def anatomy(seed: tuple[int, ...], scan: int, side: int) -> Retina:
    """The healthy retina of patient `seed` in `scan`, on `side` columns."""
    patient = stream(PATIENT, seed)
    shot = stream(SLICE, seed, scan)
    x = canvas.centres(side)
    pit = patient.uniform(0.28, 0.72)
    base = _course(patient, shot, x)
    thickness = _thickness(patient, shot, x, pit)
    bright = np.array([layer.brightness for layer in LAYERS], np.float32)
    bright = bright * patient.uniform(0.85, 1.15, len(LAYERS)).astype(np.float32)
    brightness = bright[:, None] * np.ones_like(x)
    choroid = patient.uniform(0.09, 0.22) * (1 + 0.35 * canvas.wave(patient, x, (0.6, 1.3, 2.9)))
    vessels = _vessels(patient, shot, pit)
    return Retina(base, thickness, brightness, choroid, np.ones_like(x), vessels, pit)


def _course(patient: np.random.Generator, shot: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Bruch's membrane: height, tilt, curvature and slight undulation."""
    height = patient.uniform(0.54, 0.68) + shot.uniform(-0.03, 0.03)
    tilt = patient.uniform(-0.13, 0.13) + shot.uniform(-0.03, 0.03)
    curvature = patient.uniform(-0.38, 0.12)
    shape = height + tilt * (x - 0.5) + curvature * ((x - 0.5) ** 2 - 1 / 12)
    undulation = 0.006 * canvas.wave(patient, x, (1.1, 2.3, 3.7)) + 0.006 * canvas.wave(
        patient, x, (7.3, 11.9)
    )
    return (shape + undulation).astype(np.float32)


def _thickness(
    patient: np.random.Generator, shot: np.random.Generator, x: np.ndarray, pit: float
) -> np.ndarray:
    """Layers that give way in the foveal pit and swell around it; the NFL grows to one side."""
    # The scan may miss the fovea: then the pit is shallow.
    depth = np.clip(patient.uniform(0.1, 1.25), 0, 1) * shot.uniform(0.85, 1)
    width = patient.uniform(0.055, 0.095)
    hole = depth * np.exp(-(np.abs((x - pit) / width) ** 2.2) / 2)
    rim = patient.uniform(0.0, 0.25) * np.exp(-(((x - pit) / 0.24) ** 2) / 2)
    slope = patient.choice((-1.0, 1.0)) * patient.uniform(0.3, 1.1)
    rows = []
    for layer in LAYERS:
        scale = patient.uniform(0.88, 1.16)
        grown = 1 + (rim if layer.name in ("gcl", "ipl", "inl") else 0 * x)
        if layer.name == "nfl":
            grown = np.clip(1 + 1.5 * slope * (x - pit), 0.35, 2.2)
        rough = 1 + 0.10 * canvas.wave(patient, x, (1.7, 4.1))
        rows.append(layer.thickness * scale * grown * rough * (1 + (layer.at_pit - 1) * hole))
    return np.asarray(rows, np.float32)


def _vessels(patient: np.random.Generator, shot: np.random.Generator, pit: float) -> np.ndarray:
    """x, radius and darkness of the vessels cut by the scan; none lies in the pit."""
    count = patient.integers(1, 6)
    x = patient.uniform(0.02, 0.98, count) + shot.normal(0, 0.008, count)
    radius = patient.uniform(0.004, 0.012, count)
    darkness = patient.uniform(0.2, 0.5, count)
    vessels = np.stack([x, radius, darkness], axis=1).astype(np.float32)
    return vessels[np.abs(x - pit) > 0.1]
