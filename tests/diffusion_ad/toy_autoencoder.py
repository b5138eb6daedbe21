"""An exact autoencoder without files: "tests.diffusion_ad.toy_autoencoder:toy".

A latent position is a square of 4 x 4 pixels, turned by an orthogonal matrix and moved.
"""

import numpy as np

from ad_core.backbones import Level, Network, with_weights

NAMES = ("toy",)
SIDE = 4
OFFSET = 3.0


def network(name):
    level = Level("latent", SIDE, encode)
    return Network(name, __name__, prepare, (level,), "free", "made up", decode=decode)


def load(spec):
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(SIDE**2, SIDE**2)))
    return with_weights(network(spec), {"turn": turn.astype(np.float32)})


def prepare(image):
    return image.mean(axis=-1, keepdims=True)


def encode(params, x):
    b, h, w, _ = x.shape
    squares = x.reshape(b, h // SIDE, SIDE, w // SIDE, SIDE).swapaxes(2, 3)
    flat = squares.reshape(b, h // SIDE, w // SIDE, SIDE**2)
    return flat @ params["turn"].astype(x.dtype) + OFFSET


def decode(params, z, dtype):
    b, h, w, _ = z.shape
    flat = (z - OFFSET) @ params["turn"].T
    return flat.reshape(b, h, w, SIDE, SIDE).swapaxes(2, 3).reshape(b, h * SIDE, w * SIDE, 1)
