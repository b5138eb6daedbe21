"""The images that a report shows, kept as they pass by."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ad_core.reporting.panels import Drawn

SHOWN = 6  # of each kind
HIGHEST = {"misses": False, "false_alarms": True, "hits": True, "passed": False}


class Shown(NamedTuple):
    """Image of a gallery. row: its place in the judging split."""

    row: int
    score: float
    drawn: Drawn


class Gallery:
    """The most telling images of each kind.

    These have the highest scores of what was inspected, or the lowest of what passed. At most
    SHOWN images of a kind are held, however many images pass by.
    """

    def __init__(self) -> None:
        self._kept: dict[str, list[Shown]] = {kind: [] for kind in HIGHEST}

    def offer(
        self,
        row: int,
        *,
        score: float,
        abnormal: bool,
        inspected: bool,
        draw: Callable[[], Drawn],
    ) -> None:
        """Keeps an image if it belongs among the shown; one without a finite score does not.

        Args:
            draw: makes its pictures; called only if it is kept.
        """
        if not np.isfinite(score):
            return
        kind = ("false_alarms", "hits") if inspected else ("passed", "misses")
        kept, sign = self._kept[kind[abnormal]], -1 if HIGHEST[kind[abnormal]] else 1

        def place(shown: Shown) -> tuple[float, int]:
            return sign * shown.score, sign * shown.row

        new = Shown(row, score, Drawn((), ""))
        if len(kept) == SHOWN and place(new) > place(kept[-1]):
            return
        kept.append(new._replace(drawn=draw()))
        kept.sort(key=place)
        del kept[SHOWN:]

    def shown(self, kind: str) -> list[Shown]:
        """Examples of a kind (a key of HIGHEST), the most telling first."""
        return self._kept[kind]
