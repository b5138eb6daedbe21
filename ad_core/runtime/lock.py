"""One trainer on a working directory at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ad_core.errors import UserError

NAME = ".lock"


@contextmanager
def exclusive(workdir: Path, *, flag: str = "--workdir") -> Iterator[None]:
    """Holds `workdir` for this process; made if it does not exist.

    The kernel frees the lock when the process ends, however it ends, so none is ever stale. The
    file stays: were it removed, two processes could hold locks on two files of that name.

    Args:
        flag: that named the folder, for the message.

    Raises:
        UserError: another process holds it; the message gives its number.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / NAME).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise UserError(
                f"`{flag}` (={workdir}) is in use by process {holder}; "
                "wait for it to end, or choose another."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
