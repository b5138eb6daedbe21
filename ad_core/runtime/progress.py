"""Progress of long work: rate and time left."""

import io
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TextIO

from tqdm import tqdm

WINDOW_S = 30.0  # the rate is that of the last half minute


def duration(seconds: float) -> str:
    """Duration in words, such as "7 s", "3 min 05 s" or "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class _Bar(tqdm):
    """A bar that starts no thread to watch over itself."""

    monitor_interval = 0


class Progress:
    """Shows how much of `total` is done: a bar on a terminal, elsewhere a line now and then.

    Args:
        label: what is done, such as "train".
        unit: what is counted.
        done: how much was done before (a resumed training); not part of the rate.
        every_s: seconds between two lines where the stream is not a terminal.
        clock: seconds, rising; of the lines and of `rate`, the bar has its own.
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
        self._every_s, self._clock = every_s, clock
        self._written_at = clock()
        self._past = deque([(clock(), done)])
        self._bar = self._make_bar() if self._stream.isatty() else None

    def rate(self) -> float:
        """Units a second of late; 0 before anything is done."""
        (start, before), (end, now) = self._past[0], self._past[-1]
        return (now - before) / (end - start) if end > start else 0.0

    def update(self, count: int, text: str = "") -> None:
        """Adds `count` to what is done, and shows it if that is due.

        Args:
            text: added to what is shown, such as the loss.
        """
        self._done += count
        now = self._clock()
        self._past.append((now, self._done))
        while len(self._past) > 2 and now - self._past[1][0] > WINDOW_S:
            self._past.popleft()
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(count)
        elif now - self._written_at >= self._every_s:
            self._written_at = now
            self._write(text)

    def close(self, text: str = "") -> None:
        """Shows how far it came in the end."""
        if self._bar is None:
            self._write(text)
        else:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.close()

    def _make_bar(self) -> _Bar:
        return _Bar(
            total=self._total,
            initial=self._done,
            desc=self._label,
            unit=f" {self._unit}",
            file=self._stream,
            mininterval=0.2,
            miniters=1,
            dynamic_ncols=True,
        )

    def _write(self, text: str) -> None:
        rate = self.rate()
        parts = [f"{self._label}: {self._done}/{self._total} {self._unit}", f"{rate:.1f}/s"]
        if rate > 0 and self._done < self._total:
            parts.append(f"{duration((self._total - self._done) / rate)} left")
        self._stream.write(", ".join([*parts, text] if text else parts) + "\n")
        self._stream.flush()
