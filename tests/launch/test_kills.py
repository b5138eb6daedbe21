"""The main job's training under SIGKILL, as processes of their own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from ad_core.data.shape import image_shape
from ad_core.runtime.config import from_json
from ad_core.runtime.registry import resolve
from ad_core.training.checkpoint import Checkpoints
from ad_core.training.guard import guarded

ROOT = Path(__file__).parents[2]
KILLS, STEPS = 20, 150


@pytest.fixture
def start(job_arguments, tmp_path):
    """Starts a training of STEPS steps in a workdir, on one device, saving after every step."""
    environment = {key: value for key, value in os.environ.items() if key != "XLA_FLAGS"}
    environment |= {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"), "JAX_PLATFORMS": "cpu"}
    settings = (
        f"--config.train.steps={STEPS}",
        "--config.train.checkpoint_every=1",
        "--config.train.image_every=1000",
        "--until=train",
    )

    def start(workdir):
        command = [sys.executable, ROOT / "launch" / "train.py", *job_arguments, *settings]
        with (workdir.parent / f"{workdir.name}.log").open("a") as log:
            return subprocess.Popen(
                [*command, f"--workdir={workdir}"],
                env=environment | {"PYTHONPATH": str(ROOT)},
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    return start


def newest(workdir):
    names = [path.name for path in workdir.glob("checkpoints/*")]
    return max((int(name) for name in names if name.isdigit()), default=0)


def kill(process, workdir, rng, *, after_a_step):
    """At a random moment: of the whole start, or once this process has saved a step."""
    before = newest(workdir)
    while after_a_step and newest(workdir) == before and process.poll() is None:
        time.sleep(0.05)
    time.sleep(rng.uniform(0, 1 if after_a_step else 8))
    process.kill()
    assert process.wait() == -9, "the training ended before it was killed"


def trained(workdir):
    """The last checkpoint, as bytes by the path of each array."""
    config = from_json((workdir / "config.json").read_text())
    model = guarded(resolve(config.method).make(config).learn)
    template = jax.eval_shape(lambda: model.init(jax.random.key(0), image_shape(config.data)))
    checkpoints = Checkpoints(workdir / "checkpoints", keep=3)
    restored = checkpoints.restore(template)
    checkpoints.close()
    assert restored.step == STEPS
    leaves = jax.tree_util.tree_leaves_with_path(restored.state)
    return {str(path): np.asarray(leaf).tobytes() for path, leaf in leaves}, restored.position


@pytest.mark.slow
def test_a_main_job_killed_twenty_times_trains_the_same_bits(start, tmp_path):
    rng = np.random.default_rng(0)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(whole).wait() == 0, (tmp_path / "whole.log").read_text()
    reached = []
    for number in range(KILLS):
        kill(start(cut), cut, rng, after_a_step=number % 2 == 0)
        reached.append(newest(cut))
    assert len(set(reached)) > KILLS // 3
    assert start(cut).wait() == 0, (tmp_path / "cut.log").read_text()
    assert trained(cut) == trained(whole)
    rows = [json.loads(row) for row in (cut / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, STEPS + 1))
    assert "Traceback" not in (tmp_path / "cut.log").read_text()
