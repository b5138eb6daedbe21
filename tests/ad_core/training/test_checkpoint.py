import logging
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ad_core.errors import UserError
from ad_core.training.checkpoint import Checkpoints
from ad_core.training.partition import partition
from ad_core.types import TrainState


def make_state(seed=0, width=5):
    rng = np.random.default_rng(seed)
    params = {"net": {"kernel": jnp.asarray(rng.normal(size=(4, width)), jnp.float32)}}
    extra = {
        "ema": params,
        "half": jnp.asarray(rng.normal(size=7), jnp.bfloat16),
        "counts": jnp.asarray(rng.integers(0, 9, 3), jnp.int32),
        "pool": jnp.zeros((0, 3)),
        "key": jax.random.key(seed),
        "keys": jax.random.split(jax.random.key(seed), 2),
        "seen": jnp.asarray([True, False]),
        "odd": jnp.asarray([jnp.nan, jnp.inf, -0.0]),
    }
    return TrainState(jnp.int32(seed), params, optax.adam(1e-3).init(params), extra)


def bits(state):
    def raw(x):
        x = jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x
        return (str(x.dtype), x.shape, np.asarray(x).tobytes())

    return jax.tree.map(raw, state)


@pytest.fixture
def folder(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3)
    for step in (10, 20):
        checkpoints.save(step, make_state(step), {"epoch": step, "next": [1, "a"]})
    checkpoints.close()
    return tmp_path / "checkpoints"


def reopened(folder):
    return Checkpoints(folder, keep=3)


def restored(folder):
    checkpoints = reopened(folder)
    try:
        return checkpoints.restore(make_state())
    finally:
        checkpoints.close()


def test_every_bit_and_the_position_come_back(folder):
    state, position, step = restored(folder)
    assert (step, position) == (20, {"epoch": 20, "next": [1, "a"]})
    assert bits(state) == bits(make_state(20))
    assert jax.random.key_impl(state.extra["key"]) == "threefry2x32"


def test_abstract_template_is_enough(folder):
    checkpoints = reopened(folder)
    state, _, _ = checkpoints.restore(jax.eval_shape(make_state))
    checkpoints.close()
    assert bits(state) == bits(make_state(20))


def test_an_empty_folder_restores_nothing(tmp_path):
    assert restored(tmp_path / "none") is None


def test_only_the_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 10, 9):
        checkpoints.save(step, make_state(step), {})
    checkpoints.close()
    assert checkpoints.steps() == [9, 10]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["10", "9"]


def test_keeping_one_is_refused(tmp_path):
    with pytest.raises(UserError, match="at least 2"):
        Checkpoints(tmp_path, keep=1)


@pytest.mark.parametrize("devices", [1, 8])
def test_donating_the_state_while_it_is_saved_harms_nothing(tmp_path, devices):
    def step(state, batch, key):
        return state._replace(params=jax.tree.map(lambda x: x * 0 - 1, state.params)), {}

    parts = partition(step, "jit", devices=jax.devices()[:devices])
    batch = jnp.zeros((8, 1))
    state = parts.place_state(TrainState(jnp.int32(0), {"w": jnp.arange(1e5)}, (), {}))
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(1, state, {})
    state, _ = parts.step(state, batch, jax.random.key(0))
    jax.block_until_ready(state)
    found = checkpoints.restore(state) if checkpoints.wait() is None else None
    checkpoints.close()
    np.testing.assert_array_equal(found.state.params["w"], np.arange(1e5, dtype=np.float32))


def files_of(folder, step):
    return sorted(p for p in (folder / str(step)).rglob("*") if p.is_file())


def flip(file, position):
    data = bytearray(file.read_bytes())
    data[position % len(data)] ^= 0x40
    file.write_bytes(bytes(data))


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def check_falls_back(folder, caplog, *, naming):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        state, position, step = restored(folder)
    assert (step, position["epoch"]) == (10, 10)
    assert bits(state) == bits(make_state(10))
    (message,) = caplog.messages
    assert f"{folder / '20'} is passed over" in message and naming in message


@pytest.mark.parametrize(
    "harm",
    [
        lambda file: flip(file, 0),
        lambda file: flip(file, file.stat().st_size // 2),
        lambda file: flip(file, -1),
        truncate,
        lambda file: file.write_bytes(b""),
        lambda file: file.unlink(),
    ],
    ids=["first byte", "middle byte", "last byte", "truncated", "emptied", "deleted"],
)
def test_damage_to_any_file_is_reported_and_the_one_before_used(folder, tmp_path, caplog, harm):
    files = files_of(folder, 20)
    assert len(files) > 8
    for file in files:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        harm(copy / file.relative_to(folder))
        check_falls_back(copy, caplog, naming="its ")
        shutil.rmtree(copy)


def test_the_damaged_file_is_named(folder, caplog):
    (file,) = (folder / "20" / "record").glob("meta*")
    file.write_bytes(file.read_bytes().replace(b"20", b"21"))
    check_falls_back(folder, caplog, naming="its file 'record/metadata' was changed or damaged")


def test_a_file_too_many_is_damage(folder, caplog):
    (folder / "20" / "state" / "stray").write_text("")
    check_falls_back(folder, caplog, naming="'state/stray'")


def test_a_damaged_one_makes_room_for_its_step(folder):
    shutil.rmtree(folder / "20" / "state")
    checkpoints = reopened(folder)
    assert checkpoints.restore(make_state()).step == 10
    assert checkpoints.steps() == [10]
    checkpoints.save(20, make_state(5), {"epoch": 5})
    checkpoints.wait()
    assert bits(checkpoints.restore(make_state()).state) == bits(make_state(5))
    checkpoints.close()
    assert (folder / "20.damaged").is_dir()


def test_nothing_is_touched_when_none_is_good(folder):
    for step in (10, 20):
        shutil.rmtree(folder / str(step) / "state")
    for _ in range(2):
        with pytest.raises(UserError, match=r"No checkpoint .* can be used: 20: .*; 10: "):
            restored(folder)


def test_a_checkpoint_of_another_model_names_the_difference(folder):
    checkpoints = reopened(folder)
    with pytest.raises(
        UserError, match=r"`params/net/kernel` is float32\[4, 5\] .* float32\[4, 6\]"
    ):
        checkpoints.restore(make_state(width=6))
    with pytest.raises(UserError, match="`params/more` is missing in the checkpoint"):
        state = make_state()
        checkpoints.restore(state._replace(params={**state.params, "more": jnp.zeros(2)}))
    checkpoints.close()


def test_what_unfinished_saves_left_is_removed(folder):
    shutil.copytree(folder / "20", folder / "30.partial.orbax-checkpoint-tmp")
    shutil.copytree(folder / "20", folder / "40.partial")
    shutil.copytree(folder / "20", folder / "5.old")
    assert restored(folder).step == 20
    assert sorted(os.listdir(folder)) == ["10", "20"]


def test_the_error_of_a_background_save_surfaces(folder):
    checkpoints = reopened(folder)
    shutil.rmtree(folder)
    folder.write_text("in the way")
    checkpoints.save(30, make_state(30), {})
    with pytest.raises(UserError, match="30 could not be written"):
        checkpoints.wait()
    checkpoints.close()
