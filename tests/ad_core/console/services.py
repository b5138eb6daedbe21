"""Process that begins a service for each store that a line of its input names.

The detector is one of the tests. What takes long is imported once: a service is a fork.
"""

import os
import sys
import warnings
from pathlib import Path

from ad_core.console import active, service
from ad_core.console import line as line_module
from ad_core.console.worker import Loaded
from ad_core.runtime.stop import stop_on_signals
from tests.ad_core.console.conftest import Judge


def main():
    judge = Judge()
    judge.delay_s = 0.004
    line_module.load = lambda folder: Loaded(judge, folder, "d" * 64)
    active.detector_sha = lambda folder: "d" * 64
    for line in sys.stdin:
        store = Path(line.rstrip("\n"))
        options = service.Options(detector=Path("detector"), store=store, port=0, queue_limit=4)
        warnings.simplefilter("ignore")  # nothing of JAX runs here
        process = os.fork()
        if process == 0:
            print(f"process {os.getpid()}", flush=True)
            with stop_on_signals() as stop:
                service.serve(options, stop)
        _, status = os.waitpid(process, 0)
        print(f"status {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main()
