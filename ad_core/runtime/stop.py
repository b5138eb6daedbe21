"""SIGTERM and SIGINT as a flag that long loops look at between two pieces of work."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(SystemExit):
    """Ends the process with status 128 + signal (143 or 130) unless someone catches it."""


class Stop:
    """Request to this process to end; true once it was made."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def check(self) -> None:
        """Raises Stopped if a signal has come. What must be saved is saved before."""
        if self.signal is not None:
            raise Stopped(128 + self.signal)


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """A `Stop` that the first SIGTERM or SIGINT sets; the second ends the process at once.

    For the main thread. The former handlers are back on leaving.
    """
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop:
            os._exit(128 + number)  # no clean-up: checkpoints bear it
        stop.signal = number

    former = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
