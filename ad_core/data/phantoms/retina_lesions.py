"""The lesions of a phantom retina: what they add to its layers, and the exact extent of each."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ad_core.data.phantoms import canvas
from ad_core.data.phantoms.retina_anatomy import INDEX, Retina, borders


class Lesion(NamedTuple):
    """Lesion in the layers: its `level` is mixed in by `cover`; `mask` is its extent."""

    retina: Retina
    cover: Float[np.ndarray, "n n"]
    level: Float[np.ndarray, "n n"]
    mask: Bool[np.ndarray, "n n"]


def _lift(retina: Retina, name: str, height: np.ndarray) -> Retina:
    """The retina with `height` added to one layer."""
    thickness = retina.thickness.copy()
    thickness[INDEX[name]] += height.astype(np.float32)
    return retina._replace(thickness=thickness)


def _dim(retina: Retina, names: tuple[str, ...], factor: np.ndarray) -> Retina:
    """The retina with the brightness of some layers multiplied by `factor`."""
    brightness = retina.brightness.copy()
    brightness[[INDEX[name] for name in names]] *= factor.astype(np.float32)
    return retina._replace(brightness=brightness)


def _between(retina: Retina, top: str, bottom: str, softness: float) -> np.ndarray:
    """Cover of the pixels between the upper borders of two layers."""
    y = canvas.centres(len(retina.base))[:, None]
    edges = borders(retina)
    inside = np.minimum(y - edges[INDEX[top]], edges[INDEX[bottom]] - y)
    return canvas.ramp(inside, softness)


def fluid(retina: Retina, rng: np.random.Generator) -> Lesion:
    """Dark pockets: cysts within the retina, or a dome below it that lifts it, or both."""
    kind = rng.choice(3, p=(0.4, 0.35, 0.25))
    side = len(retina.base)
    x = canvas.centres(side)
    scale = 0.55 + 0.45 * rng.random()
    centre = np.clip(retina.pit + rng.normal(0, 0.15), 0.14, 0.86)
    dome = np.zeros((side, side), np.float32)
    if kind > 0:
        width = scale * rng.uniform(0.12, 0.32)
        at = np.clip(centre + rng.normal(0, 0.06), 0.12, 0.88)
        lift = canvas.bump(x, at, width, 1.3) * (1 + 0.15 * canvas.wave(rng, x, (2.1, 4.3)))
        height = scale * rng.uniform(0.07, 0.125) * lift
        thinner = np.minimum(0.3 * height, 0.4 * retina.thickness[INDEX["onl"]])
        retina = _lift(_lift(retina, "subretinal_space", height), "onl", -thinner)
        dome = _between(retina, "subretinal_space", "rpe", 0.006)
        dome *= retina.thickness[INDEX["subretinal_space"]] > 0.004
    cysts = np.zeros((side, side), np.float32)
    if kind != 1:
        retina, cysts = _cysts(retina, rng, float(centre), scale)
    cover = np.maximum(dome, cysts)
    level = np.full_like(cover, rng.uniform(0.02, 0.06))
    return Lesion(retina, cover, level, cover >= 0.5)


def _cysts(
    retina: Retina, rng: np.random.Generator, centre: float, scale: float
) -> tuple[Retina, np.ndarray]:
    """Smooth pockets in the nuclear layers, which swell around them."""
    x = canvas.centres(len(retina.base))
    pockets = []
    swelling = {"inl": np.zeros_like(x), "onl": np.zeros_like(x)}
    for _ in range(rng.integers(1, 6)):
        home = str(rng.choice(("inl", "onl", "onl")))
        width = scale * rng.uniform(0.034, 0.075)
        height = scale * rng.uniform(0.036, 0.058)
        at = float(np.clip(centre + rng.normal(0, 0.08), 0.08, 0.92))
        dome = 1.2 * height * canvas.bump(x, at, 3.0 * width + 0.03, 2.0)
        swelling[home] = np.maximum(swelling[home], dome)
        pockets.append((home, at, width, height, rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.18)))
    for home, dome in swelling.items():
        retina = _lift(retina, home, dome)
    edges = borders(retina)
    cover = np.zeros((len(x), len(x)), np.float32)
    for home, at, width, height, phase, uneven in pockets:
        near = canvas.columns(at, 1.4 * width, len(x))
        middle = min(int(at * len(x)), len(x) - 1)
        y = 0.5 * (edges[INDEX[home], middle] + edges[INDEX[home] + 1, middle])
        pocket = _ellipse((x[near] - at) / width, (x - y) / height, uneven, phase)
        cover[:, near] = np.maximum(cover[:, near], canvas.ramp(pocket * height, 0.008))
    within = canvas.ramp(x[:, None] - edges[0] - 0.015, 0.008)  # where the pit leaves no room
    return retina, cover * within


def _ellipse(across: np.ndarray, down: np.ndarray, uneven: float, phase: float) -> np.ndarray:
    """1 - r (1 + uneven sin(2 angle + phase)): 1 in the centre, 0 on a slightly uneven ellipse."""
    across, down = across[None, :], down[:, None]
    square = across**2 + down**2
    twice = 2 * across * down * np.cos(phase) + (across**2 - down**2) * np.sin(phase)
    return 1 - np.sqrt(square) - uneven * twice / np.sqrt(square + 1e-6)


def drusen(retina: Retina, rng: np.random.Generator) -> Lesion:
    """Mounds between Bruch's membrane and the RPE, which they lift; the mask holds both."""
    x = canvas.centres(len(retina.base))
    scale = 0.6 + 0.4 * rng.random()
    centre = rng.uniform(0.2, 0.8)
    count = rng.integers(3, 8)
    height = np.zeros_like(x)
    for k in range(count):
        at = np.clip(centre + rng.normal(0, 0.17), 0.06, 0.94)
        tall = scale * (rng.uniform(0.065, 0.1) if k == 0 else rng.uniform(0.025, 0.085))
        width = rng.uniform(0.8, 1.5) * tall + 0.014
        height = np.maximum(height, tall * canvas.bump(x, at, width, 1.2))
    thinner = np.minimum(0.7 * height, 0.6 * retina.thickness[INDEX["onl"]])
    retina = _lift(_lift(retina, "sub_rpe_space", height), "onl", -thinner)
    retina = _dim(retina, ("ellipsoid", "elm"), 1 - 0.55 * np.clip(height / 0.05, 0, 1))
    cover = _between(retina, "sub_rpe_space", "bruch", 0.004) * (height > 0)
    level = cover * np.float32(rng.uniform(0.36, 0.56))
    mask = (_between(retina, "rpe", "bruch", 0.001) >= 0.5) & (height > 0.006)
    return Lesion(retina, cover, level, mask)


