"""Progress of long work: rate and time left."""

import io
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TextIO

from tqdm import tqdm

WINDOW_S = 30.0  # the rate is that of the last half minute
SHORTEST_S = 0.1  # time within which all is done at once, and a rate says nothing
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def duration(seconds: float) -> str:
    """Duration in words, such as "7 s", "3 min 05 s" or "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@contextmanager
def quiet() -> Iterator[None]:
    """Shows no progress of what begins inside, unless it names a stream of its own."""
    before = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(before)


class _Bar(tqdm):
    """A bar that starts no thread to watch over itself, and says beside itself what it is told."""

    monitor_interval = 0
    said = ""

    @property
    def format_dict(self) -> dict[str, Any]:
        """Words that a format may name, with `said` among them."""
        return {**super().format_dict, "said": self.said}


class Progress:
    """Shows how much of `total` is done: a bar on a terminal, elsewhere a line now and then.

    The rate is counted from the first update on: what comes before is mostly compiling.

    Args:
        label: what is done, such as "train".
        unit: what is counted.
        done: how much was done before (a resumed training); not part of the rate.
        first: what keeps the first update waiting, such as "compiling"; "" says nothing.
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
        first: str = "",
        stream: io.TextIOBase | TextIO | None = None,
        every_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._total, self._label, self._unit, self._done = total, label, unit, done
        unheard = io.StringIO() if _quiet.get() else sys.stderr
        self._stream = unheard if stream is None else stream
        self._every_s, self._clock = every_s, clock
        self._written_at, self._shown = clock(), -1
        self._past: deque[tuple[float, int]] = deque()
        self._bar = self._make_bar(first) if self._stream.isatty() else None
        if first and self._bar is None:
            self._stream.write(f"{label}: {first}\n")
            self._stream.flush()

    def rate(self) -> float:
        """Units a second of late; 0 before there are two updates some time apart."""
        if not self._past:
            return 0.0
        (start, before), (end, now) = self._past[0], self._past[-1]
        return (now - before) / (end - start) if end - start >= SHORTEST_S else 0.0

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
            self._bar.said = self._said(text)
            self._bar.update(count)
        elif now - self._written_at >= self._every_s:
            self._written_at = now
            self._write(text)

    def close(self, text: str = "") -> None:
        """Shows how far it came in the end."""
        if self._bar is None:
            if text or self._shown != self._done:
                self._write(text)
        else:
            self._bar.said = self._said(text)
            self._bar.close()

    def _make_bar(self, first: str) -> _Bar:
        bar = _Bar(
            total=self._total,
            initial=self._done,
            desc=self._label,
            file=self._stream,
            mininterval=0.2,
            miniters=1,
            dynamic_ncols=True,
            bar_format="{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{said}]",
        )
        bar.said = first
        bar.refresh()
        return bar

    def _said(self, text: str) -> str:
        """Rate, time left and `text`, as far as there are any."""
        rate = self.rate()
        parts = [f"{rate:.1f} {self._unit}/s"] if rate > 0 else []
        if rate > 0 and self._done < self._total:
            parts.append(f"{duration((self._total - self._done) / rate)} left")
        return ", ".join([*parts, text] if text else parts)

    def _write(self, text: str) -> None:
        self._shown = self._done
        said = self._said(text)
        done = f"{self._label}: {self._done}/{self._total} {self._unit}"
        self._stream.write(f"{done}, {said}\n" if said else f"{done}\n")
        self._stream.flush()
