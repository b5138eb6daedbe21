"""SIGTERM and SIGINT: answered at once, and a flag that long loops look at between two steps."""

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_active: list["Stop"] = []  # the innermost last; only the main thread enters and leaves


class Stopped(SystemExit):
    """Ends the process with status 128 + signal (143 or 130) unless someone catches it."""


class Stop:
    """Request to this process to end; true once it was made.

    Args:
        command: gives the command that goes on, for the message; "" where there is none.
        at_once: nothing is lost by ending where the process stands, so that the first signal ends
            it. Whoever holds work that is not saved yet sets it to False.
    """

    def __init__(self, command: Callable[[], str] = str, *, at_once: bool = False) -> None:
        self.signal: int | None = None
        self.command, self.at_once = command, at_once
        self._lock = threading.RLock()  # a signal may come while another one is answered
        self._received: Counter[str] = Counter()
        self._answered = 0

    def __bool__(self) -> bool:
        return self.signal is not None

    def check(self) -> None:
        """Raises Stopped if a signal has come. What must be saved is saved before."""
        if self.signal is not None:
            raise Stopped(128 + self.signal)

    def receive(self, number: int, by: str) -> None:
        """Answers a signal, which the main thread and the watching one both receive, once."""
        with self._lock:
            self._received[by] += 1
            if self._received[by] <= self._answered:
                return
            self._answered += 1
            if self:
                os._exit(128 + number)  # no clean-up: checkpoints bear it
            self.signal = number
            if self.at_once:
                _say(f"stopped{self.goes_on()}")
                os._exit(128 + number)
            _say("stopping: what is done is saved first; a second signal ends it at once")

    def goes_on(self) -> str:
        """Words that name the command that goes on, after a full stop; or ""."""
        command = self.command()
        return f". This goes on: {command}" if command else ""


def _say(text: str) -> None:
    """Prints a line without Python's buffers, in which the main thread may stand right now."""
    with suppress(OSError, RuntimeError, ValueError):
        sys.stdout.flush()
    with suppress(OSError):
        begin = "\n" if os.isatty(2) else ""  # below a bar, which ends its line by no newline
        os.write(2, f"{begin}{text}\n".encode("utf-8", "replace"))


@contextmanager
def stop_on_signals(
    command: Callable[[], str] | None = None, *, at_once: bool | None = None
) -> Iterator[Stop]:
    """A `Stop` that the first SIGTERM or SIGINT sets; the second ends the process at once.

    A thread answers too, so that a signal during compiling is answered at once, for Python's own
    handlers wait until the compiler returns.

    For the main thread. The former handlers are back on leaving.

    Args:
        command: see `Stop`; default, that of the enclosing block.
    """
    if command is None:
        command = _active[-1].command if _active else str
    stop = Stop(command, at_once=bool(at_once))

    def handle(number: int, frame: FrameType | None) -> None:
        stop.receive(number, "main thread")

    former = {number: signal.signal(number, handle) for number in SIGNALS}
    _active.append(stop)
    try:
        with _watched(stop):
            yield stop
    finally:
        _active.remove(stop)
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def _watched(stop: Stop) -> Iterator[None]:
    """Passes signals to `stop` from a thread that is free while the main thread computes."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def watch() -> None:
        while received := os.read(reading, 1):
            if received[0] in SIGNALS:
                stop.receive(received[0], "watcher")
        os.close(reading)

    thread = threading.Thread(target=watch, name="signals", daemon=True)
    thread.start()
    former = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(former)
        os.close(writing)
        thread.join()
