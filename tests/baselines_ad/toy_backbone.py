"""Fixed random convolutions, which need no file: "tests.baselines_ad.toy_backbone:toy".

Levels stem, stage3 and stage5 at strides 2, 4 and 8 with 6, 8 and 12 channels, and a head beyond.
"""

import jax
import numpy as np

from ad_core.backbones import Level, Network, with_weights

NAMES = ("toy",)
LEVELS = (("stem", 2, 6), ("stage3", 4, 8), ("stage5", 8, 12), ("head", 8, 5))
LOADED = []  # how often weights were read


def network(name):
    levels = tuple(Level(level, stride, _apply(level)) for level, stride, _ in LEVELS)
    return Network(name, __name__, _prepare, levels, "free", "made up")


def load(spec):
    LOADED.append(spec)
    rng, inside, weights = np.random.default_rng(0), 3, {}
    for level, _, channels in LEVELS:
        kernel = rng.normal(0, np.sqrt(1 / (9 * inside)), (3, 3, inside, channels))
        weights[level] = {"kernel": kernel.astype(np.float32)}
        inside = channels
    return with_weights(network(spec), weights)


def _apply(level):
    stride = 1 if level == "head" else 2

    def apply(params, x):
        kernel = params[level]["kernel"].astype(x.dtype)
        numbers = ("NHWC", "HWIO", "NHWC")
        steps = (stride, stride)
        y = jax.lax.conv_general_dilated(x, kernel, steps, "SAME", dimension_numbers=numbers)
        return jax.nn.relu(y) if level == "stem" else y

    return apply


def _prepare(image):
    return jax.numpy.broadcast_to(image, (*image.shape[:3], 3))
