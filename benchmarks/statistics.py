"""Residual statistics: the compiled call against loops of SciPy and scikit-image.

    python benchmarks/statistics.py [--batch=64 --side=256 --channels=3 --loop_images=8]

Prints, for the same images in one run, seconds for a batch and temporary memory. Loops run over
`loop_images` of them and their time is scaled to the batch. The window group searches, cuts and
measures the worst windows (plain) either way. On an accelerator
`--bandwidth` (GB/s, from its data sheet) gives the share of it that the default and the pixel group
reach, by the least traffic possible: image and reconstruction read once.
"""

# ruff: noqa: E402
import sys
import time
import tracemalloc
import warnings
from functools import partial
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from absl import app, flags, logging
from scipy.spatial import distance
from skimage.metrics import (
    mean_squared_error,
    peak_signal_noise_ratio,
    structural_similarity,
)
from skimage.transform import resize_local_mean
from sklearn.metrics import mutual_info_score

from ad_core.statistics import WindowSettings, compute, names
from ad_core.statistics.windows import block_side, usable_scales
from ad_core.types import View
from benchmarks.device import require_device

flags.DEFINE_integer("batch", 64, "Images in the batch.")
flags.DEFINE_integer("side", 256, "Side of the images in pixels.")
flags.DEFINE_integer("channels", 3, "Channels of the images.")
flags.DEFINE_integer("loop_images", 8, "Images that the loops run over.")
flags.DEFINE_float("bandwidth", None, "Memory bandwidth of the accelerator, GB/s.")
FLAGS = flags.FLAGS
REPEATS = 3


def _flat(function):
    return lambda x, y: function(x.ravel(), y.ravel())


def _rows(function):
    return lambda x, y: function(x.reshape(len(x), -1), y.reshape(len(y), -1))


def _mutual_information(u, v):
    joint, _, _ = np.histogram2d(u, v, bins=64, range=[[-1, 1], [-1, 1]])
    return mutual_info_score(None, None, contingency=joint)


PAIRWISE = {
    "mse": mean_squared_error,
    "rmse": lambda x, y: mean_squared_error(x, y) ** 0.5,
    "psnr": partial(peak_signal_noise_ratio, data_range=2),
    "ssim": partial(structural_similarity, data_range=2, channel_axis=-1),
    **{
        name: _flat(getattr(distance, name))
        for name in (
            "euclidean",
            "sqeuclidean",
            "minkowski",
            "cityblock",
            "chebyshev",
            "hamming",
            "canberra",
            "braycurtis",
            "cosine",
            "correlation",
        )
    },
    "jensenshannon": _flat(lambda u, v: distance.jensenshannon(u + 1, v + 1)),
    "wasserstein": _flat(scipy.stats.wasserstein_distance),
    "mutual_information": _flat(_mutual_information),
    "directed_hausdorff": _rows(distance.directed_hausdorff),
}
SIMILARITIES = ("psnr", "ssim", "mutual_information")


def residual_loop(images, others):
    """The residual's statistics of the default group, image by image."""
    for x, y in zip(images, others, strict=True):
        r = (x - y).ravel()
        size = np.abs(r)
        np.mean(r), np.std(r), np.min(r), np.max(r), scipy.stats.skew(r), scipy.stats.kurtosis(r)
        np.quantile(r, (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99))
        np.mean(size), np.std(size), np.max(size), np.quantile(size, (0.5, 0.9, 0.95, 0.99))
        for share in (0.001, 0.01, 0.05, 0.1):
            count = int(np.ceil(share * size.size))
            np.partition(size, size.size - count)[-count:].mean()


def window_loop(images, others, *, chosen, settings):
    """Search, cut and measure the worst windows, image by image and window by window."""
    for x, y in zip(images, others, strict=True):
        places = search(np.abs(x - y).mean(axis=-1), settings)
        shape = (settings.side, settings.side)
        pieces = [
            [
                resize_local_mean(z[rows, columns], shape, channel_axis=-1)
                for rows, columns in places
            ]
            for z in (x, y)
        ]
        pairwise_loop(*pieces, chosen=chosen)


