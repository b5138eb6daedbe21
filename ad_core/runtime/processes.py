"""The processes of one training, on one machine or on many: joining, agreeing, parting.

Each runs the same program on the same configuration. They share a folder, and a step over all their
devices. The first of them writes; the others keep to themselves what they would write.
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from ad_core.errors import UserError
from ad_core.runtime.command import take

FLAGS = ("coordinator", "processes", "process")
ALONE = "ZFN_ALONE"  # set for the program that goes on where the processes have parted
NUMBERED = ("SLURM_PROCID", "JOB_COMPLETION_INDEX")  # number of this process, where no flag says it


class Joining(NamedTuple):
    """Address and numbers by which processes find each other; None: JAX asks the launcher."""

    coordinator: str | None = None
    processes: int | None = None
    process: int | None = None


def join(argv: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """Joins the other processes of a training where the command line or the launcher names any.

    Before the first use of a device.

    Raises:
        UserError: flags that do not say all, or the processes do not find each other.
    """
    joining = find_joining(argv, environment)
    if joining is None:
        return
    try:
        jax.distributed.initialize(*joining)
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"The processes of this training did not find each other ({error}); docs/cluster.md "
            "says what they need."
        ) from error


def find_joining(argv: Sequence[str], environment: Mapping[str, str]) -> Joining | None:
    """Address and numbers of the processes; None where there are none. Errors as `join`."""
    if ALONE in environment:
        return None
    given = {name: take(argv, name)[0] for name in FLAGS}
    if any(value is not None for value in given.values()):
        return _of_flags(given, environment)
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")  # set by srun, for each step of a job
    hosts = environment.get("TPU_WORKER_HOSTNAMES", "").split(",")
    return Joining() if tasks != "1" or len(hosts) > 1 else None


def _of_flags(given: Mapping[str, str | None], environment: Mapping[str, str]) -> Joining | None:
    numbered = next((environment[name] for name in NUMBERED if name in environment), None)
    said = {**given, "process": given["process"] or numbered}
    missing = ", ".join(f"--{name}" for name in FLAGS if said[name] is None)
    if missing:
        raise UserError(
            f"Missing: {missing}. A training of several processes needs --coordinator=HOST:PORT "
            "(of the first), --processes=N, and --process=0 to N - 1."
        )
    try:
        processes, process = int(str(said["processes"])), int(str(said["process"]))
    except ValueError as error:
        raise UserError("`--processes` and `--process` must be whole numbers.") from error
    if not 0 <= process < processes:
        raise UserError(f"`--process` (={process}) must lie from 0 to {processes - 1}.")
    if not re.fullmatch(r".+:\d+", str(said["coordinator"])):
        raise UserError(f"`--coordinator` (={said['coordinator']}) must be HOST:PORT.")
    return Joining(said["coordinator"], processes, process) if processes > 1 else None


def count() -> int:
    """Number of processes of this training."""
    return jax.process_count()


def own() -> int:
    """Number of this process, from 0."""
    return jax.process_index()


def is_first() -> bool:
    """Tells whether this process is the one that writes."""
    return own() == 0


def any_of(flag: bool) -> bool:
    """True where `flag` is true in a process. All must ask."""
    return flag if count() == 1 else bool(multihost_utils.process_allgather(np.array(flag)).any())


def from_first(number: int) -> int:
    """The first process's `number`. All must ask."""
    return number if count() == 1 else int(multihost_utils.broadcast_one_to_all(np.int32(number)))


def meet(where: str) -> None:
    """Returns once all processes are at the place of this name."""
    if count() > 1:
        multihost_utils.sync_global_devices(where)


def part() -> None:
    """Ends what the processes have in common: the first may take longer than the others."""
    if count() > 1:
        jax.distributed.shutdown()


def go_on_alone() -> None:
    """Runs this program again in place of itself, as the only process. For what comes after `part`.

    JAX would go on to count the devices of processes that have ended.
    """
    os.environ[ALONE] = "1"
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