def membrane(retina: Retina, rng: np.random.Generator) -> Lesion:
    """A choroidal neovascular membrane: a bright, ragged mass that breaks through the RPE."""
    side = len(retina.base)
    x = canvas.centres(side)
    scale = 0.55 + 0.45 * rng.random()
    centre = np.clip(retina.pit + rng.normal(0, 0.14), 0.16, 0.84)
    width = scale * rng.uniform(0.14, 0.23)
    reach = canvas.bump(x, float(centre), width, 0.9)
    ragged = np.clip(1 + 0.9 * canvas.wave(rng, x, (3.1, 6.7, 9.3)) / 0.5, 0.4, 1.35)
    tall = scale * rng.uniform(0.075, 0.125)
    height = tall * reach * ragged
    # The outer nuclear layer gives way, so that the inner retina is lifted smoothly.
    spared = height - 0.6 * tall * canvas.bump(x, float(centre), width, 2.0)
    thinner = np.clip(spared, -0.02, 0.75 * retina.thickness[INDEX["onl"]])
    retina = _lift(_lift(retina, "subretinal_space", height), "onl", -thinner)
    gone = np.clip(reach * 3, 0, 1)
    retina = _dim(retina, ("elm", "ellipsoid"), 1 - 0.6 * gone)
    retina = _dim(retina, ("outer_segments",), 1 - 0.2 * gone)
    retina = retina._replace(shadow=1 - np.float32(rng.uniform(0.25, 0.6)) * reach)
    cloud = canvas.enlarge(canvas.smooth_noise(rng, (128, 128), (1.2, 1.6)), side)
    y = canvas.centres(side)[:, None]
    top = borders(retina)[INDEX["subretinal_space"]]
    inside = np.minimum(y - top, retina.base + 0.012 * reach - y) + 0.007 * cloud
    cover = canvas.ramp(inside, 0.022) * np.clip(reach * 5, 0, 1)
    level = np.float32(rng.uniform(0.85, 1.1)) * (1 + np.float32(0.20) * cloud)
    return Lesion(retina, cover, level, cover >= 0.5)


DEFECTS: dict[str, Callable[[Retina, np.random.Generator], Lesion]] = {
    "fluid": fluid,
    "drusen": drusen,
    "membrane": membrane,
}
