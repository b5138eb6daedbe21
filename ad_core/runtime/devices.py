"""The devices of this process as one mesh, and functions compiled on it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ad_core.errors import UserError

AXIS = "data"


def make_mesh(devices: Sequence[Any] | None = None) -> Mesh:
    """The mesh of all `devices` (default: every local one) along the axis "data".

    Auto axes: under Explicit ones, which are JAX's default, gathers by code index, reshapes to
    patches and contractions over the batch do not trace.
    """
    devices = jax.local_devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """A full copy on each device."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: Mesh) -> NamedSharding:
    """The leading axis divided among the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


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
    return jax.jit(
        function, in_shardings=(replicated(mesh), split(mesh)), out_shardings=split(mesh)
    )
