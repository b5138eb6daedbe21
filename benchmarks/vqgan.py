"""VQGAN's training step and reconstruction: JAX against the same network in PyTorch.

    python benchmarks/vqgan.py --torch_python=PATH [--size=cpu|accelerator --batch=8 --steps=20]

PATH is an interpreter that has PyTorch and NumPy; it runs torch_vqgan.py and waits while JAX is
timed. First both run one batch from the same weights and must agree. Then rounds alternate, and
the medians stand in the table. Both compute what the training loop does: placing the batch, both
players' gradients, Adam, averaged weights, the count of codes, metrics fetched one step late. The
JAX step also carries the guard against non-finite updates. On a GPU both use it, and
`--dtype=bfloat16` means autocast in PyTorch. On a CPU that others use too, take `--cores=1` and
read the processor's time: threads that wait for each other on busy cores (OpenMP's, PyTorch's)
lose several times their speed there.
"""

import functools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
HERE = Path(__file__).resolve().parent
sys.path[0] = str(HERE.parent)

import flax.traverse_util  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402

from ad_core.config import complete  # noqa: E402
from ad_core.training.guard import guarded  # noqa: E402
from ad_core.training.partition import infer, partition  # noqa: E402
from ad_core.types import Batch  # noqa: E402
from vqgan_ad import vqgan  # noqa: E402

flags.DEFINE_string("torch_python", None, "Interpreter that has PyTorch; none: JAX alone.")
flags.DEFINE_enum("size", "cpu", ("cpu", "accelerator"), "The defaults to take.")
flags.DEFINE_integer("batch", 8, "Images in a batch.")
flags.DEFINE_integer("steps", 20, "Batches in a round.")
flags.DEFINE_integer("cores", 0, "Cores that both may use; 0: all.")
flags.DEFINE_integer("rounds", 3, "Rounds of each.")
flags.DEFINE_integer("channels", 1, "Channels of the images.")
flags.DEFINE_enum("dtype", "float32", ("float32", "bfloat16"), "Compute; parameters are float32.")
flags.DEFINE_bool("channels_last", False, "PyTorch's memory in NHWC order.")
FLAGS = flags.FLAGS
PLACED = 4  # different batches that take turns
WARM_UP = 3  # batches before the first round
NETWORK = (
    "width", "multipliers", "blocks", "attention", "latent", "disc_width", "disc_layers", "codes",
    "quantisation", "beta", "disc_weight", "delta", "lambda_max", "ema",
)  # fmt: skip


def make_config():
    """The defaults of this size; the game and the codes' start are on from the first step."""
    return complete(
        ConfigDict(
            {
                "size": FLAGS.size,
                "data": {"channels": FLAGS.channels},
                "train": {"batch_size": FLAGS.batch, "dtype": FLAGS.dtype},
                # k-means once, in the warm-up: the PyTorch step has none.
                "reconstructor": {"disc_start": 0, "disc_ramp": 1, "kmeans_at": 1},
            }
        )
    )


def make_images(shape):
    """Waves of random direction with a little noise, in [-1, 1]: [batches, b, h, w, c]."""
    rng = np.random.default_rng(0)
    grid = np.linspace(0.0, 1.0, shape[2])
    slopes = rng.uniform(-20, 20, (2, *shape[:2], 1, 1, 1))
    waves = np.sin(slopes[0] * grid[:, None, None] + slopes[1] * grid[None, :, None])
    return np.clip(0.8 * waves + 0.05 * rng.normal(size=shape), -1, 1).astype(np.float32)


