"""How far long work has come: rate and time left."""

import io
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

WINDOW_S = 30.0  # the rate is that of the last half minute


def duration(seconds: float) -> str:
    """Such as "7 s", "3 min 05 s" or "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Progress:
    """Writes how much of `total` is done: one rewritten line on a terminal, else now and then one.

    Args:
        label: what is done, such as "train".
        unit: what is counted.
        done: how much was done before (a resumed training); not part of the rate.
        every_s: seconds between two lines where the stream is not a terminal.
        clock: seconds, rising.
    """

    def __init__(
        self,
        total: int,
        *,
        label: str,
        unit: str = "images",
        done: int = 0,
        stream: io.TextIOBase | TextIO | None = None,
        every_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._total, self._label, self._unit, self._done = total, label, unit, done
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._every_s = 0.2 if self._terminal else every_s
        self._clock = clock
        self._written_at = clock()
        self._width = 0
        self._past = deque([(clock(), done)])

    def rate(self) -> float:
        """Units a second of late; 0 before anything is done."""
        (start, before), (end, now) = self._past[0], self._past[-1]
        return (now - before) / (end - start) if end > start else 0.0

    def update(self, count: int, text: str = "") -> None:
        """Adds `count` to what is done, and writes a line if one is due.

        Args:
            text: added to the line, such as the loss.
        """
        self._done += count
        now = self._clock()
        self._past.append((now, self._done))
        while len(self._past) > 2 and now - self._past[1][0] > WINDOW_S:
            self._past.popleft()
        if now - self._written_at >= self._every_s:
            self._written_at = now
            self._write(self._line(text))

    def close(self, text: str = "") -> None:
        """Writes the last line."""
        self._write(self._line(text))
        if self._terminal:
            self._stream.write("\n")
            self._stream.flush()

    def _line(self, text: str) -> str:
        rate = self.rate()
        parts = [f"{self._label}: {self._done}/{self._total} {self._unit}", f"{rate:.1f}/s"]
        if rate > 0 and self._done < self._total:
            parts.append(f"{duration((self._total - self._done) / rate)} left")
        return ", ".join([*parts, text] if text else parts)

    def _write(self, line: str) -> None:
        if self._terminal:
            self._stream.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._stream.write(line + "\n")
        self._stream.flush()
