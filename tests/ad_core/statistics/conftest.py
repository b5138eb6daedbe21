"""Pairs of image and reconstruction on which every statistic is tried."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.statistics import compute
from ad_core.types import View

SHAPE = (24, 31)
CASES = (
    "noisy",
    "nearly_identical",
    "unrelated",
    "identical",
    "one_pixel",
    "constant_shift",
    "constant_identical",
    "saturated",
    "bi_level",
)


def _smooth(rng, channels):
    """Like a photograph: low frequencies, a little noise."""
    y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in SHAPE), indexing="ij")
    waves = [np.sin(2 * np.pi * (a * x + b * y) + p) for a, b, p in rng.uniform(0, 3, (6, 3))]
    image = sum(waves)[..., None] / 6 + 0.05 * rng.normal(size=(*SHAPE, channels))
    return np.clip(image, -1, 1).astype(np.float32)


def cases(channels):
    """name -> (image, reconstruction): real-like and adversarial ones."""
    rng = np.random.default_rng(channels)
    image, noise = _smooth(rng, channels), 0.1 * rng.normal(size=(*SHAPE, channels))
    one_pixel = image.copy()
    one_pixel[5, 7, 0] = -one_pixel[5, 7, 0]
    flat = np.full_like(image, 0.7)
    return {
        "noisy": (image, np.clip(image + noise, -1, 1).astype(np.float32)),
        "nearly_identical": (image, (image + 1e-4 * noise).astype(np.float32)),
        "unrelated": (image, _smooth(rng, channels)),
        "identical": (image, image),
        "one_pixel": (image, one_pixel),
        "constant_shift": (flat, np.full_like(image, 0.4)),
        "constant_identical": (flat, flat),
        "saturated": (np.ones_like(image), -np.ones_like(image)),
        "bi_level": (np.sign(noise).astype(np.float32), np.sign(image).astype(np.float32)),
    }


@pytest.fixture(params=[(name, channels) for name in CASES for channels in (1, 3)], ids=str)
def pair(request):
    """(image, reconstruction), float32 [h, w, c]: real-like and adversarial, 1 and 3 channels."""
    name, channels = request.param
    return cases(channels)[name]


@pytest.fixture
def batch():
    """All cases of three channels as one batch, with a loss and a map."""
    x, y = (np.stack(side) for side in zip(*cases(3).values(), strict=True))
    losses = {"reconstruction": jnp.arange(len(x)) / 8}
    maps = {"quantisation": jnp.asarray(x[:, :5, :6, 0])}
    return x, View(jnp.asarray(y), maps, losses)


_compiled = jax.jit(compute, static_argnums=0)


@pytest.fixture(scope="session")
def measure():
    """(names, image, reconstruction, context) -> name -> float, for one pair [h, w, c]."""

    def measure_one(names, x, y, context=None, *, maps=None, losses=None):
        reconstruction = View(jnp.asarray(y)[None], maps or {}, losses or {})
        values = _compiled(names, jnp.asarray(x)[None], reconstruction, context)
        return {name: float(value[0]) for name, value in values.items()}

    return measure_one
