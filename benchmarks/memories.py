"""PatchCore's parts beside NumPy, PyTorch and FAISS, and the memory that it takes to learn.

    python benchmarks/memories.py --torch_python=PATH [--points=50000 --width=1024 --share=0.01]
    python benchmarks/memories.py --images=10000        (peak memory of learning, and no more)

PATH is an interpreter that has PyTorch and NumPy, and FAISS where it is to be compared; it runs
torch_memories.py and waits while the others are timed. Points are noise around 300 centres, in
float32. All must choose the same coreset and find the same neighbours. Compiling is not
timed: each runs once before the first round.
"""

import resource
import sys
import tempfile
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from absl import app, flags  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402

from ad_core.runtime.config import complete  # noqa: E402
from ad_core.types import Batch  # noqa: E402
from baselines_ad import patchcore  # noqa: E402
from baselines_ad.coreset import k_centres_compiled  # noqa: E402
from baselines_ad.nearest import nearest  # noqa: E402
from benchmarks.beside_torch import (  # noqa: E402
    FLAGS,
    InTorch,
    limit_cores,
    machine,
    now,
    since,
)
from benchmarks.device import require_device, require_same  # noqa: E402

flags.DEFINE_integer("points", 50_000, "Patches of which the coreset is chosen.")
flags.DEFINE_integer("width", 1024, "Channels of a patch.")
flags.DEFINE_float("share", 0.01, "Of the points, that the coreset keeps.")
flags.DEFINE_integer("queries", 8192, "Patches whose nearest neighbour is looked for: 8 images.")
flags.DEFINE_integer("images", 0, "Learn from so many made-up images of 256 px, and state memory.")
WORK = ("coreset", "neighbours")


def make_points(count, width, seed=0):
    """Points around 300 centres [count, width], in float32."""
    rng = np.random.default_rng(seed)
    centres = 3 * rng.normal(size=(300, width))
    chosen = centres[rng.integers(0, len(centres), count)]
    return (chosen + rng.normal(size=(count, width))).astype(np.float32)


class InJax:
    """The project's own functions."""

    def __init__(self, points, queries, size):
        self.points, self.queries, self.size = jnp.asarray(points), jnp.asarray(queries), size
        self.bank = self.points[: self.size]
        self.search = jax.jit(nearest)

    def coreset(self):
        """Indices of the coreset, the first point first."""
        start = jnp.zeros((), jnp.int32)
        return np.asarray(k_centres_compiled(self.points, start, size=self.size, most=self.size))

    def neighbours(self):
        """Item of the bank that is nearest to each query."""
        return np.asarray(self.search(self.queries[None], self.bank).item[0])


class InNumpy:
    """The same by matrix products, in float32."""

    def __init__(self, points, queries, size):
        self.points, self.queries, self.size = points, queries, size
        self.bank = points[:size]

    def coreset(self):
        """As InJax: |x|^2 - 2 xc + |c|^2, one product a step."""
        squares = np.einsum("nd,nd->n", self.points, self.points)
        chosen, left = [0], np.full(len(self.points), np.inf, np.float32)
        for _ in range(self.size - 1):
            apart = squares + squares[chosen[-1]] - 2 * (self.points @ self.points[chosen[-1]])
            left = np.minimum(left, apart)
            chosen.append(int(left.argmax()))
        return np.array(chosen)

    def neighbours(self):
        """As InJax."""
        return np.argmin((self.bank**2).sum(1)[None] - 2 * self.queries @ self.bank.T, axis=1)


def timed(call):
    """Seconds, and what a call gives."""
    start = now()
    found = call()
    return since(start)["seconds"], found


def contenders(ours, theirs, in_torch):
    """Name -> work -> a call that gives (seconds, indices)."""
    found = {
        "JAX": {work: lambda work=work: timed(getattr(ours, work)) for work in WORK},
        "NumPy": {work: lambda work=work: timed(getattr(theirs, work)) for work in WORK},
    }
    if in_torch is not None:
        for name, calls in in_torch.call("hello")["calls"].items():
            found[name] = {
                work: lambda work=work, call=call: _ask(in_torch, call, work)
                for work, call in calls.items()
            }
    return found


def _ask(in_torch, call, work):
    answer = in_torch.call(call)
    return answer["seconds"], np.load(in_torch.folder / f"{work}.npy")


def report(calls):
    """The table: medians over rounds in which all take turns; all must find the same."""
    print(
        "| | coreset, s | neighbours, s | JAX is faster, coreset | neighbours |\n|" + " --- |" * 5
    )
    first = {work: calls["JAX"][work]()[1] for work in WORK}
    for each in calls.values():
        for work, call in each.items():
            agreed = np.mean(call()[1] == first[work])
            assert agreed > 0.99, f"{work}: {agreed:.1%} agree"
    rounds = [
        {k: {w: c()[0] for w, c in of.items()} for k, of in calls.items()}
        for _ in range(FLAGS.rounds)
    ]
    medians = {k: {w: np.median([r[k][w] for r in rounds]) for w in of} for k, of in calls.items()}
    for name, of in medians.items():
        cells = [f"{of[w]:.3f}" if w in of else "" for w in WORK]
        cells += [f"{of[w] / medians['JAX'][w]:.2f}" if w in of else "" for w in WORK]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def compare():
    """Prints the table of speeds."""
    size = round(FLAGS.share * FLAGS.points)
    points = make_points(FLAGS.points, FLAGS.width)
    queries = make_points(FLAGS.queries, FLAGS.width, seed=1)
    print(f"{points.shape} to {size}; {queries.shape} against {size}; jax {jax.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        in_torch = None
        if FLAGS.torch_python:
            given = {"points": points, "queries": queries}
            in_torch = InTorch("torch_memories.py", {"size": size}, given, points, Path(folder))
            about = in_torch.call("hello")
            print(f"PyTorch {about['version']}, FAISS {about['faiss']}, {about['threads']} threads")
            require_same(about["device"])
        report(contenders(InJax(points, queries, size), InNumpy(points, queries, size), in_torch))
        if in_torch is not None:
            in_torch.close()


def learn(count):
    """Learns PatchCore from made-up images; prints the peak of the process's memory."""
    recipe = {"method": "baselines_ad.patchcore", "size": "cpu", "data": {"channels": 3}}
    config = complete(ConfigDict(recipe))
    rng, b = np.random.default_rng(0), 32
    image = rng.uniform(-1, 1, (b, 256, 256, 3)).astype(np.float32)
    label, index = np.zeros(b, np.int32), np.arange(b, dtype=np.int32)

    def batches():
        for first in range(0, count, b):
            yield Batch(np.roll(image, first, axis=1), label, index < count - first, index)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    seconds, state = timed(lambda: patchcore.make(config).learn.fit(batches(), jax.random.key(0)))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    bank = np.asarray(state.params["memory"]["bank"]).shape
    print(f"{count} images of 256 px: {seconds:.0f} s; peak {after:.0f} MB, {before:.0f} MB before")
    print(f"bank {bank}")


def main(_):
    """Prints machine and figures."""
    limit_cores()
    require_device()
    print(f"{' '.join([f'benchmarks/{Path(sys.argv[0]).name}', *sys.argv[1:]])}\n{machine()}")
    if FLAGS.images:
        learn(FLAGS.images)
    else:
        compare()
    print(f"Afterwards: {machine()}")


if __name__ == "__main__":
    app.run(main)
