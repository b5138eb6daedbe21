"""Batch scoring by Ray: its actors score the shards that `engines.shards` scores.

Ray starts processes, gives each its GPU and starts a lost one again. What is finished lies in the
shared folder alone, so that the same command goes on after the driver or the cluster died.
"""

import importlib
import logging
import warnings
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ad_core.errors import UserError
from ad_core.runtime.progress import Progress
from ad_core.runtime.stop import Stop
from ad_core.scoring.engines.shards import SHARD_IMAGES, merge_shards, open_shards, score_shard
from ad_core.scoring.files import load_detector
from ad_core.scoring.inputs import TFDS, open_input

RETRIES = 3  # of a shard whose process was lost
WAIT_S = 1.0  # between two looks at a stop
# Of Ray's objects on this machine: nothing but numbers and settings passes through them.
STORE_BYTES = 100 * 2**20


def load_ray() -> Any:
    """The library. Raises UserError, with how to install it, where it is missing."""
    try:
        importlib.import_module("ray.exceptions")
        return importlib.import_module("ray")
    except ImportError as error:
        raise UserError(
            "`--engine=ray` needs Ray, which is not installed: run `make cluster`, or "
            "`pip install 'zfn-ad[cluster]'`, or score with --shards=N --shard=i."
        ) from error


class _Share(NamedTuple):
    """What each actor takes of its machine."""

    actors: int
    options: Mapping[str, Any]


class _Scorer:
    """An actor: the detector once, then shard after shard."""

    def __init__(self, given: Mapping[str, Any]):
        self._lot = open_shards(**given)

    def score(self, number: int) -> bool:
        return score_shard(self._lot, number)


def score_by_ray(
    detector_dir: Path,
    given: Path,
    output: Path,
    *,
    address: str | None = None,
    actors: int | None = None,
    shards: int | None = None,
    stop: Stop | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Scores every image as `engines.local.score_files` does, on the machines of a Ray cluster.

    All machines see the three folders under the same names, and have this project installed.

    Args:
        address: of the cluster; None: one of this machine alone, for as long as it takes.
        actors: processes that score; None: one a GPU, without GPUs one a machine.
        shards: None: one for SHARD_IMAGES images. options: as `open_shards`.

    Raises:
        UserError: as `score_shard` and `merge_shards`, no such cluster, or a shard whose process
            was lost again and again.
        Stopped: `stop` was set; shards that are finished stay.
    """
    ray, stop = load_ray(), Stop() if stop is None else stop
    shards = _count(detector_dir, given) if shards is None else shards
    settings: dict[str, Any] = {
        "detector_dir": detector_dir.absolute(),
        "shards": shards,
        **options,
    }
    settings |= {"given": _everywhere(given), "output": output.absolute()}
    lot = open_shards(**settings)
    if lot.plan.missing:
        _connect(ray, address)
        try:
            _run(ray, settings, deque(lot.plan.missing), _share(ray, actors), stop)
        finally:
            ray.shutdown()
    return merge_shards(lot)


def _count(detector_dir: Path, given: Path) -> int:
    data = load_detector(detector_dir).parts.config.data
    return max(1, -(-len(open_input(given, data)) // SHARD_IMAGES))


def _everywhere(given: Path) -> Path:
    """An input as machines name it whose current folder is another one."""
    return given if str(given).startswith(TFDS) else given.absolute()


def _connect(ray: Any, address: str | None) -> None:
    try:
        with warnings.catch_warnings():
            # Ray starts programs, which JAX takes for copies of this process.
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
            ray.init(**_cluster(address), logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UserError(
            f"`--address` (={address}): no Ray cluster answers there ({error})."
        ) from error


def _cluster(address: str | None) -> dict[str, Any]:
    """A cluster that is there, or one of this machine, no larger than what passes through it."""
    if address is not None:
        return {"address": address}
    return {"address": "local", "include_dashboard": False, "object_store_memory": STORE_BYTES}


def _share(ray: Any, actors: int | None) -> _Share:
    """Share of an actor: a GPU, or without GPUs its part of the processors."""
    has = ray.cluster_resources()
    gpus, cpus = int(has.get("GPU", 0)), has.get("CPU", 1.0)
    if gpus:
        return _Share(min(actors or gpus, gpus), {"num_gpus": 1, "num_cpus": 1})
    count = actors or len([node for node in ray.nodes() if node["Alive"]])
    part = cpus / count
    return _Share(count, {"num_cpus": int(part) if part >= 1 else part})


def _run(
    ray: Any, settings: Mapping[str, Any], waiting: deque[int], share: _Share, stop: Stop
) -> None:
    """Gives each idle actor the next shard until none is left."""
    make = ray.remote(max_restarts=-1, max_task_retries=RETRIES, **share.options)(_Scorer)
    idle = [make.remote(settings) for _ in range(min(share.actors, len(waiting)))]
    busy: dict[Any, tuple[Any, int]] = {}
    progress = Progress(len(waiting), label="score", unit="shards", first="starting")
    while waiting or busy:
        while waiting and idle:
            actor, number = idle.pop(), waiting.popleft()
            busy[actor.score.remote(number)] = actor, number
        ready, _ = ray.wait(list(busy), timeout=WAIT_S)
        stop.check()
        for call in ready:
            actor, number = busy.pop(call)
            _result(ray, call, number)
            idle.append(actor)
            progress.update(1)
    progress.close()


def _result(ray: Any, call: Any, number: int) -> None:
    """Raises as UserError what went wrong in an actor."""
    try:
        ray.get(call)
    except ray.exceptions.RayActorError as error:
        raise UserError(
            f"Shard {number}: its process was lost {RETRIES + 1} times, or could not start "
            f"({str(error).strip().splitlines()[-1]}); the finished shards stay."
        ) from error
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from error
        raise
