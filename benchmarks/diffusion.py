"""Diffusion: time of an image by steps, and the U-Net's training step against PyTorch's.

    python benchmarks/diffusion.py --torch_python=PATH [--size=cpu|accelerator --batch=8 --steps=20]

PATH is an interpreter that has PyTorch and NumPy; it runs torch_diffusion.py and waits while JAX is
timed. Both train from the same weights on noise of their own: velocity, cosine schedule, min-SNR,
clipped gradients, Adam, averaged weights. `reconstruct` is DDIM with --ddim steps from the image
itself as the noisy one, whose results must agree first. Then a table of the pixel method alone:
milliseconds an image in 1, 5, 10 and 25 steps of one draw. The other options are those of vqgan.py.
"""

import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import jax  # noqa: E402
import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402

from ad_core.runtime.config import complete  # noqa: E402
from ad_core.runtime.devices import infer, make_mesh  # noqa: E402
from ad_core.runtime.keys import image_keys  # noqa: E402
from ad_core.types import View  # noqa: E402
from benchmarks.beside_torch import (  # noqa: E402
    FLAGS,
    InJax,
    compare,
    limit_cores,
    make_images,
    now,
    since,
)
from benchmarks.device import require_device  # noqa: E402
from diffusion_ad import pixel  # noqa: E402
from diffusion_ad.denoiser import make_denoiser  # noqa: E402
from diffusion_ad.sampler import denoise, plan  # noqa: E402
from diffusion_ad.schedule import make_schedule  # noqa: E402
from diffusion_ad.settings import make_settings  # noqa: E402

flags.DEFINE_enum("size", "cpu", ("cpu", "accelerator"), "The defaults to take.")
flags.DEFINE_integer("batch", 8, "Images in a batch.")
flags.DEFINE_integer("channels", 1, "Channels of the images.")
flags.DEFINE_integer("image_size", 0, "Side of the images; 0: the default of the size.")
flags.DEFINE_integer("ddim", 5, "Steps of `reconstruct`.")
STEPS = (1, 5, 10, 25)


def make_config(**reconstructor):
    """The defaults of this size."""
    data = {"channels": FLAGS.channels}
    if FLAGS.image_size:
        data["image_size"] = FLAGS.image_size
    train = {"batch_size": FLAGS.batch, "dtype": FLAGS.dtype}
    recipe = {"method": "diffusion_ad.pixel", "size": FLAGS.size, "data": data, "train": train}
    return complete(ConfigDict(recipe | {"reconstructor": reconstructor}))


def planned(config):
    """The steps of `reconstruct`, and the times between which they go."""
    own = config.reconstructor
    steps = plan(make_schedule("cosine", own.times), start=own.start, steps=FLAGS.ddim, eta=0.0)
    return steps, [*steps.time.tolist(), 0]


def twin_settings(config):
    """Settings that torch_diffusion.py must know."""
    own = config.reconstructor
    settings = {name: own.unet[name] for name in ("width", "multipliers", "blocks", "attention")}
    settings |= {name: own.optimiser[name] for name in ("lr", "b1", "b2", "eps", "clip_norm")}
    settings |= {"ema": own.ema, "min_snr": own.min_snr, "channels": FLAGS.channels}
    return settings | {"latest": max(own.start, *own.noise_levels), "times": planned(config)[1]}


def make_reconstruct(config):
    """DDIM from the images as noisy ones, as the function that `Method.view` is."""
    denoiser, steps = make_denoiser(make_settings(config)), planned(config)[0]

    def unused(key):
        raise AssertionError("DDIM draws no noise")

    def reconstruct(state, image, keys):
        params = state.params["network"]
        found = denoise(
            lambda *given: denoiser.clean(params, *given),
            steps,
            image,
            keys,
            draw=unused,
            limit=1.0,
        )
        return View(found)

    return reconstruct


def outputs(found):
    """Arrays of a reconstruction by the names of torch_diffusion.py."""
    return {"image": found.image}


def time_steps(state, images):
    """Prints the table of milliseconds an image by the number of steps."""
    print("\n| steps | ms an image | every round |\n| --- | --- | --- |")
    for steps in STEPS:
        method = pixel.make(make_config(steps=steps, draws=1))

        def draw(state, image, method=method):
            return method.view(state, image, image_keys(image)).image

        compiled = infer(draw, make_mesh(jax.local_devices()[:1]))
        rounds = []
        for number in range(FLAGS.rounds + 1):
            start = now()
            for _ in range(FLAGS.steps):
                jax.device_get(compiled(state, images[0]))
            if number:  # the first compiles
                rounds.append(1e3 * since(start)["seconds"] / (FLAGS.steps * len(images[0])))
        every = " ".join(f"{x:.2f}" for x in rounds)
        print(f"| {steps} | {np.median(rounds):.2f} | {every} |", flush=True)


def main(_):
    """Prints both tables."""
    limit_cores()
    require_device()
    config = make_config()
    images = make_images(FLAGS.batch, config)
    method = pixel.make(config)
    labels = np.zeros(FLAGS.batch, np.int32)
    in_jax = InJax(method, images, labels, make_reconstruct(config))
    in_jax.train(5)  # the network starts with zero, in which both would agree whatever they do
    units = {title: (FLAGS.batch, "images") for title in ("train", "reconstruct")}
    compare(in_jax, "torch_diffusion.py", twin_settings(config), images, outputs, units)
    time_steps(in_jax.state._replace(opt_state=(), extra={}), images)


if __name__ == "__main__":
    app.run(main)
