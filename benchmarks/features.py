"""Features of EfficientNet-Lite a second: JAX beside the same network in PyTorch, in turns.

    python benchmarks/features.py --torch_python=PATH [--number=0 --side=256 --batch=8 --cores=2]

PATH is an interpreter that has PyTorch and NumPy; it runs torch_efficientnet_lite.py from the same
weight file and waits while JAX is timed. Both compute the mean over positions of every level. First
they must agree on one batch. PyTorch runs eagerly (NCHW and channels_last) and compiled, with batch
norms folded as here; JAX also with XLA's own depthwise convolution, which no CPU gets by default.
"""

import sys
import tempfile
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402

from ad_core.backbones import depthwise, load_backbone  # noqa: E402
from ad_core.backbones.efficientnet_lite import weights_path  # noqa: E402
from benchmarks.beside_torch import (  # noqa: E402
    FLAGS,
    PLACED,
    InTorch,
    limit_cores,
    machine,
    now,
    since,
)
from benchmarks.device import require_device, require_same  # noqa: E402

flags.DEFINE_enum("number", "0", ("0", "1", "2"), "Of EfficientNet-Lite0, 1 or 2.")
flags.DEFINE_integer("side", 256, "Pixels of a side of the images.")
flags.DEFINE_integer("batch", 8, "Images in a batch.")
IN_TORCH = ("eager", "channels_last", "compiled")


class InJax:
    """The pooled levels as one compiled call."""

    def __init__(self, backbone, images):
        self.batches = [jnp.asarray(x) for x in images]
        self.backbone = backbone
        self.run = jax.jit(_pool_levels)

    def forward(self):
        """Features of the first batch [b, d]."""
        return np.asarray(self.run(self.backbone, self.batches[0]))

    def features(self, steps):
        """Seconds for `steps` batches, each fetched to the host."""
        start = now()
        for number in range(steps):
            jax.device_get(self.run(self.backbone, self.batches[number % PLACED]))
        return since(start)


def _pool_levels(backbone, image):
    levels = backbone.stages(backbone.params, image).values()
    return jnp.concatenate([jnp.mean(x, axis=(1, 2)) for x in levels], axis=1)


def natively(backbone, images):
    """The same, compiled with XLA's own depthwise convolution."""
    ours = depthwise.by_shifts
    depthwise.by_shifts = depthwise.native
    try:
        found = InJax(backbone, images)
        found.run = jax.jit(lambda *given: _pool_levels(*given))
        found.forward()
    finally:
        depthwise.by_shifts = ours
    return found


def contenders(backbone, images, in_torch):
    """Name -> (a call that takes steps, a call that gives features)."""
    ours, native = InJax(backbone, images), natively(backbone, images)
    found = {
        "JAX": (ours.features, ours.forward),
        "JAX, XLA's depthwise": (native.features, native.forward),
    }
    if in_torch is not None:
        for how in IN_TORCH:
            found[f"PyTorch, {how}"] = (
                lambda steps, how=how: in_torch.call("features", how, steps),
                lambda how=how: _torch_features(in_torch, how),
            )
    return found


def _torch_features(in_torch, how):
    in_torch.call("forward", how)
    with np.load(in_torch.folder / "forward.npz") as file:
        return file["features"]


def tie(calls):
    """Prints the largest difference from the first contender, which must be small."""
    first, *others = [forward() for _, forward in calls.values()]
    worst = max((float(np.abs(x - first).max() / np.abs(first).max()) for x in others), default=0)
    print(f"Largest relative difference of features: {worst:.1e}", flush=True)
    assert worst < 1e-3, "JAX and PyTorch disagree"


def report(calls):
    """The table: medians over rounds in which all take turns."""
    images = FLAGS.steps * FLAGS.batch
    rounds = [{k: call(FLAGS.steps) for k, (call, _) in calls.items()} for _ in range(FLAGS.rounds)]
    speeds = {k: [images / taken[k]["seconds"] for taken in rounds] for k in calls}
    work = {k: [1e3 * taken[k]["cpu_seconds"] / images for taken in rounds] for k in calls}
    print("| | images a second | CPU ms for each | JAX is faster | every round |\n|" + " --- |" * 5)
    for name, found in speeds.items():
        ratio = np.median(speeds["JAX"]) / np.median(found)
        every = " ".join(f"{x:.1f}" for x in found)
        cells = f"{np.median(found):.1f} | {np.median(work[name]):.1f} | {ratio:.2f}"
        print(f"| {name} | {cells} | {every} |", flush=True)


def main(_):
    """Prints the table."""
    limit_cores()
    require_device()
    name = f"efficientnet_lite{FLAGS.number}"
    shape = (PLACED, FLAGS.batch, FLAGS.side, FLAGS.side, 3)
    images = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    print(f"{' '.join([f'benchmarks/{Path(sys.argv[0]).name}', *sys.argv[1:]])}\n{machine()}")
    print(f"jax {jax.__version__} on {jax.local_devices()[0].device_kind}, batches {shape[1:]}")
    with tempfile.TemporaryDirectory() as folder:
        in_torch = None
        if FLAGS.torch_python:
            given = {"number": int(FLAGS.number), "weights": str(weights_path(name))}
            in_torch = InTorch("torch_efficientnet_lite.py", given, {}, images, Path(folder))
            about = in_torch.call("hello")
            print(f"PyTorch {about['version']}, {about['threads']} threads", flush=True)
            require_same(about["device"])
        calls = contenders(load_backbone(name), images, in_torch)
        tie(calls)
        report(calls)
        if in_torch is not None:
            in_torch.close()
    print(f"Afterwards: {machine()}")


if __name__ == "__main__":
    app.run(main)
