"""Compiled programs that outlive the process."""

import os
from pathlib import Path

import jax

from ad_core.runtime.cache import cache_folder

# Seconds of compiling from which on a program is kept: JAX's 1 s leaves out half of a detector's.
LEAST_SECONDS = 0.1
LEAST = "jax_persistent_cache_min_compile_time_secs"


def compilation_cache() -> Path | None:
    """Keeps compiled programs in a folder of this user, and returns it.

    $JAX_COMPILATION_CACHE_DIR if set, else `cache_folder("jax")`. Made with mode 0700: JAX runs
    what it finds there, so nobody else may write it. None where it cannot be made: programs are
    then compiled anew each time. Kept is what takes LEAST_SECONDS to compile, unless JAX's own
    variable of the environment says otherwise.
    """
    given = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    folder = Path(given) if given else cache_folder("jax")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if LEAST.upper() not in os.environ:
        jax.config.update(LEAST, LEAST_SECONDS)
    return folder


def keep_programs() -> None:
    """Calls `compilation_cache`, unless this process has chosen a folder of its own already."""
    if not jax.config.jax_compilation_cache_dir:
        compilation_cache()
