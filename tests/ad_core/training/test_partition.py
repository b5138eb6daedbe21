import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from ad_core.errors import UserError
from ad_core.runtime.devices import AXIS, MODEL, divided, infer, make_mesh
from ad_core.training.partition import (
    device_key,
    fetch_state,
    gather_over_devices,
    mean_over_devices,
    own_part,
    partition,
    sum_over_devices,
)
from ad_core.types import Batch, TrainState


def batch_of(n):
    image = np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1)
    index = np.arange(n, dtype=np.int32)
    return Batch(image, index * 0, index >= 0, index)


def state_of(value=1.0):
    w = jnp.full(3, value)
    return TrainState(jnp.int32(0), {"w": w}, (), {"ema": {"w": w}})


def measure(state, batch, key):
    gathered = gather_over_devices(batch.image[:, 0, 0, 0])
    metrics = {
        "mean": mean_over_devices(jnp.mean(batch.image)),
        "sum": sum_over_devices(jnp.sum(batch.image)),
        "gathered": gathered,
        "back": gather_over_devices(own_part(2.0 * gathered)),
        "shared": jax.random.uniform(key),
        "own": gather_over_devices(jax.random.uniform(device_key(key), (1,))),
        "local_rows": jnp.int32(len(batch.image)),
    }
    return state._replace(step=state.step + 1), metrics


