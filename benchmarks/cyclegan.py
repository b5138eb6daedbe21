"""CycleGAN's training step and reconstruction: JAX against the same networks in PyTorch.

    python benchmarks/cyclegan.py --torch_python=PATH [--variant=cpu|64|256 --pairs=2 --steps=20]

PATH is an interpreter that has PyTorch and NumPy; it runs torch_cyclegan.py and waits while JAX is
timed. First both run one batch from the same weights and must agree. Then rounds alternate, and
the medians stand in the table: pairs a second in training, images a second in scoring (image and
sum of squared errors). Both compute what the training loop does: placing the batch, losses and
gradients of all four networks, the pools, Adam, metrics fetched one step late. The JAX step also
carries the guard against non-finite updates. On a GPU both use it, and `--dtype=bfloat16` means
autocast in PyTorch; with `--peak_tflops` the share of the card's peak stands below, from the FLOPs
that XLA counts. `--device=gpu` refuses to run without one.
On a CPU that others use too, take `--cores=1` and read the processor's time.
"""

import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402

from ad_core.runtime.config import complete  # noqa: E402
from ad_core.runtime.recipes import load_recipe  # noqa: E402
from benchmarks.beside_torch import FLAGS, InJax, compare, limit_cores, make_images  # noqa: E402
from benchmarks.device import require_device  # noqa: E402
from cyclegan_ad import cyclegan  # noqa: E402

flags.DEFINE_enum("variant", "cpu", ("cpu", "64", "256"), "Of configs/cyclegan.py.")
flags.DEFINE_enum("upsample", "resize", ("resize", "transposed"), "In the generators.")
flags.DEFINE_integer("pairs", 2, "Pairs in a training batch; twice as many images are scored.")
NETWORK = (
    "width", "blocks", "upsample", "disc_width", "disc_layers",
    "adversarial_weight", "cycle_weight", "identity_weight", "pool",
)  # fmt: skip


def make_config():
    """Brain MRI's recipe, at a constant rate."""
    config = complete(load_recipe(f"{ROOT}/configs/cyclegan.py:brain_mri,{FLAGS.variant}"))
    config.train.batch_size, config.train.dtype = 2 * FLAGS.pairs, FLAGS.dtype
    config.train.epochs = 0
    config.reconstructor.upsample = FLAGS.upsample
    config.reconstructor.optimiser.schedule = "constant"
    config.reconstructor.disc_optimiser.schedule = "constant"
    return config


def twin_settings(config):
    """Settings that torch_cyclegan.py must know."""
    settings = {name: config.reconstructor[name] for name in NETWORK}
    adam = config.reconstructor.optimiser
    settings |= {name: adam[name] for name in ("lr", "b1", "b2", "eps")}
    return settings | {"channels": config.data.channels}


def outputs(found):
    """Image and sum of squared errors by the names of torch_cyclegan.py."""
    return dict(zip(("image", "sse"), found, strict=True))


def main(_):
    """Prints the table."""
    limit_cores()
    require_device()
    config = make_config()
    images = make_images(2 * FLAGS.pairs, config)
    method = cyclegan.make(config)

    def score(state, image, key):
        drawn = method.view(state, image, key).image
        return drawn, jnp.sum(jnp.square(image - drawn), axis=(1, 2, 3))

    labels = np.arange(2 * FLAGS.pairs, dtype=np.int32) % 2
    in_jax = InJax(method, images, labels, score)
    units = {"train": (FLAGS.pairs, "pairs"), "reconstruct": (2 * FLAGS.pairs, "images")}
    compare(in_jax, "torch_cyclegan.py", twin_settings(config), images, outputs, units)


if __name__ == "__main__":
    app.run(main)
