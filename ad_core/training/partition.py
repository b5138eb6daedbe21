"""One step over many devices: `jax.jit` with shardings, or `jax.pmap`, with one layout of data.

The state is replicated and the batch split along its leading axis in both modes, so that a
state moves freely between them. A step written once serves both: it takes its means with
`mean_over_devices`, which is the identity under jit, where arrays are global already.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.sharding import Mesh
from jaxtyping import PRNGKeyArray

from ad_core.errors import UserError
from ad_core.runtime.devices import AXIS, check_divisible, make_mesh, replicated, split
from ad_core.types import Batch, Metrics, TrainState

MODES = ("jit", "pmap")
Tree = TypeVar("Tree")


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
        State and batch must have been placed; the key may lie anywhere.
    place_state: a copy on each device that shares no memory with its argument.
    place_batch: host arrays to the devices, without waiting. Raises UserError when the devices
        do not divide the batch.
    fetch_state: one copy of the state as host arrays of its own memory.
    """

    mesh: Mesh
    step: Callable[[TrainState, Batch, PRNGKeyArray], tuple[TrainState, Metrics]]
    place_state: Callable[[TrainState], TrainState]
    place_batch: Callable[[Batch], Batch]
    fetch_state: Callable[[TrainState], TrainState]


def partition(
    step: Callable[[TrainState, Batch, PRNGKeyArray], tuple[TrainState, Metrics]],
    mode: str,
    *,
    devices: Sequence[Any] | None = None,
) -> Partition:
    """`step` compiled for all `devices` (default: every local one).

    mode "jit" gives the step the whole batch; "pmap" gives it each device's part, with the axis
    "data" bound, and the step must make state and metrics equal on all devices
    (`mean_over_devices`, `sum_over_devices`).

    Raises:
        UserError: an unknown mode.
    """
    if mode not in MODES:
        raise UserError(f"Unknown `train.partition` {mode!r}; known: {', '.join(MODES)}.")
    mesh = make_mesh(devices)
    whole, parts = replicated(mesh), split(mesh)

    def place_batch(batch: Batch) -> Batch:
        check_divisible(len(batch.image), mesh)
        if mode == "pmap":
            batch = jax.tree.map(lambda x: x.reshape(mesh.size, -1, *x.shape[1:]), batch)
        return jax.device_put(batch, parts)

    if mode == "jit":
        compiled = jax.jit(
            step,
            in_shardings=(whole, parts, whole),
            out_shardings=(whole, whole),
            donate_argnums=0,
        )
    else:
        # A state mapped over no axis has the layout that jit gives it: replicated, not stacked.
        compiled = jax.pmap(
            step,
            axis_name=AXIS,
            in_axes=(None, 0, None),  # pyright: ignore[reportArgumentType]
            out_axes=(None, None),
            devices=list(mesh.devices.flat),
            donate_argnums=0,
        )

    def place_state(state: TrainState) -> TrainState:
        # Through host copies: `device_put` alone shares buffers with its argument, and two
        # leaves that share one (averaged weights at the start) cannot both be donated.
        return jax.device_put(fetch_state(state), whole, may_alias=False)

    return Partition(mesh, compiled, place_state, place_batch, fetch_state)


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