@pytest.mark.parametrize(("mode", "devices"), [("jit", 1), ("jit", 8), ("pmap", 8), ("pmap", 2)])
def test_means_sums_and_gathers_are_those_of_the_whole_batch(mode, devices, key):
    parts = partition(measure, mode, devices=jax.devices()[:devices])
    batch = parts.place_batch(batch_of(16))
    assert len(batch.image.sharding.device_set) == devices and batch.content is None
    _, metrics = parts.step(parts.place_state(state_of()), batch, key)
    assert (float(metrics["mean"]), float(metrics["sum"])) == (7.5, 120.0)
    np.testing.assert_array_equal(metrics["gathered"], np.arange(16))
    np.testing.assert_array_equal(metrics["back"], 2.0 * np.arange(16))
    assert float(metrics["shared"]) == float(jax.random.uniform(key))
    assert metrics["local_rows"] == (16 // devices if mode == "pmap" else 16)
    assert len(np.unique(metrics["own"])) == (devices if mode == "pmap" else 1)


def learn(state, batch, key):
    """A step of a linear model, by the whole batch."""

    def loss_of(w):
        return jnp.mean((batch.image.reshape(-1, 1) @ w - 1.0) ** 2)

    loss, gradient = jax.value_and_grad(loss_of)(state.params["w"])
    params = {"w": state.params["w"] - 0.1 * gradient}
    return state._replace(step=state.step + 1, params=params), {"loss": loss}


@pytest.mark.parametrize("model", [2, 8])
def test_a_divided_state_takes_the_step_of_one_device(model, key):
    large = TrainState(jnp.int32(0), {"w": jnp.ones((1, 4096))}, (), {"key": key})
    batch, found = batch_of(8), {}
    for name, options in (("one", {"devices": jax.devices()[:1]}), ("many", {"model": model})):
        parts = partition(learn, "jit", **options)
        state, metrics = parts.place_state(large), None
        for _ in range(3):
            state, metrics = parts.step(state, parts.place_batch(batch), key)
        found[name] = (np.asarray(parts.fetch_state(state).params["w"]), float(metrics["loss"]))
        shares = {shard.data.shape for shard in state.params["w"].addressable_shards}
        assert shares == {(1, 4096 // (model if name == "many" else 1))}
        assert parts.whole(state).params["w"].sharding.is_fully_replicated
    np.testing.assert_allclose(found["many"][0], found["one"][0], rtol=1e-6)
    assert found["many"][1] == pytest.approx(found["one"][1], rel=1e-6)


def test_a_state_is_divided_along_its_longest_axis_that_can_be():
    mesh = make_mesh(model=4)
    assert divided(mesh, (3, 3, 64, 128)).spec == PartitionSpec(None, None, None, MODEL)
    assert divided(mesh, (3, 3, 256, 130)).spec == PartitionSpec(None, None, MODEL)
    for shape in ((), (8, 8), (4097, 3)):  # a number, a small one, one that cannot be
        assert divided(mesh, shape).is_fully_replicated
    assert divided(make_mesh(), (4096, 4096)).is_fully_replicated
    assert mesh.shape == {AXIS: 2, MODEL: 4}
    with pytest.raises(UserError, match=r"`train.model_devices` \(=3\) must divide .* \(=8\)"):
        make_mesh(model=3)
    with pytest.raises(UserError, match="pmap.* takes one process and `train.model_devices=1`"):
        partition(learn, "pmap", model=2)


def test_helpers_are_the_identity_outside_pmap(key):
    x = jnp.arange(4.0)
    for helper in (mean_over_devices, sum_over_devices, gather_over_devices, own_part):
        assert helper(x) is x
    assert device_key(key) is key


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_the_state_is_donated_and_the_callers_copy_is_not(mode, key):
    parts = partition(measure, mode)
    mine = state_of()  # two leaves share one buffer, which cannot be donated twice
    placed = parts.place_state(mine)
    after, _ = parts.step(placed, parts.place_batch(batch_of(8)), key)
    assert placed.params["w"].is_deleted()
    assert not mine.params["w"].is_deleted()
    assert len(after.params["w"].sharding.device_set) == 8
    assert after.params["w"].sharding.is_fully_replicated


def test_fetched_arrays_outlive_the_donated_state(key):
    def spoil(state, batch, key):
        return state._replace(params={"w": state.params["w"] * 0 - 1}), {}

    parts = partition(spoil, "jit", devices=jax.devices()[:1])
    placed = parts.place_state(state_of(5.0))
    fetched = fetch_state(placed)
    jax.block_until_ready(parts.step(placed, parts.place_batch(batch_of(8)), key))
    np.testing.assert_array_equal(fetched.params["w"], [5.0, 5.0, 5.0])


def test_keys_in_a_state_are_placed_and_fetched(key):
    state = state_of()._replace(extra={"key": key})
    placed = partition(measure, "jit").place_state(state)
    assert jax.random.uniform(fetch_state(placed).extra["key"]) == jax.random.uniform(key)


def test_batch_sizes_that_fit_are_named():
    parts = partition(measure, "jit")
    message = (
        r"`batch_size` \(=30\) must be divisible by the number of devices \(=8\); use 24 or 32\."
    )
    with pytest.raises(UserError, match=message):
        parts.place_batch(batch_of(30))
    with pytest.raises(UserError, match=r"use 8\."):
        parts.place_batch(batch_of(3))


def test_an_unknown_mode_is_refused():
    with pytest.raises(UserError, match="Unknown `train.partition` 'pjit'; known: jit, pmap"):
        partition(measure, "pjit")


def test_inference_splits_the_images_and_changes_no_value():
    def double(state, image):
        return {"image": image * 2, "mean": image.mean((1, 2, 3)) + state.params["w"][0]}

    image = np.random.default_rng(0).normal(size=(16, 3, 3, 1)).astype(np.float32)
    out = infer(double, make_mesh())(state_of(), image)
    assert out["mean"].sharding.spec == jax.sharding.PartitionSpec(AXIS)
    np.testing.assert_array_equal(out["image"], image * 2)
    np.testing.assert_allclose(out["mean"], image.mean((1, 2, 3)) + 1, rtol=1e-5, atol=1e-6)


def test_the_mesh_traces_gathers_and_reshapes_of_a_split_batch():
    # With explicit axes, JAX's default, both raise ShardingTypeError.
    codebook = np.arange(12.0, dtype=np.float32).reshape(4, 3)

    def look_up(state, ids):
        return jnp.asarray(codebook)[ids].reshape(len(ids), -1)

    ids = np.arange(16).reshape(8, 2) % 4
    out = infer(look_up, make_mesh())((), ids)
    np.testing.assert_array_equal(out, codebook[ids].reshape(8, -1))
