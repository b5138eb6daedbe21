"""One step over many devices: `jax.jit` with shardings, or `jax.pmap`, with one layout of data.

The state is replicated and the batch split along its leading axis in both modes, so that a
state moves freely between them. A step written once serves both: it takes its means with
`mean_over_devices`, which is the identity under jit, where arrays are global already.

Under jit the arrays of the state may be divided among devices instead (an axis "model"), and the
devices may belong to several processes, each of which reads its own part of a batch.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh, NamedSharding
from jaxtyping import PRNGKeyArray

from ad_core.errors import UserError
from ad_core.runtime import processes
from ad_core.runtime.devices import (
    AXIS,
    check_divisible,
    divided,
    make_mesh,
    replicated,
    split,
)
from ad_core.types import Batch, Metrics, TrainState

MODES = ("jit", "pmap")
Tree = TypeVar("Tree")
Step = Callable[[TrainState, Batch, PRNGKeyArray], tuple[TrainState, Metrics]]


def _in_pmap() -> bool:
    """Tells whether the code being traced runs once per device, with the axis bound."""
    try:
        lax.axis_index(AXIS)
    except NameError:
        return False
    return True


def mean_over_devices(tree: Tree) -> Tree:
    """Mean of each leaf over the devices under pmap; the identity elsewhere.

    For gradients and metrics that are means over the step's own batch.
    """
    return lax.pmean(tree, AXIS) if _in_pmap() else tree


def sum_over_devices(tree: Tree) -> Tree:
    """Sum of each leaf over the devices under pmap; the identity elsewhere.

    For counts and sums over the step's own batch.
    """
    return lax.psum(tree, AXIS) if _in_pmap() else tree


def gather_over_devices(x: Array) -> Array:
    """The devices' parts of `x`, concatenated along axis 0, under pmap; the identity elsewhere."""
    return lax.all_gather(x, AXIS, tiled=True) if _in_pmap() else x


def own_part(x: Array) -> Array:
    """This device's part of what `gather_over_devices` gave, under pmap; `x` elsewhere."""
    if not _in_pmap():
        return x
    size = len(x) // lax.axis_size(AXIS)
    return lax.dynamic_slice_in_dim(x, lax.axis_index(AXIS) * size, size)


def device_key(key: PRNGKeyArray) -> PRNGKeyArray:
    """A key of this device's own under pmap; `key` itself elsewhere.

    A step gets the same key on every device, so that what all share (new codes, say) is drawn
    alike. What is drawn for each image needs this key, or image i of every device would get the
    same noise. Such draws differ between the modes.
    """
    return jax.random.fold_in(key, lax.axis_index(AXIS)) if _in_pmap() else key


class Partition(NamedTuple):
    """A training step on the devices of `mesh`.

    step: (state, batch, key) -> (state, metrics), compiled; consumes (donates) the state.
        State and batch must have been placed; the key may lie anywhere, or of several processes on
        every device (`place_state`).
    ready: (state, batch, key) of the first step -> `step`, compiled in every process before any of
        them takes it: who began while others compile would give up waiting for them.
    place_state: a copy on each device, or divided among them, that shares no memory with its
        argument; of any tree of arrays that is equal in all processes.
    place_batch: host arrays to the devices, without waiting; of several processes each gives its
        part. Raises UserError when the devices do not divide the batch.
    fetch_state: one copy of the state as host arrays of its own memory.
    whole: the state with a copy of each array on each device.
    draw: a function (state, rows) -> the same, compiled, of rows that every process holds: they are
        divided among the devices, and the result lies on each of them.
    """

    mesh: Mesh
    step: Step
    ready: Callable[[TrainState, Batch, PRNGKeyArray], Step]
    place_state: Callable[[Any], Any]
    place_batch: Callable[[Batch], Batch]
    fetch_state: Callable[[TrainState], TrainState]
    whole: Callable[[TrainState], TrainState]
    draw: Callable[[Callable[..., Any]], Callable[[TrainState, np.ndarray], Any]]


def partition(
    step: Step,
    mode: str,
    *,
    devices: Sequence[Any] | None = None,
    model: int = 1,
) -> Partition:
    """`step` compiled for all `devices` (default: every one of every process).

    mode "jit" gives the step the whole batch; "pmap" gives it each device's part, with the axis
    "data" bound, and the step must make state and metrics equal on all devices
    (`mean_over_devices`, `sum_over_devices`).

    Args:
        model: devices among which the arrays of the state are divided; 1: each holds all of them.

    Raises:
        UserError: an unknown mode, or "pmap" where a state is divided or processes are several.
    """
    _check_mode(mode, model)
    mesh = make_mesh(jax.devices() if devices is None else devices, model=model)
    compiled = _compiled(step, mesh, mode, model)
    alone = processes.count() == 1
    return Partition(
        mesh=mesh,
        step=compiled,
        ready=lambda *first: compiled if alone else _meeting(compiled, first),
        place_state=partial(_place_state, mesh=mesh, model=model),
        place_batch=partial(_place_batch, mesh=mesh, mode=mode),
        fetch_state=fetch_state,
        whole=_gathering(mesh, model),
        draw=partial(_drawing, mesh=mesh),
    )


