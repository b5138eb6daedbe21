"""Attempts to log in: who fails too often waits."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from time import time

WINDOW_S = 300.0
MOST = 10_000  # names or addresses that are remembered; the oldest is forgotten first


class Attempts:
    """Failures of late by a name or an address."""

    def __init__(self, limit: int, *, clock: Callable[[], float] = time):
        """Allows at most `limit` failures in WINDOW_S."""
        self._limit, self._clock, self._lock = limit, clock, threading.Lock()
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def wait_s(self, key: str) -> float:
        """Seconds until the next attempt is looked at; 0: at once."""
        with self._lock:
            recent = self._recent(key)
        if len(recent) < self._limit:
            return 0.0
        return max(0.0, recent[-self._limit] + WINDOW_S - self._clock())

    def failed(self, key: str) -> None:
        """Notes a failure."""
        with self._lock:
            self._failures[key] = [*self._recent(key), self._clock()]
            self._failures.move_to_end(key)
            while len(self._failures) > MOST:
                self._failures.popitem(last=False)

    def succeeded(self, key: str) -> None:
        """Forgets the failures of a name that has shown its password."""
        with self._lock:
            self._failures.pop(key, None)

    def _recent(self, key: str) -> list[float]:
        since = self._clock() - WINDOW_S
        return [at for at in self._failures.get(key, ()) if at > since]