class InJax:
    """The step and the reconstruction as the training loop and the scoring compile them."""

    def __init__(self, config, images):
        reconstructor = guarded(vqgan.make(config))

        def train_step(state, batch, key):
            return reconstructor.train_step(state, batch, jax.random.fold_in(key, state.step))

        self.parts = partition(train_step, "jit", devices=jax.local_devices()[:1])
        self.key = jax.random.key(1)
        init = jax.jit(lambda key: reconstructor.init(key, images.shape[2:]))
        self.state = self.parts.place_state(init(jax.random.key(0)))
        labels, valid = np.zeros(FLAGS.batch, np.int32), np.ones(FLAGS.batch, bool)
        index = np.arange(FLAGS.batch, dtype=np.int32)
        self.batches = [Batch(x, labels, None, valid, index) for x in images]
        self.inference = infer(reconstructor.reconstruct, self.parts.mesh)

    def weights(self):
        """Name -> array, as torch_vqgan.py reads them."""
        return flax.traverse_util.flatten_dict(jax.device_get(self.state.params), sep="/")

    def forward(self):
        """Reconstruction of the first batch."""
        return jax.device_get(self._reconstruct(0))

    def _reconstruct(self, number):
        image = self.batches[number % PLACED].image
        return self.inference(self.state._replace(opt_state=(), extra={}), image, self.key)

    def train(self, steps):
        """Seconds for `steps` steps, and the metrics of the first."""
        first, late, start = None, None, now()
        for number in range(steps):
            batch = self.parts.place_batch(self.batches[number % PLACED])
            self.state, metrics = self.parts.step(self.state, batch, self.key)
            late, metrics = metrics, late
            if metrics is not None:
                fetched = jax.device_get(metrics)
                first = first or fetched
        fetched = jax.device_get(late)
        return {**since(start), "metrics": first or fetched}

    def reconstruct(self, steps):
        """Seconds for `steps` batches, each fetched to the host."""
        start = now()
        for number in range(steps):
            jax.device_get(self._reconstruct(number))
        return since(start)