def _check_mode(mode: str, model: int) -> None:
    if mode not in MODES:
        raise UserError(f"Unknown `train.partition` {mode!r}; known: {', '.join(MODES)}.")
    if mode == "pmap" and (model > 1 or processes.count() > 1):
        raise UserError(
            "`train.partition` (=pmap) takes one process and `train.model_devices=1`; use jit."
        )


def _compiled(step: Callable[..., Any], mesh: Mesh, mode: str, model: int) -> Any:
    """`step` as jit or pmap takes it, for a state that is whole on each device or divided."""
    whole, parts = replicated(mesh), split(mesh)
    if mode == "pmap":
        # A state mapped over no axis has the layout that jit gives it: replicated, not stacked.
        return jax.pmap(
            step,
            axis_name=AXIS,
            in_axes=(None, 0, None),  # pyright: ignore[reportArgumentType]
            out_axes=(None, None),
            devices=list(mesh.devices.flat),
            donate_argnums=0,
        )
    if model > 1:
        divided_step = _dividing(step, mesh)
        return jax.jit(divided_step, in_shardings=(None, parts, whole), donate_argnums=0)
    return jax.jit(
        step,
        in_shardings=(whole, parts, whole),
        out_shardings=(whole, whole),
        donate_argnums=0,
    )


def _meeting(compiled: Any, first: Sequence[Any]) -> Step:
    """`compiled` for the arguments of a first step, once every process has compiled it."""
    step = compiled.lower(*first).compile()
    processes.meet("compiled")
    return step


def _place_state(state: Any, *, mesh: Mesh, model: int) -> Any:
    if processes.count() > 1 or model > 1:
        return jax.tree.map(lambda x: _place(x, mesh), state)
    # Through host copies: `device_put` alone shares buffers with its argument, and two
    # leaves that share one (averaged weights at the start) cannot both be donated.
    return jax.device_put(fetch_state(state), replicated(mesh), may_alias=False)


def _place_batch(batch: Batch, *, mesh: Mesh, mode: str) -> Batch:
    check_divisible(len(batch.image) * processes.count(), mesh)
    parts = split(mesh)
    if processes.count() > 1:
        return jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(parts, np.asarray(x)), batch
        )
    if mode == "pmap":
        batch = jax.tree.map(lambda x: x.reshape(mesh.size, -1, *x.shape[1:]), batch)
    return jax.device_put(batch, parts)


def _gathering(mesh: Mesh, model: int) -> Callable[[TrainState], TrainState]:
    """The function that gives each device a copy of every array of a state."""
    if model == 1:
        return lambda state: state
    return lambda state: jax.jit(lambda x: x, out_shardings=replicated(mesh))(state)


def _drawing(
    function: Callable[..., Any], *, mesh: Mesh
) -> Callable[[TrainState, np.ndarray], Any]:
    parts = split(mesh)
    drawn = jax.jit(function, in_shardings=(None, parts), out_shardings=replicated(mesh))
    return lambda state, rows: drawn(state, _place(rows, mesh, parts))


def _dividing(step: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """`step` whose new state is divided as `divided` says."""

    def train_step(state: TrainState, *given: Any) -> tuple[TrainState, Metrics]:
        new, metrics = step(state, *given)
        shardings = jax.tree.map(lambda x: divided(mesh, x.shape), new)
        return lax.with_sharding_constraint(new, shardings), metrics

    return train_step


def _place(x: Any, mesh: Mesh, sharding: NamedSharding | None = None) -> Array:
    """An array that every process holds as one on all devices, in memory of its own."""
    if is_key(x):
        data = _place(jax.random.key_data(x), mesh, replicated(mesh))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
    host = np.asarray(x)
    sharding = sharding or divided(mesh, host.shape)
    return jax.make_array_from_callback(host.shape, sharding, lambda at: np.array(host[at]))


def is_key(x: Any) -> bool:
    """Tells whether `x` is an array of typed PRNG keys."""
    return isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key)


def fetch_state(state: Any) -> Any:
    """The state as NumPy arrays of their own memory, which donation of the original cannot reach.

    Typed PRNG keys stay keys.
    """

    def fetch(x: Any) -> Any:
        if is_key(x):
            data = jnp.array(jax.random.key_data(x), copy=True)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
        return np.array(x)

    return jax.tree.map(fetch, state)