def search(size, settings):
    """Slices of the worst windows, as `worst_windows` defines them (whole blocks only)."""
    block = block_side(settings, *size.shape)
    grid = len(size) // block
    blocks = size.reshape(grid, block, grid, block)
    highest = blocks.max(axis=(1, 3)).ravel().argsort()[::-1][: settings.peaks]
    sums = {}
    for peak in highest:
        for scale in usable_scales(settings, *size.shape):
            for step in np.ndindex(3, 3):
                corner = np.divmod(peak, grid) - np.array(scale // 2)
                corner = corner + (np.array(step) - 1) * max(1, scale // 2)
                top, left = np.clip(corner, 0, grid - scale) * block
                rows = slice(top, top + scale * block)
                columns = slice(left, left + scale * block)
                if (scale, top, left) not in sums:
                    sums[scale, top, left] = size[rows, columns].sum(), (rows, columns)
    ranked = sorted(sums.values(), key=lambda item: -item[0])
    return [place for _, place in ranked[: settings.worst]]


def pairwise_loop(images, others, *, chosen):
    """Pairwise statistics, image by image."""
    for x, y in zip(images, others, strict=True):
        for name in chosen:
            PAIRWISE[name](x, y)


def timed(call):
    """Least seconds of REPEATS calls, after one that compiles."""
    jax.block_until_ready(call())
    return min(_once(call) for _ in range(REPEATS))


def _once(call):
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def loop_cost(call):
    """Seconds, and peak of NumPy's memory in MB (in a second run, as tracing slows it)."""
    seconds = _once(call)
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return seconds, peak


def make_images():
    """Smooth images and reconstructions that differ by noise of changing strength."""
    rng = np.random.default_rng(0)
    shape = (FLAGS.batch, FLAGS.side, FLAGS.side, FLAGS.channels)
    waves = np.sin(np.linspace(0, 9, FLAGS.side))
    x = 0.5 * waves[None, :, None, None] * waves[None, None, :, None]
    x = x + 0.05 * rng.normal(size=shape)
    y = x + 0.1 * rng.normal(size=shape) * rng.uniform(size=(*shape[:3], 1)) ** 4
    return np.clip(x, -1, 1).astype(np.float32), np.clip(y, -1, 1).astype(np.float32)


def compiled(chosen, x, y):
    """The compiled call as a function without arguments, and its temporary memory in MB."""
    arguments = (jnp.asarray(x), View(jnp.asarray(y), {}, {}))
    program = jax.jit(partial(compute, chosen)).lower(*arguments).compile()
    memory = program.memory_analysis()
    return lambda: program(*arguments), memory.temp_size_in_bytes / 1e6


def report(title, chosen, loop, x, y):
    """One line of the table; returns the seconds of the compiled call."""
    call, memory = compiled(chosen, x, y)
    seconds = timed(call)
    if loop is None:
        print(f"| {title} | {len(chosen)} | {seconds:.3f} | {memory:.0f} | | | |", flush=True)
        return seconds
    loop_seconds, loop_memory = loop_cost(loop)
    loop_seconds *= FLAGS.batch / FLAGS.loop_images
    print(
        f"| {title} | {len(chosen)} | {seconds:.3f} | {memory:.0f} | {loop_seconds:.2f} "
        f"| {loop_memory:.0f} | {loop_seconds / seconds:.1f} |",
        flush=True,
    )
    return seconds


def main(_):
    """Prints the table."""
    require_device()
    warnings.simplefilter("ignore")
    logging.set_verbosity(logging.WARNING)
    x, y = make_images()
    few = (x[: FLAGS.loop_images], y[: FLAGS.loop_images])
    of_residual = tuple(name for name in names("default") if name.startswith("residual_"))
    of_windows = tuple(
        f"window_{name}_{how}"
        for name in PAIRWISE
        for how in ("min" if name in SIMILARITIES else "max", "mean", "worst")
    )
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, {x.shape}")
    print("| group | statistics | compiled s | temporary MB | loops s | peak MB | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    report("residual", of_residual, partial(residual_loop, *few), x, y)
    everything = tuple(PAIRWISE)
    report("pairwise", everything, partial(pairwise_loop, *few, chosen=everything), x, y)
    windows = partial(window_loop, *few, chosen=everything, settings=WindowSettings())
    report("windows", of_windows, windows, x, y)
    default = tuple(name for name in names("default") if not name.startswith("loss_"))
    seconds = {"default": report("default, no losses", default, None, x, y)}
    context_free = ("fid", "residual_area", "residual_largest")
    pixel = tuple(name for name in names("pixel") if not name.startswith(context_free))
    seconds["pixel"] = report("pixel, whole", pixel, None, x, y)
    for group, spent in seconds.items() if FLAGS.bandwidth else ():
        share = (x.nbytes + y.nbytes) / spent / (FLAGS.bandwidth * 1e9)
        print(f"Share of the memory bandwidth, {group} group: {share:.1%}")


if __name__ == "__main__":
    app.run(main)