class InTorch:
    """The same calls, answered by torch_vqgan.py in another interpreter."""

    def __init__(self, config, weights, images, folder):
        settings = {name: config.reconstructor[name] for name in NETWORK}
        adam = config.reconstructor.optimiser
        settings |= {name: adam[name] for name in ("lr", "b1", "b2", "eps")}
        settings |= {"channels": FLAGS.channels, "restart_every": config.train.epoch_steps}
        given = {"settings": settings, "dtype": FLAGS.dtype, "channels_last": FLAGS.channels_last}
        (folder / "settings.json").write_text(json.dumps(given))
        np.savez(folder / "weights.npz", **weights)
        np.save(folder / "images.npy", images)
        self.folder = folder
        command = [FLAGS.torch_python, str(HERE / "torch_vqgan.py"), f"--serve={folder}"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def call(self, name, *arguments):
        """The answer to one line; RuntimeError if the process has ended."""
        print(name, *arguments, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"torch_vqgan.py ended at `{name}` with {self.process.wait()}.")
        return json.loads(answer)

    def forward(self):
        """Arrays of the first batch: image, real, fake, codes."""
        self.call("forward")
        with np.load(self.folder / "forward.npz") as file:
            return dict(file)

    def close(self):
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()


def now():
    """Wall time and time on the processor, both in seconds."""
    return time.perf_counter(), time.process_time()


def since(start):
    """What went by since `now` was `start`."""
    seconds, cpu_seconds = now()
    return {"seconds": seconds - start[0], "cpu_seconds": cpu_seconds - start[1]}


def tie(in_jax, in_torch):
    """Prints the largest differences of one pass and one step; in float32 they must be small."""
    ours, theirs = in_jax.forward(), in_torch.forward()
    pairs = {
        "image": (ours.image, theirs["image"]),
        "logits of the image": (ours.maps["disc_real"], theirs["real"]),
        "logits of the reconstruction": (ours.maps["disc_fake"], theirs["fake"]),
    }
    same = np.mean(ours.maps["codes"] == theirs["codes"])
    found = {name: float(np.abs(a - b).max()) for name, (a, b) in pairs.items()}
    ours, theirs = in_jax.train(1)["metrics"], in_torch.call("train", 1)["metrics"]
    found |= {
        name: abs(float(ours[name]) - value) / max(abs(value), 1e-3)
        for name, value in theirs.items()
    }
    worst = {name: f"{value:.1e}" for name, value in found.items()}
    print(f"Same codes: {same:.4%}. Differences (metrics: relative): {worst}", flush=True)
    if FLAGS.dtype == "float32" and jax.default_backend() == "cpu":
        assert same == 1.0 and max(found.values()) < 2e-3, "JAX and PyTorch disagree"


def measure(call):
    """Images per second, and milliseconds of processor per image, of one round."""
    taken, images = call(FLAGS.steps), FLAGS.steps * FLAGS.batch
    return images / taken["seconds"], 1e3 * taken["cpu_seconds"] / images


def report(title, in_jax, in_torch):
    """One line of the table: medians over rounds in which both take turns, and every round."""
    calls = [getattr(in_jax, title)]
    if in_torch is not None:
        calls.append(functools.partial(in_torch.call, title))
    for call in calls:
        call(WARM_UP)
    rounds = np.array([[measure(call) for call in calls] for _ in range(FLAGS.rounds)])
    speed, cpu_ms = np.moveaxis(np.median(rounds, axis=0), -1, 0)
    ratios = [f"{speed[0] / x:.2f}" for x in speed[1:]] + [
        f"{x / cpu_ms[0]:.2f}" for x in cpu_ms[1:]
    ]
    cells = [f"{x:.1f}" for x in (*speed, *cpu_ms)] + ratios
    every = "; ".join(" ".join(f"{x:.1f}" for x in row) for row in rounds[..., 0].T)
    print(f"| {title} | {' | '.join(cells)} | {every} |", flush=True)


def heading(both):
    """The head of the table."""
    who = ["JAX", "PyTorch"] if both else ["JAX"]
    cells = [f"{x} images/s" for x in who] + [f"{x} CPU ms/image" for x in who]
    cells += ["ratio of speeds", "ratio of CPU"] if both else []
    cells = ["", *cells, f"images/s of every round: {'; '.join(who)}"]
    print(f"| {' | '.join(cells)} |\n|{' --- |' * len(cells)}")


def machine():
    """Processor, cores and load, in words."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), model)
    load = " ".join(f"{x:.1f}" for x in os.getloadavg())
    used = len(os.sched_getaffinity(0))
    return f"{model}, {used} of {os.cpu_count()} cores, load average {load}"


def main(_):
    """Prints the table."""
    if FLAGS.cores:  # before XLA starts its threads; the other interpreter inherits it
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: FLAGS.cores])
    config = make_config()
    side = config.data.image_size
    images = make_images((PLACED, FLAGS.batch, side, side, FLAGS.channels))
    in_jax = InJax(config, images)
    weights = in_jax.weights()
    count = sum(x.size for x in weights.values())
    device = jax.local_devices()[0].device_kind
    print(f"{' '.join(['benchmarks/vqgan.py', *sys.argv[1:]])}\n{machine()}")
    print(f"Python {platform.python_version()}, jax {jax.__version__} on {device}")
    print(f"{count} parameters, batches of {images.shape[1:]}, {FLAGS.dtype}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        in_torch = None
        if FLAGS.torch_python:
            in_torch = InTorch(config, weights, images, Path(folder))
            about = in_torch.call("hello")
            assert about["parameters"] == count, f"PyTorch has {about['parameters']} parameters"
            print(
                f"PyTorch {about['version']} on {about['device']}, {about['threads']} threads, "
                f"{about['parameters']} parameters",
                flush=True,
            )
            tie(in_jax, in_torch)
        heading(in_torch is not None)
        for title in ("train", "reconstruct"):
            report(title, in_jax, in_torch)
        if in_torch is not None:
            in_torch.close()
    print(f"Afterwards: {machine()}")


if __name__ == "__main__":
    app.run(main)
