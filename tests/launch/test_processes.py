"""Several processes train to the weights of one, and go on after one of them was killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from ad_core.data.shape import image_shape
from ad_core.runtime.config import from_json
from ad_core.runtime.registry import resolve
from ad_core.runtime.sealed import verify_folder
from ad_core.training.checkpoint import Checkpoints
from ad_core.training.guard import guarded
from tests.launch.conftest import ROOT, TINY

DEVICES = 8  # of all processes together
# The small networks run for a shorter time than XLA takes to make them fast.
UNHURRIED = "--xla_backend_optimization_level=0"


# Adam divides by the size of a gradient: a bias in front of a norm has none but what is rounded,
# and of that it makes steps of full length. Plain descent leaves rounding as small as it is.
def plain(*optimisers, lr):
    settings = ("name=sgd", f"lr={lr}", "schedule=constant")
    return tuple(f"--config.reconstructor.{name}.{x}" for name in optimisers for x in settings)


BOTH = ("optimiser", "disc_optimiser")
VQGAN = (*TINY, *plain(*BOTH, lr=3e-4))
CYCLEGAN = (
    f"--config={ROOT}/configs/retina_oct.py:phantom,cpu",
    "--config.method=cyclegan_ad.cyclegan",
    "--config.data.image_size=32",
    "--config.data.protocol=cyclegan_ad",
    "--config.data.calibration.normal=0.3",
    "--config.data.calibration.abnormal=0.3",
    "--config.data.augment=none",
    "--config.data.phantom.normal=48",
    "--config.data.phantom.abnormal=40",
    "--config.train.batch_size=8",
    "--config.train.checkpoint_every=10",
    "--config.reconstructor.width=4",
    "--config.reconstructor.blocks=1",
    "--config.reconstructor.disc_width=4",
    *plain(*BOTH, lr=3e-4),
)
# Without a ReLU, whose kinks enlarge rounding: docs/cluster.md.
TRANSFORMERS = (
    *CYCLEGAN,
    "--config.reconstructor.network=vit",
    "--config.reconstructor.discriminator=vit",
    *(
        f"--config.reconstructor.{vit}.{setting}"
        for vit in ("vit", "disc_vit")
        for setting in ("patch=8", "width=16", "depth=1", "heads=2")
    ),
    *plain(*BOTH, lr=3e-5),
)
DIFFUSION = (
    *(x for x in TINY if ".reconstructor." not in x and ".method=" not in x),
    "--config.method=diffusion_ad.pixel",
    "--config.reconstructor.unet.width=8",
    "--config.reconstructor.unet.multipliers=(1,2)",
    *plain("optimiser", lr=3e-2),
)


@pytest.fixture
def start(tmp_path):
    """Starts the processes of a training; each has its part of the devices, and its own log."""

    def start(workdir, *arguments, processes):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        flag = f"--xla_force_host_platform_device_count={DEVICES // processes}"
        environment = os.environ | {"XLA_FLAGS": f"{flag} {UNHURRIED}", "JAX_PLATFORMS": "cpu"}
        environment["PYTHONPATH"] = str(ROOT)
        command = [sys.executable, ROOT / "launch" / "train.py", *arguments, f"--workdir={workdir}"]
        running = []
        for number in range(processes):
            joining = [f"--coordinator=localhost:{port}", f"--processes={processes}"]
            joining.append(f"--process={number}")
            with (tmp_path / f"log{number}").open("a") as log:
                running.append(
                    subprocess.Popen(
                        list(map(str, [*command, *(joining if processes > 1 else [])])),
                        env=environment,
                        stdout=log,
                        stderr=log,
                    )
                )
        return running

    return start


def ended(running, tmp_path):
    """Waits; the logs are the message where one failed."""
    logs = sorted(tmp_path.glob("log*"))
    status = [process.wait() for process in running]
    assert not any(status), "\n".join(path.read_text()[-4000:] for path in logs)


def state_of(workdir):
    """The newest checkpoint, as arrays by name."""
    config = from_json((workdir / "config.json").read_text())
    learn = resolve(config.method).make(config).learn
    template = None
    if hasattr(learn, "init"):
        shape = image_shape(config.data)
        template = jax.eval_shape(lambda key: guarded(learn).init(key, shape), jax.random.key(0))
    found = Checkpoints(workdir / "checkpoints", keep=3).restore(template)
    verify_folder(workdir / "checkpoints" / str(found.step))
    leaves = jax.tree_util.tree_leaves_with_path(found.state.params)
    return found, {jax.tree_util.keystr(path): np.asarray(x) for path, x in leaves}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "count"),
    [(VQGAN, 20), (CYCLEGAN, 2), (TRANSFORMERS, 20), (DIFFUSION, 20)],
    ids=["vqgan", "cyclegan", "cyclegan_of_transformers", "diffusion"],
)
def test_two_processes_train_to_the_weights_of_one(arguments, count, start, tmp_path):
    counted = (f"--config.train.steps={count}", "--config.train.log_every=1")
    job = (*arguments, *counted, "--until=train")
    ended(start(tmp_path / "one", *job, processes=1), tmp_path)
    ended(start(tmp_path / "two", *job, processes=2), tmp_path)
    (one, weights), (two, others) = state_of(tmp_path / "one"), state_of(tmp_path / "two")
    assert one.step == two.step == count and one.position == two.position
    assert weights.keys() == others.keys()
    for name, x in weights.items():
        np.testing.assert_allclose(others[name], x, atol=1e-5, rtol=0, err_msg=name)
    told = [
        [json.loads(line) for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("one", "two")
    ]
    steps, again = ([row["step"] for row in rows] for rows in told)
    assert steps == again
    moved = abs(told[0][-1]["loss"] - told[0][0]["loss"])
    assert moved > 1e-3, "nothing was learnt that could differ"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["padim", "patchcore", "gaussian", "features"])
def test_what_learns_in_one_pass_learns_the_same_bits_in_two_processes(name, start, tmp_path):
    job = (
        *(x for x in TINY if ".train." not in x and ".reconstructor." not in x),
        f"--config.method=baselines_ad.{name}",
        "--config.data.image_size=64",
        "--until=train",
    )
    ended(start(tmp_path / "one", *job, processes=1), tmp_path)
    ended(start(tmp_path / "two", *job, processes=2), tmp_path)
    (_, memory), (_, other) = state_of(tmp_path / "one"), state_of(tmp_path / "two")
    assert memory.keys() == other.keys() and any("memory" in name for name in memory)
    for name, x in memory.items():
        np.testing.assert_array_equal(other[name], x, err_msg=name)


@pytest.mark.slow
def test_a_job_of_which_a_process_was_killed_ends_as_an_undisturbed_one(start, tmp_path):
    job = (*TINY, "--config.train.steps=12")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    ended(start(whole, *job, "--until=train", processes=2), tmp_path)
    running = start(cut, *job, processes=2)
    last = time.monotonic() + 600
    while not (cut / "checkpoints" / "4").is_dir():
        assert time.monotonic() < last and running[1].poll() is None
        time.sleep(0.01)
    running[1].kill()
    running[1].wait()
    running[0].send_signal(signal.SIGKILL)  # as a launcher does, which then starts all again
    running[0].wait()
    ended(start(cut, *job, processes=2), tmp_path)
    (undisturbed, weights), (_, others) = state_of(whole), state_of(cut)
    assert undisturbed.step == 12
    for name, x in weights.items():
        np.testing.assert_array_equal(others[name], x, err_msg=name)
    # The first process went on alone to the end of the main job.
    assert (cut / "detector" / "MANIFEST.json").is_file() and (cut / "results.json").is_file()
