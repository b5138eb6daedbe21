import json
import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict
from PIL import Image

from ad_core.errors import UserError
from ad_core.runtime.progress import Progress
from ad_core.runtime.stop import Stop, Stopped
from ad_core.training.checkpoint import Checkpoints
from ad_core.training.loop import train
from ad_core.training.optimisers import make_optimiser, optimiser_defaults
from ad_core.training.partition import (
    device_key,
    fetch_state,
    gather_over_devices,
    mean_over_devices,
    sum_over_devices,
)
from ad_core.training.writers import read_metrics
from ad_core.types import Batch, Method, Steps, TrainState, View

SIDE, IMAGES, BATCH = 4, 20, 8


def toy(optimiser=None, *, noise=0.1, bad_steps=()):
    """A linear autoencoder with averaged weights, a counter, and noise from the key."""
    optimiser = optimiser or make_optimiser(optimiser_defaults(lr=1e-2))

    def init(key, image_shape):
        width = int(np.prod(image_shape))
        a, b = jax.random.split(key)
        params = {
            "down": 0.3 * jax.random.normal(a, (width, 3)),
            "up": 0.3 * jax.random.normal(b, (3, width)),
        }
        extra = {"ema": params, "seen": jnp.zeros(IMAGES, jnp.int32)}
        return TrainState(jnp.int32(0), params, optimiser.init(params), extra)

    def decode(params, x):
        return (x.reshape(len(x), -1) @ params["down"] @ params["up"]).reshape(x.shape)

    def train_step(state, batch, key):
        def loss_of(params):
            x = batch.image
            noisy = x + noise * jax.random.normal(device_key(key), x.shape)
            return jnp.mean((decode(params, noisy) - x) ** 2)

        loss, grads = mean_over_devices(jax.value_and_grad(loss_of)(state.params))
        for step in bad_steps:
            loss = jnp.where(state.step == step, jnp.nan, loss)
        updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, state.extra["ema"], params)
        once = jnp.zeros(IMAGES, jnp.int32).at[batch.index].add(1)
        extra = {"ema": ema, "seen": state.extra["seen"] + sum_over_devices(once)}
        biggest = jnp.max(gather_over_devices(batch.index)).astype(jnp.float32)
        metrics = {"loss": loss, "biggest": biggest}
        return TrainState(state.step + 1, params, opt_state, extra), metrics

    def view(state, image, keys):
        return View(decode(state.params, image), {}, {})

    return Method(Steps(init, train_step), view)


def wide():
    """A `toy` of which a parameter is large enough to be divided among devices."""
    model = toy()

    def init(key, image_shape):
        state = model.learn.init(key, image_shape)
        grown = {**state.params, "unused": jnp.ones((64, 128))}
        optimiser = make_optimiser(optimiser_defaults(lr=1e-2))
        return state._replace(
            params=grown, opt_state=optimiser.init(grown), extra={**state.extra, "ema": grown}
        )

    return model._replace(learn=model.learn._replace(init=init))


class Images:
    """Shuffled anew each epoch of 2.5 batches, so that batches cross the epochs' border."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.images = rng.uniform(-1, 1, (IMAGES, SIDE, SIDE, 1)).astype(np.float32)
        self.given = 0

    def __next__(self):
        places = np.arange(self.given, self.given + BATCH)
        orders = {e: np.random.default_rng(e).permutation(IMAGES) for e in set(places // IMAGES)}
        index = np.array([orders[p // IMAGES][p % IMAGES] for p in places], np.int32)
        self.given += BATCH
        ones = np.ones(BATCH, bool)
        return Batch(self.images[index], np.zeros(BATCH, np.int32), ones, index)

    def get_state(self):
        return {"given": self.given}

    def set_state(self, state):
        self.given = state["given"]


class StopAt(Stop):
    """As if a signal came while `step` was computed."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def __bool__(self):
        self.left -= 1
        if self.left == 0:
            self.signal = 15
        return super().__bool__()


def config_of(**overrides):
    train_ = {
        "steps": 12,
        "batch_size": BATCH,
        "partition": "jit",
        "dtype": "float32",
        "log_every": 2,
        "image_every": 100,
        "checkpoint_every": 5,
        "keep": 3,
        "max_skipped": 3,
    } | overrides
    data = {"image_size": SIDE, "channels": 1}
    return ConfigDict({"seed": 7, "data": data, "train": train_})


def run(workdir, *, model=None, devices=1, stop=None, sample=None, **overrides):
    return train(
        model or toy(),
        config_of(**overrides),
        Images(),
        workdir=Path(workdir),
        devices=jax.devices()[:devices],
        stop=stop,
        sample=sample,
    )


