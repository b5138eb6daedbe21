"""CycleGAN's training step and reconstruction: JAX against the same networks in PyTorch.

    python benchmarks/cyclegan.py --torch_python=PATH [--variant=cpu|64|256 --pairs=2 --steps=20]

PATH is an interpreter that has PyTorch and NumPy; it runs torch_cyclegan.py and waits while JAX is
timed. First both run one batch from the same weights and must agree. Then rounds alternate, and
the medians stand in the table: pairs a second in training, images a second in scoring (image and
sum of squared errors). Both compute what the training loop does: placing the batch, losses and
gradients of all four networks, the pools, Adam, metrics fetched one step late. The JAX step also
carries the guard against non-finite updates. On a GPU both use it, and `--dtype=bfloat16` means
autocast in PyTorch; then the share of the card's peak stands below, from the FLOPs that XLA counts.
On a CPU that others use too, take `--cores=1` and read the processor's time.
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
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402

from ad_core.config import complete, load_recipe  # noqa: E402
from ad_core.training.guard import guarded  # noqa: E402
from ad_core.training.partition import infer, partition  # noqa: E402
from ad_core.types import Batch  # noqa: E402
from cyclegan_ad import cyclegan  # noqa: E402

flags.DEFINE_string("torch_python", None, "Interpreter that has PyTorch; none: JAX alone.")
flags.DEFINE_enum("variant", "cpu", ("cpu", "64", "256"), "Of configs/cyclegan.py.")
flags.DEFINE_enum("upsample", "resize", ("resize", "transposed"), "In the generators.")
flags.DEFINE_integer("pairs", 2, "Pairs in a training batch; twice as many images are scored.")
flags.DEFINE_integer("steps", 20, "Batches in a round.")
flags.DEFINE_integer("cores", 0, "Cores that both may use; 0: all.")
flags.DEFINE_integer("rounds", 3, "Rounds of each.")
flags.DEFINE_enum("dtype", "float32", ("float32", "bfloat16"), "Compute; parameters are float32.")
flags.DEFINE_bool("channels_last", False, "PyTorch's memory in NHWC order.")
flags.DEFINE_float("peak_tflops", 0.0, "Of the card in this dtype; 989 for bfloat16 on an H100.")
FLAGS = flags.FLAGS
PLACED = 4  # different batches that take turns
WARM_UP = 3  # batches before the first round
NETWORK = (
    "width", "blocks", "upsample", "disc_width", "disc_layers",
    "adversarial_weight", "cycle_weight", "identity_weight", "pool",
)  # fmt: skip


def make_config():
    """Brain MRI's recipe, at a constant rate."""
    config = complete(load_recipe(f"{HERE.parent}/configs/cyclegan.py:brain_mri,{FLAGS.variant}"))
    config.train.batch_size, config.train.dtype = 2 * FLAGS.pairs, FLAGS.dtype
    config.train.epochs = 0
    config.reconstructor.upsample = FLAGS.upsample
    config.reconstructor.optimiser.schedule = "constant"
    config.reconstructor.disc_optimiser.schedule = "constant"
    return config


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
        reconstructor = guarded(cyclegan.make(config))

        def train_step(state, batch, key):
            return reconstructor.train_step(state, batch, jax.random.fold_in(key, state.step))

        self.parts = partition(train_step, "jit", devices=jax.local_devices()[:1])
        self.key = jax.random.key(1)
        init = jax.jit(lambda key: reconstructor.init(key, images.shape[2:]))
        self.state = self.parts.place_state(init(jax.random.key(0)))
        valid, index = np.ones(2 * FLAGS.pairs, bool), np.arange(2 * FLAGS.pairs, dtype=np.int32)
        self.batches = [Batch(x, index % 2, None, valid, index) for x in images]

        def score(state, image, key):
            drawn = reconstructor.reconstruct(state, image, key).image
            return drawn, jnp.sum(jnp.square(image - drawn), axis=(1, 2, 3))

        self.inference = infer(score, self.parts.mesh)

    def weights(self):
        """Name -> array, as torch_cyclegan.py reads them."""
        return flax.traverse_util.flatten_dict(jax.device_get(self.state.params), sep="/")

    def flops(self):
        """Of one training step, as XLA counts them."""
        batch = self.parts.place_batch(self.batches[0])
        lowered = self.parts.step.lower(self.state, batch, self.key)  # type: ignore[attr-defined]
        return lowered.compile().cost_analysis()["flops"]

    def forward(self):
        """Image and sum of squared errors of the first batch."""
        return jax.device_get(self._score(0))

    def _score(self, number):
        state = self.state._replace(opt_state=(), extra={})
        return self.inference(state, self.batches[number % PLACED].image, self.key)

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
            jax.device_get(self._score(number))
        return since(start)


