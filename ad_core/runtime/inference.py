"""Inference in one compiled program, whatever the number of images that come together."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import numpy as np

from ad_core.runtime.devices import infer, make_mesh
from ad_core.runtime.programs import kept

T = TypeVar("T")


@dataclass(frozen=True)
class Begun(Generic[T]):
    """A call that was begun.

    result: waits for it, and gives host arrays. cancel: gives up what of it has not begun yet.
    """

    result: Callable[[], T]
    cancel: Callable[[], None]


class Inference(NamedTuple):
    """A compiled function of up to `batch_size` images.

    begin: (learnt, images), a tree of host arrays with the images along the leading axis -> the
        same of the result. compilations: how many programs were compiled so far.
    """

    batch_size: int
    begin: Callable[[Any, Any], Begun[Any]]
    compilations: Callable[[], int]


def make_inference(
    function: Callable[[Any, Any], Any],
    *,
    batch_size: int,
    one_by_one: bool | None = None,
    identity: str = "",
) -> Inference:
    """`function(learnt, images)` on this machine's devices; it compiles at the first call.

    An image must get the same bits alone as among others, and two programs of one function may
    round in another way. So there is one: on a CPU that of a single image, run for several images
    at a time on as many threads as there are cores; on an accelerator that of `batch_size` images
    (rounded up to a multiple of the devices), where fewer are padded.

    Args:
        function: every output has the images' leading axis.
        one_by_one: whether the program is that of a single image; None: on a CPU.
        identity: tells the function from every other one (`programs.kept`), so that on one device
            it is traced for many processes; "": it is traced here.
    """
    mesh, size = make_mesh(), round_up(batch_size)
    if one_by_one is None:
        one_by_one = mesh.devices.flat[0].platform == "cpu"
    if one_by_one or mesh.size == 1:
        function = kept(function, identity)
    return (_one_by_one if one_by_one else _padded)(function, size)


def round_up(batch_size: int) -> int:
    """The next multiple of the number of this machine's devices."""
    count = make_mesh().size
    return -(-batch_size // count) * count


def _one_by_one(function: Callable[[Any, Any], Any], size: int) -> Inference:
    compiled = infer(function, make_mesh(jax.local_devices()[:1]))
    # Else two threads would compile the same program at once.
    first, ready = threading.Lock(), threading.Event()

    def run(learnt: Any, images: Any) -> Any:
        if ready.is_set():
            return jax.tree.map(np.asarray, compiled(learnt, images))
        with first:
            found = jax.tree.map(np.asarray, compiled(learnt, images))
        ready.set()
        return found

    def begin(learnt: Any, images: Any) -> Begun[Any]:
        count = _count(images)
        images = jax.tree.map(lambda x: _pad(x, max(count, 1)), images)
        alone = [jax.tree.map(lambda x, n=n: x[n : n + 1], images) for n in range(max(count, 1))]
        calls = [_threads(min(_cores(), size)).submit(run, learnt, one) for one in alone]

        def result() -> Any:
            found = [call.result() for call in calls]
            return jax.tree.map(lambda *rows: np.concatenate(rows)[:count], *found)

        def cancel() -> None:
            for call in calls:
                call.cancel()

        return Begun(result, cancel)

    return Inference(size, begin, compiled._cache_size)


def _padded(function: Callable[[Any, Any], Any], size: int) -> Inference:
    compiled = infer(function, make_mesh())

    def begin(learnt: Any, images: Any) -> Begun[Any]:
        count = _count(images)
        dispatched = compiled(learnt, jax.tree.map(lambda x: _pad(x, size), images))
        return Begun(
            lambda: jax.tree.map(lambda x: np.asarray(x)[:count], dispatched), lambda: None
        )

    return Inference(size, begin, compiled._cache_size)


def _count(images: Any) -> int:
    return len(jax.tree.leaves(images)[0])


def _pad(rows: np.ndarray, size: int) -> np.ndarray:
    """`size` rows: the first one, or zero, is repeated behind those given."""
    rows = np.asarray(rows)
    if len(rows) == size:
        return rows
    filling = rows[:1] if len(rows) else np.zeros((1, *rows.shape[1:]), rows.dtype)
    return np.concatenate([rows, np.repeat(filling, size - len(rows), axis=0)])


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@lru_cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="inference")