def assert_same_bits(a, b):
    def same(path, x, y):
        assert (x.dtype, x.shape) == (y.dtype, y.shape), path
        assert x.tobytes() == y.tobytes(), path

    jax.tree_util.tree_map_with_path(same, fetch_state(a), fetch_state(b))


def without_rates(workdir):
    rows = read_metrics(workdir / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "images_per_s"} for row in rows]


# An epoch is 2.5 batches: 1 and 2 stop twice within the first one, 4 and 7 in later ones.
@pytest.mark.parametrize(("stops", "devices"), [((1, 1), 8), ((4,), 1), ((2, 5, 1), 1)])
def test_a_stopped_and_resumed_training_ends_in_the_same_bits(tmp_path, stops, devices):
    whole = run(tmp_path / "whole", devices=devices)
    for after in stops:
        with pytest.raises(Stopped) as stopped:
            run(tmp_path / "parts", devices=devices, stop=StopAt(after))
        assert stopped.value.code == 143
    parts = run(tmp_path / "parts", devices=devices)
    assert_same_bits(whole, parts)
    assert int(parts.extra["seen"].sum()) == 12 * BATCH
    assert Checkpoints(tmp_path / "parts" / "checkpoints", keep=3).steps()[-1] == 12


def test_a_gradient_that_is_half_gathered_is_resumed_to_the_same_bits(tmp_path):
    section = optimiser_defaults(lr=1e-2)
    section.accumulate = 4
    whole = run(tmp_path / "whole", model=toy(make_optimiser(section)))
    with pytest.raises(Stopped):
        run(tmp_path / "cut", model=toy(make_optimiser(section)), stop=StopAt(6))
    cut = run(tmp_path / "cut", model=toy(make_optimiser(section)))
    assert_same_bits(whole, cut)


def test_a_divided_state_takes_the_same_steps_and_is_resumed_whole(tmp_path):
    section = {"model_devices": 4, "image_every": 4}
    alone = run(tmp_path / "alone", model=wide(), devices=8)
    sample = Images().images[:3]
    with pytest.raises(Stopped):
        run(tmp_path / "cut", model=wide(), devices=8, stop=StopAt(6), sample=sample, **section)
    divided = run(tmp_path / "cut", model=wide(), devices=8, sample=sample, **section)
    assert divided.params["down"].sharding.is_fully_replicated
    for name, x in alone.params.items():
        np.testing.assert_allclose(divided.params[name], x, atol=1e-5, rtol=0)
    assert (tmp_path / "cut" / "samples" / "step_000012.png").is_file()


def test_a_training_that_lost_its_last_steps_ends_in_the_same_bits_and_rows(tmp_path):
    class Killed(Exception):
        pass

    class Mortal(Images):
        def __next__(self):
            if self.given == 9 * BATCH:
                raise Killed
            return super().__next__()

    whole = run(tmp_path / "whole", checkpoint_every=4)
    config, model = config_of(checkpoint_every=4), toy()
    with pytest.raises(Killed):
        train(model, config, Mortal(), workdir=tmp_path / "cut", devices=jax.devices()[:1])
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # the row that was being written
    cut = run(tmp_path / "cut", checkpoint_every=4)
    assert_same_bits(whole, cut)
    assert without_rates(tmp_path / "whole") == without_rates(tmp_path / "cut")
    assert [row["step"] for row in without_rates(tmp_path / "cut")] == [2, 4, 6, 8, 10, 12]


def test_a_finished_training_is_left_as_it_is(tmp_path):
    first = run(tmp_path)
    rows = (tmp_path / "metrics.jsonl").read_text()
    assert_same_bits(first, run(tmp_path))
    assert (tmp_path / "metrics.jsonl").read_text() == rows


@pytest.mark.parametrize(("before", "after"), [(8, 1), (1, 8)])
def test_a_training_goes_on_with_another_number_of_devices(tmp_path, before, after):
    model = toy(noise=0.0)
    with pytest.raises(Stopped):
        run(tmp_path, model=model, devices=before, stop=StopAt(5))
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3)
    saved = checkpoints.restore(run_state := jax.eval_shape(guarded_init(model)))
    checkpoints.close()
    moved = run(tmp_path, model=model, devices=after, steps=5)
    assert jax.tree.structure(run_state) == jax.tree.structure(moved)
    assert len(moved.params["up"].sharding.device_set) == after
    assert_same_bits(saved.state, moved)
    end = run(tmp_path, model=model, devices=after)
    whole = run(tmp_path / "whole", model=model, devices=before)
    # Sums over the batch are taken in another order.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), end, whole)