class InTorch:
    """The same calls, answered by torch_cyclegan.py in another interpreter."""

    def __init__(self, config, weights, images, folder):
        settings = {name: config.reconstructor[name] for name in NETWORK}
        adam = config.reconstructor.optimiser
        settings |= {name: adam[name] for name in ("lr", "b1", "b2", "eps")}
        settings["channels"] = config.data.channels
        given = {"settings": settings, "dtype": FLAGS.dtype, "channels_last": FLAGS.channels_last}
        (folder / "settings.json").write_text(json.dumps(given))
        np.savez(folder / "weights.npz", **weights)
        np.save(folder / "images.npy", images)
        self.folder = folder
        command = [FLAGS.torch_python, str(HERE / "torch_cyclegan.py"), f"--serve={folder}"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def call(self, name, *arguments):
        """The answer to one line; RuntimeError if the process has ended."""
        print(name, *arguments, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"torch_cyclegan.py ended at `{name}` with {self.process.wait()}.")
        return json.loads(answer)

    def forward(self):
        """Arrays of the first batch: image, sse."""
        self.call("forward")
        with np.load(self.folder / "forward.npz") as file:
            return file["image"], file["sse"]

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
    pairs = zip(("image", "sse"), in_jax.forward(), in_torch.forward(), strict=True)
    found = {name: float(np.abs(a - b).max() / np.abs(b).max()) for name, a, b in pairs}
    ours, theirs = in_jax.train(1)["metrics"], in_torch.call("train", 1)["metrics"]
    found |= {
        name: abs(float(ours[name]) - value) / max(abs(value), 1e-3)
        for name, value in theirs.items()
    }
    worst = {name: f"{value:.1e}" for name, value in found.items()}
    print(f"Relative differences: {worst}", flush=True)
    if FLAGS.dtype == "float32" and jax.default_backend() == "cpu":
        assert max(found.values()) < 2e-3, "JAX and PyTorch disagree"


def measure(call, per_batch):
    """Units per second, and milliseconds of processor per unit, of one round."""
    taken, units = call(FLAGS.steps), FLAGS.steps * per_batch
    return units / taken["seconds"], 1e3 * taken["cpu_seconds"] / units


def report(title, in_jax, in_torch):
    """One line of the table: medians over rounds in which both take turns; JAX's speed."""
    calls = [getattr(in_jax, title)]
    if in_torch is not None:
        calls.append(functools.partial(in_torch.call, title))
    for call in calls:
        call(WARM_UP)
    per_batch, unit = (FLAGS.pairs, "pairs") if title == "train" else (2 * FLAGS.pairs, "images")
    rounds = np.array([[measure(call, per_batch) for call in calls] for _ in range(FLAGS.rounds)])
    speed, cpu_ms = np.moveaxis(np.median(rounds, axis=0), -1, 0)
    ratios = [f"{speed[0] / x:.2f}" for x in speed[1:]] + [
        f"{x / cpu_ms[0]:.2f}" for x in cpu_ms[1:]
    ]
    cells = [f"{x:.1f}" for x in (*speed, *cpu_ms)] + ratios
    every = "; ".join(" ".join(f"{x:.1f}" for x in row) for row in rounds[..., 0].T)
    print(f"| {title}, {unit} | {' | '.join(cells)} | {every} |", flush=True)
    return float(speed[0])


def heading(both):
    """The head of the table."""
    who = ["JAX", "PyTorch"] if both else ["JAX"]
    cells = [f"{x} a second" for x in who] + [f"{x} CPU ms for each" for x in who]
    cells += ["ratio of speeds", "ratio of CPU"] if both else []
    cells = ["", *cells, f"a second, every round: {'; '.join(who)}"]
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


def start_torch(config, weights, images, folder):
    """The other interpreter, which must hold as many parameters."""
    in_torch = InTorch(config, weights, images, Path(folder))
    about, count = in_torch.call("hello"), sum(x.size for x in weights.values())
    assert about["parameters"] == count, f"PyTorch has {about['parameters']} parameters"
    print(
        f"PyTorch {about['version']} on {about['device']}, {about['threads']} threads", flush=True
    )
    return in_torch


def main(_):
    """Prints the table."""
    if FLAGS.cores:  # before XLA starts its threads; the other interpreter inherits it
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: FLAGS.cores])
    config = make_config()
    side = config.data.image_size
    images = make_images((PLACED, 2 * FLAGS.pairs, side, side, config.data.channels))
    in_jax = InJax(config, images)
    weights = in_jax.weights()
    count, device = sum(x.size for x in weights.values()), jax.local_devices()[0].device_kind
    print(f"{' '.join(['benchmarks/cyclegan.py', *sys.argv[1:]])}\n{machine()}")
    print(f"Python {platform.python_version()}, jax {jax.__version__} on {device}")
    print(f"{count} parameters, batches of {images.shape[1:]}, {FLAGS.dtype}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        in_torch = None
        if FLAGS.torch_python:
            in_torch = start_torch(config, weights, images, folder)
            tie(in_jax, in_torch)
        heading(in_torch is not None)
        pairs_a_second = report("train", in_jax, in_torch)
        report("reconstruct", in_jax, in_torch)
        if in_torch is not None:
            in_torch.close()
    if FLAGS.peak_tflops:
        tflops = in_jax.flops() * pairs_a_second / FLAGS.pairs / 1e12
        print(f"Training: {tflops:.2f} TFLOP/s, {tflops / FLAGS.peak_tflops:.1%} of the peak")
    print(f"Afterwards: {machine()}")


if __name__ == "__main__":
    app.run(main)
