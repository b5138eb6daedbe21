"""Time that each stage took, and its devices; kept from one command to the next."""

import json
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from ad_core.runtime.sealed import write_json
from ad_core.runtime.workdir import Workdir

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "scikit-learn")


@contextmanager
def timed(workdir: Workdir, stage: str, *, count: Callable[[], int]) -> Iterator[None]:
    """Adds the time of a stage to timing.json; training that was interrupted adds up."""
    start = time.monotonic()
    finished = False
    try:
        yield
        finished = True
    finally:
        timings = read_timing(workdir)
        # A stage done again starts its account anew; one that was cut short goes on.
        before = {} if timings.get(stage, {}).get("finished", True) else timings[stage]
        seconds = before.get("seconds", 0.0) + time.monotonic() - start
        images = count()
        timings[stage] = {
            "seconds": round(seconds, 3),
            "images": images,
            "images_per_s": round(images / seconds, 3) if finished else None,
            "finished": finished,
            "peak_gb": max(before.get("peak_gb", 0.0), peak_gb()),
        }
        write_json(workdir.timing, timings)


def peak_gb() -> float:
    """Memory in 10^9 bytes that this process has held at its most, devices' own not included."""
    if sys.platform == "linux":
        # What getrusage says on Linux begins with the memory of whoever started the process.
        lines = Path("/proc/self/status").read_text().splitlines()
        (kib,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
        return round(1024 * int(kib) / 1e9, 3)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9, 3)


def read_timing(workdir: Workdir) -> dict[str, Any]:
    """Stage -> {"seconds", "images", "images_per_s", "finished", "peak_gb"}, if there is any."""
    return json.loads(workdir.timing.read_text()) if workdir.timing.exists() else {}


def versions() -> dict[str, str]:
    """Versions of Python, the project and the packages that figures depend on; the devices."""
    found = {"python": platform.python_version(), "zfn-ad": metadata.version("zfn-ad")}
    found |= {name: metadata.version(name) for name in PACKAGES}
    devices = jax.local_devices()
    return found | {"devices": f"{len(devices)} x {devices[0].device_kind}"}
