"""What compiles before VQGAN's first step is taken, and how long each part of it takes.

    python benchmarks/first_call.py [--side=64 --batch=8]

Seconds of the processor for tracing with lowering, and for compiling, of the start of the weights,
of the whole step, and of its parts by themselves; the instructions and fusions of each. Nothing is
run, and no program is taken from a cache.
"""

import argparse
import sys
import time
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402

from ad_core.runtime.config import complete  # noqa: E402
from ad_core.training.guard import guarded  # noqa: E402
from ad_core.types import Batch  # noqa: E402
from vqgan_ad import quantiser, vqgan  # noqa: E402
from vqgan_ad.model import make_model  # noqa: E402
from vqgan_ad.settings import make_settings  # noqa: E402


def report(name, function, *given):
    """One line of the table."""
    began = time.process_time()
    lowered = jax.jit(function).lower(*given)
    traced = time.process_time()
    text = lowered.compile().as_text()
    ended = time.process_time()
    sizes = f"{text.count(' = ')} | {text.count(' fusion(')}"
    print(f"| {name} | {traced - began:.1f} | {ended - traced:.1f} | {sizes} |", flush=True)


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8)
    given = parser.parse_args()
    data = {"image_size": given.side, "channels": 1}
    config = complete(ConfigDict({"method": "vqgan_ad.vqgan", "size": "cpu", "data": data}))
    learn, settings = guarded(vqgan.make(config).learn), make_settings(config)
    model, key, shape = make_model(settings, 1), jax.random.key(0), (given.side, given.side, 1)

    def init(key):
        return learn.init(key, shape)

    state, image = jax.eval_shape(init, key), jnp.zeros((given.batch, *shape))
    numbers = jnp.zeros(given.batch, jnp.int32)
    batch = Batch(image, numbers, numbers == 0, numbers)
    generator, judge = state.params["generator"], state.params["discriminator"]
    print("| | trace s | compile s | instructions | fusions |\n|" + " --- |" * 5)
    report("start of the weights", init, key)
    report("step", learn.train_step, state, batch, key)
    report("generator, forward", lambda g, x: model.forward(g, x).image, generator, image)
    drawn = jax.grad(lambda g, x: jnp.sum(model.forward(g, x).image))
    report("generator, forward and gradient", drawn, generator, image)
    judged = jax.grad(lambda d, x: jnp.sum(model.discriminate(d, x)))
    report("discriminator, forward and gradient", judged, judge, image)
    latent = jnp.zeros((given.batch, *(n // settings.stride for n in shape[:2]), settings.latent))
    report("k-means", lambda k, z: quantiser.kmeans(k, z, settings.codes), key, latent)


if __name__ == "__main__":
    main()