def guarded_init(model):
    from ad_core.training.guard import guarded

    return lambda: guarded(model.learn).init(jax.random.key(0), (SIDE, SIDE, 1))


def test_one_device_eight_and_pmap_take_the_same_gradient_step(tmp_path):
    # Plain SGD with rate 1: the change of the parameters is the gradient.
    ways = [("jit", 1), ("jit", 8), ("pmap", 8), ("pmap", 1)]
    model = toy(optax.sgd(1.0), noise=0.0)
    ends = [
        fetch_state(run(tmp_path / f"{mode}{n}", model=model, devices=n, steps=1, partition=mode))
        for mode, n in ways
    ]
    start = run(tmp_path / "start", model=model, steps=0)
    gradient = np.abs(ends[0].params["up"] - np.asarray(start.params["up"]))
    assert gradient.max() > 1e-3
    for end in ends[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-7), ends[0], end)
        np.testing.assert_array_equal(end.extra["seen"], ends[0].extra["seen"])


def test_modes_agree_after_a_whole_training_and_take_over_from_each_other(tmp_path):
    model = toy(noise=0.0)
    jit = run(tmp_path / "jit", model=model, devices=8)
    with pytest.raises(Stopped):
        run(tmp_path / "both", model=model, devices=8, partition="pmap", stop=StopAt(6))
    both = run(tmp_path / "both", model=model, devices=8)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), jit, both)
    biggest = [[r["biggest"] for r in without_rates(tmp_path / d)] for d in ("jit", "both")]
    assert biggest[0] == biggest[1]


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_nothing_is_compiled_after_the_first_step(tmp_path, caplog, mode):
    compiled_by_step = []

    class Watched(Images):
        def __next__(self):
            compiled_by_step.append(sum("Compiling" in m for m in caplog.messages))
            return super().__next__()

    sample = np.zeros((3, SIDE, SIDE, 1), np.float32)
    overrides = {"partition": mode, "image_every": 3, "steps": 14}
    jax.config.update("jax_log_compiles", True)
    try:
        with caplog.at_level(logging.WARNING):
            train(toy(), config_of(**overrides), Watched(), workdir=tmp_path, sample=sample)
    finally:
        jax.config.update("jax_log_compiles", False)
    names = [m.split()[1] for m in caplog.messages if m.startswith("Compiling")]
    assert len(names) == len(set(names)) == 3  # init, step, view
    # Batch n + 1 is fetched after step n is dispatched; the sample is first drawn at step 3.
    assert compiled_by_step[1] > 0
    assert compiled_by_step[1] == compiled_by_step[3]
    assert compiled_by_step[4] == compiled_by_step[-1]


def test_a_batch_that_the_devices_do_not_divide_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"`batch_size` \(=8\) .* devices \(=3\); use 6 or 9"):
        run(tmp_path, devices=3)


def test_a_bad_step_changes_nothing_and_is_counted(tmp_path):
    clean = run(tmp_path / "clean", steps=4)
    end = run(tmp_path / "bad", model=toy(bad_steps=(4, 5)), steps=6, log_every=1)
    assert_same_bits(clean.params, end.params)
    assert_same_bits(clean.opt_state, end.opt_state)
    assert int(end.step) == 6
    rows = without_rates(tmp_path / "bad")
    assert [row["skipped"] for row in rows] == [0, 0, 0, 0, 1, 2]
    assert [row["loss"] is None for row in rows] == [False] * 4 + [True] * 2


def test_too_many_bad_steps_stop_the_run_with_a_diagnosis(tmp_path):
    model = toy(bad_steps=range(4, 12))
    with pytest.raises(UserError, match=r"step 7: 3 steps in a row .*not finite: loss\).*rate"):
        run(tmp_path, model=model)


def test_rows_hold_the_means_since_the_row_before(tmp_path):
    run(tmp_path / "each", log_every=1, steps=6)
    run(tmp_path / "third", log_every=3, steps=6)
    each = [row["loss"] for row in without_rates(tmp_path / "each")]
    third = [row["loss"] for row in without_rates(tmp_path / "third")]
    np.testing.assert_allclose(third, [np.mean(each[:3]), np.mean(each[3:])], rtol=1e-12)


