"""A training step and a reconstruction in JAX beside the same network in PyTorch, in turns.

What vqgan.py and cyclegan.py share: the loops that are timed, the other interpreter, the table.
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

import flax.traverse_util
import jax
import numpy as np
from absl import flags

from ad_core.runtime.devices import infer
from ad_core.runtime.keys import image_keys
from ad_core.training.guard import guarded
from ad_core.training.partition import partition
from ad_core.types import Batch
from benchmarks.device import require_same

flags.DEFINE_string("torch_python", None, "Interpreter that has PyTorch; none: JAX alone.")
flags.DEFINE_integer("steps", 20, "Batches in a round.")
flags.DEFINE_integer("cores", 0, "Cores that both may use; 0: all.")
flags.DEFINE_integer("rounds", 3, "Rounds of each.")
flags.DEFINE_enum("dtype", "float32", ("float32", "bfloat16"), "Compute; parameters are float32.")
flags.DEFINE_bool("channels_last", False, "PyTorch's memory in NHWC order.")
flags.DEFINE_float("peak_tflops", 0.0, "Of the card in this dtype; 989 for bfloat16 on an H100.")
FLAGS = flags.FLAGS
HERE = Path(__file__).resolve().parent
PLACED = 4  # different batches that take turns
WARM_UP = 3  # batches before the first round


def limit_cores():
    """Before XLA starts its threads; the other interpreter inherits it."""
    if FLAGS.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: FLAGS.cores])


def make_images(batch, config):
    """Waves of random direction with a little noise, in [-1, 1]: [batches, b, h, w, c]."""
    side = config.data.image_size
    shape = (PLACED, batch, side, side, config.data.channels)
    rng = np.random.default_rng(0)
    grid = np.linspace(0.0, 1.0, side)
    slopes = rng.uniform(-20, 20, (2, *shape[:2], 1, 1, 1))
    waves = np.sin(slopes[0] * grid[:, None, None] + slopes[1] * grid[None, :, None])
    return np.clip(0.8 * waves + 0.05 * rng.normal(size=shape), -1, 1).astype(np.float32)


class InJax:
    """The step and the reconstruction as the training loop and the scoring compile them."""

    def __init__(self, method, images, labels, reconstruct):
        learn = guarded(method.learn)

        def train_step(state, batch, key):
            return learn.train_step(state, batch, jax.random.fold_in(key, state.step))

        def inference(state, image):
            return reconstruct(state, image, image_keys(image))

        self.parts = partition(train_step, "jit", devices=jax.local_devices()[:1])
        self.key = jax.random.key(1)
        init = jax.jit(lambda key: learn.init(key, images.shape[2:]))
        self.state = self.parts.place_state(init(jax.random.key(0)))
        index = np.arange(images.shape[1], dtype=np.int32)
        valid = np.ones(index.size, bool)
        self.batches = [Batch(x, labels, valid, index) for x in images]
        self.inference = infer(inference, self.parts.mesh)

    def weights(self):
        """Name -> array, as the other interpreter reads them."""
        return flax.traverse_util.flatten_dict(jax.device_get(self.state.params), sep="/")

    def flops(self):
        """Operations of one training step, as XLA counts them."""
        batch = self.parts.place_batch(self.batches[0])
        lowered = self.parts.step.lower(self.state, batch, self.key)  # type: ignore[attr-defined]
        return lowered.compile().cost_analysis()["flops"]

    def forward(self):
        """Reconstruction of the first batch."""
        return jax.device_get(self._reconstruct(0))

    def _reconstruct(self, number):
        state = self.state._replace(opt_state=(), extra={})
        return self.inference(state, self.batches[number % PLACED].image)

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
    """The same calls, answered by `script` in another interpreter."""

    def __init__(self, script, settings, weights, images, folder):
        given = {"settings": settings, "dtype": FLAGS.dtype, "channels_last": FLAGS.channels_last}
        (folder / "settings.json").write_text(json.dumps(given))
        np.savez(folder / "weights.npz", **weights)
        np.save(folder / "images.npy", images)
        self.folder, self.script = folder, script
        command = [FLAGS.torch_python, str(HERE / script), f"--serve={folder}"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def call(self, name, *arguments):
        """The answer to one line; RuntimeError if the process has ended."""
        print(name, *arguments, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.script} ended at `{name}` with {self.process.wait()}.")
        return json.loads(answer)

    def forward(self):
        """Arrays of the first batch by name."""
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
    """Time that went by since `now` was `start`."""
    seconds, cpu_seconds = now()
    return {"seconds": seconds - start[0], "cpu_seconds": cpu_seconds - start[1]}


def compare(in_jax, script, settings, images, outputs, units):
    """Prints the table, and with --peak_tflops the share of it that JAX trains with.

    Args:
        script, settings: of the twin in PyTorch.
        outputs: from what `in_jax` reconstructs to arrays by the twin's names.
        units: "train" and "reconstruct" -> (units in a batch, their name).
    """
    weights = in_jax.weights()
    count, device = sum(x.size for x in weights.values()), jax.local_devices()[0].device_kind
    print(f"{' '.join([f'benchmarks/{Path(sys.argv[0]).name}', *sys.argv[1:]])}\n{machine()}")
    print(f"Python {platform.python_version()}, jax {jax.__version__} on {device}")
    print(f"{count} parameters, batches of {images.shape[1:]}, {FLAGS.dtype}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        in_torch = None
        if FLAGS.torch_python:
            in_torch = InTorch(script, settings, weights, images, Path(folder))
            about = in_torch.call("hello")
            assert about["parameters"] == count, f"PyTorch has {about['parameters']} parameters"
            who = f"PyTorch {about['version']} on {about['device']}, {about['threads']} threads"
            print(who, flush=True)
            require_same(about["device"])
            tie(in_jax, in_torch, outputs)
        heading(in_torch is not None)
        trained, _ = (report(title, *units[title], in_jax, in_torch) for title in units)
        if in_torch is not None:
            in_torch.close()
    if FLAGS.peak_tflops:
        tflops = in_jax.flops() * trained / units["train"][0] / 1e12
        print(f"Training: {tflops:.2f} TFLOP/s, {tflops / FLAGS.peak_tflops:.1%} of the peak")
    print(f"Afterwards: {machine()}")


def tie(in_jax, in_torch, outputs):
    """Prints the largest differences of one pass and one step; in float32 they must be small."""
    ours, theirs = outputs(in_jax.forward()), in_torch.forward()
    found = {
        name: float(np.abs(ours[name] - x).max() / np.abs(x).max()) for name, x in theirs.items()
    }
    ours, theirs = in_jax.train(1)["metrics"], in_torch.call("train", 1)["metrics"]
    found |= {  # what hangs on noise that each draws has a name of its own
        name: abs(float(ours[name]) - value) / max(abs(value), 1e-3)
        for name, value in theirs.items()
        if name in ours
    }
    worst = {name: f"{value:.1e}" for name, value in found.items()}
    print(f"Relative differences: {worst}", flush=True)
    if FLAGS.dtype == "float32" and jax.default_backend() == "cpu":
        assert max(found.values()) < 2e-3, "JAX and PyTorch disagree"


def measure(call, per_batch):
    """Units per second, and milliseconds of processor per unit, of one round."""
    taken, units = call(FLAGS.steps), FLAGS.steps * per_batch
    return units / taken["seconds"], 1e3 * taken["cpu_seconds"] / units


def report(title, per_batch, unit, in_jax, in_torch):
    """One line of the table: medians over rounds in which both take turns; JAX's speed."""
    calls = [getattr(in_jax, title)]
    if in_torch is not None:
        calls.append(functools.partial(in_torch.call, title))
    for call in calls:
        call(WARM_UP)
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
