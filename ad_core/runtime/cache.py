"""The one place of this user for what can be made again."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Folder `name` in $ZFN_CACHE if set, else in zfn-ad of $XDG_CACHE_HOME or ~/.cache.

    It may not exist yet.
    """
    given = os.environ.get("ZFN_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return (Path(given) if given else Path(base) / "zfn-ad") / name