def test_training_learns_and_draws_what_it_learnt(tmp_path):
    sample = Images().images[:3]
    run(tmp_path, steps=200, log_every=20, image_every=100, sample=sample, checkpoint_every=200)
    losses = [row["loss"] for row in without_rates(tmp_path)]
    assert losses[-1] < 0.8 * losses[0]
    assert [p.name for p in sorted((tmp_path / "samples").iterdir())] == [
        "step_000100.png",
        "step_000200.png",
    ]
    picture = np.asarray(Image.open(tmp_path / "samples" / "step_000200.png"))
    assert picture.shape == (3 * SIDE, 2 * SIDE)
    left = picture[:SIDE, :SIDE] / 127.5 - 1
    np.testing.assert_allclose(left, sample[0, :, :, 0], atol=1 / 127)
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_no_more_images_are_drawn_at_a_time_than_there_are_devices(tmp_path):
    model, seen = toy(), []

    def view(state, image, keys):
        seen.append(len(image))
        return model.view(state, image, keys)

    sample = Images().images[:3]
    for devices in (1, 2):
        given = {"devices": devices, "steps": 2, "image_every": 2, "sample": sample}
        run(tmp_path / f"on_{devices}", model=model._replace(view=view), **given)
        assert set(seen) == {devices}
        seen.clear()


SCRIPT = """
import sys, time
sys.path[:0] = [{root!r}, {tests!r}]
import jax
jax.config.update("jax_platforms", "cpu")
from pathlib import Path
import test_loop
from ad_core.runtime.lock import exclusive
from ad_core.runtime.stop import stop_on_signals
workdir = Path(sys.argv[1])
class Slow(test_loop.Images):
    def __next__(self):
        time.sleep(0.02)
        return super().__next__()
config = test_loop.config_of(steps=200, checkpoint_every=3, log_every=50)
with exclusive(workdir), stop_on_signals() as stop:
    test_loop.train(test_loop.toy(), config, Slow(), workdir=workdir, stop=stop)
"""


def start(workdir, script=SCRIPT):
    here = Path(__file__).parent
    code = textwrap.dedent(script).format(root=str(here.parents[2]), tests=str(here))
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-c", code, str(workdir)]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def wait_for_step(workdir, step, process):
    for _ in range(600):
        folder = workdir / "checkpoints"
        names = [p.name for p in folder.iterdir()] if folder.exists() else []
        if any(name.isdigit() and int(name) >= step for name in names):
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    raise AssertionError("no checkpoint in 30 s")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_leaves_with_its_status(tmp_path, number, status):
    process = start(tmp_path)
    wait_for_step(tmp_path, 3, process)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == status, stderr
    assert "Traceback" not in stderr
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3)
    restored = checkpoints.restore(jax.eval_shape(guarded_init(toy())))
    checkpoints.close()
    assert restored.position == {"given": restored.step * BATCH}
    assert int(restored.state.step) == restored.step == checkpoints.steps()[-1]


KILLS = 5


@pytest.mark.slow
def test_a_training_killed_at_any_moment_ends_in_the_same_bits(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(KILLS):
        process = start(tmp_path / "killed")
        done = Checkpoints(tmp_path / "killed" / "checkpoints", keep=3).steps()
        wait_for_step(tmp_path / "killed", (done or [0])[-1] + 3, process)
        time.sleep(rng.uniform(0, 0.3))
        process.kill()
        process.communicate()
    process = start(tmp_path / "killed")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    overrides = {"steps": 200, "checkpoint_every": 3, "log_every": 50}
    assert_same_bits(run(tmp_path / "whole", **overrides), run(tmp_path / "killed", **overrides))
    rows = (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [50, 100, 150, 200]


def test_what_the_model_watches_is_told_once_until_it_is_mended(tmp_path, caplog):
    troubles = iter(["", "it copies", "it copies more", "", "it copies again", ""])
    steps = toy().learn._replace(
        watch=lambda metrics: next(troubles) if metrics["loss"] > 0 else ""
    )
    model = toy()._replace(learn=steps)
    with caplog.at_level(logging.WARNING):
        run(tmp_path, model=model, log_every=2)
    told = [message for message in caplog.messages if "it copies" in message]
    assert told == ["Step 4: it copies.", "Step 10: it copies again."]


def test_a_progress_line_shows_two_numbers_and_what_went_wrong_first(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(Progress, "update", lambda self, count, text="": shown.append(text))
    plain = toy(bad_steps=(4,)).learn

    def train_step(state, batch, key):
        state, metrics = plain.train_step(state, batch, key)
        return state, {f"{name}_loss": metrics["loss"] for name in "abcde"} | metrics

    model = toy()._replace(learn=plain._replace(train_step=train_step), curves=("d_loss", "c_loss"))
    run(tmp_path, model=model, steps=6)
    names = [[part.split()[0] for part in text.split(", ")] for text in shown]
    assert names[:4] == [["d_loss", "c_loss"]] * 4
    assert names[4] == ["skipped", "skipped_in_a_row"] and names[5] == ["skipped", "d_loss"]
