"""The devices of this process as one mesh, and functions compiled on it."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ad_core.errors import UserError

AXIS = "data"
MODEL = "model"  # axis along which the arrays of a state are divided, where a mesh has it
# Smaller arrays lie whole on each device: to gather them would take longer than it saves.
LEAST_DIVIDED = 4096


def make_mesh(devices: Sequence[Any] | None = None, *, model: int = 1) -> Mesh:
    """The mesh of all `devices` (default: every local one) along the axis "data".

    Auto axes: under Explicit ones, which are JAX's default, gathers by code index, reshapes to
    patches and contractions over the batch do not trace.

    Args:
        model: devices along a second axis, "model", which follow one another; 1: no such axis.

    Raises:
        UserError: `model` does not divide the number of devices.
    """
    devices = jax.local_devices() if devices is None else devices
    if len(devices) % model:
        raise UserError(
            f"`train.model_devices` (={model}) must divide the number of devices (={len(devices)})."
        )
    shape, axes = ((len(devices),), (AXIS,))
    if model > 1:
        shape, axes = (len(devices) // model, model), (AXIS, MODEL)
    types = (AxisType.Auto,) * len(axes)
    return jax.make_mesh(shape, axes, axis_types=types, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """A full copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """The leading axis divided among all devices."""
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names if MODEL in mesh.axis_names else AXIS))


def divided(mesh: Mesh, shape: Sequence[int]) -> NamedSharding:
    """Sharding of an array of a state: along its longest axis that the axis "model" divides.

    A full copy on each device where there is no such axis, or the array is small.
    """
    model = mesh.shape.get(MODEL, 1)
    axes = [axis for axis, side in enumerate(shape) if side % model == 0]
    if model == 1 or not axes or math.prod(shape) < LEAST_DIVIDED:
        return replicated(mesh)
    longest = max(axes, key=lambda axis: shape[axis])
    return NamedSharding(mesh, PartitionSpec(*[None] * longest, MODEL))


def check_divisible(batch_size: int, mesh: Mesh) -> None:
    """Raises UserError, with sizes that fit, unless the devices divide the batch."""
    if batch_size % mesh.size == 0 and batch_size > 0:
        return
    below = batch_size // mesh.size * mesh.size
    sizes = f"{below} or {below + mesh.size}" if below else f"{mesh.size}"
    raise UserError(
        f"`batch_size` (={batch_size}) must be divisible by the number of devices "
        f"(={mesh.size}); use {sizes}."
    )


def infer(function: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """`function(learnt, images)` compiled on `mesh`: what is learnt replicated, images split.

    Every output must have the images' leading axis, and is split along it. `images` may be a tree
    of host arrays; their length must be divisible by the number of devices (`check_divisible`).
    """
    shardings = (replicated(mesh), split(mesh))
    compiled: Any = jax.jit(function, in_shardings=shardings, out_shardings=shardings[1])
    if jax.process_count() == 1:
        return compiled

    def placed(learnt: Any, images: Any) -> Any:
        # Of several processes JAX divides no host arrays, though the devices are this one's own.
        return compiled(*jax.device_put((learnt, images), shardings))

    placed._cache_size = compiled._cache_size  # pyright: ignore[reportFunctionMemberAccess]
    return placed
