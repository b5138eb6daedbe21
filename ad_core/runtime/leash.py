"""A script that ends with whoever started it: no process outlives a benchmark that was killed.

    python -m ad_core.runtime.leash SCRIPT ARGUMENT...

Standard input is the leash. It is a pipe that the starting process holds open; when that process
ends, however it ends, the pipe closes and this process ends at once. Results on disk bear it.
"""

import os
import runpy
import sys
import threading

CUT = 143  # status of a script whose leash was cut, as after SIGTERM


def main() -> None:
    """Runs the script that the command line names, as if Python had been given it."""
    threading.Thread(target=_watch, name="leash", daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")


def _watch() -> None:
    while os.read(0, 1):
        pass
    os._exit(CUT)


if __name__ == "__main__":
    main()
