"""VQGAN's training step and reconstruction: JAX against the same network in PyTorch.

    python benchmarks/vqgan.py --torch_python=PATH [--size=cpu|accelerator --batch=8 --steps=20]
        [--network=cnn|vit|hybrid]

PATH is an interpreter that has PyTorch and NumPy; it runs torch_vqgan.py and waits while JAX is
timed. First both run one batch from the same weights and must agree. Then rounds alternate, and
the medians stand in the table. Both compute what the training loop does: placing the batch, both
players' gradients, Adam, averaged weights, the count of codes, metrics fetched one step late. The
JAX step also carries the guard against non-finite updates. On a GPU both use it (`--device=gpu`
refuses to run without one), `--dtype=bfloat16` means autocast in PyTorch, and `--peak_tflops` asks
for the share of the card's peak, by the FLOPs that XLA counts. On a CPU that others use too, take
`--cores=1` and read the processor's time: threads that wait for each other on busy cores (OpenMP's,
PyTorch's) lose several times their speed there.
"""

import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402

from ad_core.runtime.config import complete  # noqa: E402
from benchmarks.beside_torch import FLAGS, InJax, compare, limit_cores, make_images  # noqa: E402
from benchmarks.device import require_device  # noqa: E402
from vqgan_ad import vqgan  # noqa: E402
from vqgan_ad.settings import NETWORKS, make_settings  # noqa: E402

flags.DEFINE_enum("size", "cpu", ("cpu", "accelerator"), "The defaults to take.")
flags.DEFINE_integer("batch", 8, "Images in a batch.")
flags.DEFINE_integer("channels", 1, "Channels of the images.")
flags.DEFINE_enum("network", "cnn", NETWORKS, "Encoder and decoder.")
NETWORK = (
    "network", "width", "multipliers", "blocks", "attention", "latent", "disc_width", "disc_layers",
    "codes", "quantisation", "beta", "disc_weight", "delta", "lambda_max", "ema",
)  # fmt: skip


def make_config():
    """The defaults of this size; the game and the codes' start are on from the first step."""
    return complete(
        ConfigDict(
            {
                "method": "vqgan_ad.vqgan",
                "size": FLAGS.size,
                "data": {"channels": FLAGS.channels},
                "train": {"batch_size": FLAGS.batch, "dtype": FLAGS.dtype},
                # k-means once, in the warm-up: the PyTorch step has none.
                "reconstructor": {
                    "network": FLAGS.network,
                    "disc_start": 0,
                    "disc_ramp": 1,
                    "kmeans_at": 1,
                },
            }
        )
    )


def twin_settings(config):
    """Settings that torch_vqgan.py must know."""
    settings = {name: config.reconstructor[name] for name in NETWORK}
    settings |= {"vit": config.reconstructor.vit.to_dict(), "stride": make_settings(config).stride}
    adam = config.reconstructor.optimiser
    settings |= {name: adam[name] for name in ("lr", "b1", "b2", "eps")}
    return settings | {"channels": FLAGS.channels, "restart_every": config.train.epoch_steps}


def outputs(found):
    """Arrays of a reconstruction by the names of torch_vqgan.py."""
    maps = {"real": found.maps["disc_real"], "fake": found.maps["disc_fake"]}
    return {"image": found.image, "codes": found.maps["codes"], **maps}


def main(_):
    """Prints the table."""
    limit_cores()
    require_device()
    config = make_config()
    images = make_images(FLAGS.batch, config)
    method = vqgan.make(config)
    labels = np.zeros(FLAGS.batch, np.int32)
    in_jax = InJax(method, images, labels, method.view)
    units = {title: (FLAGS.batch, "images") for title in ("train", "reconstruct")}
    compare(in_jax, "torch_vqgan.py", twin_settings(config), images, outputs, units)


if __name__ == "__main__":
    app.run(main)
