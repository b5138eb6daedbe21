"""The images that a report shows, kept as they pass by."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

SHOWN = 6  # of each kind
HIGHEST = {"misses": False, "false_alarms": True, "hits": True, "passed": False}


class Shown(NamedTuple):
    """Image of a gallery. row: its place in the judging split. panels: names of what it shows."""

    row: int
    score: float
    picture: UInt8[np.ndarray, "_ _ 3"]
    panels: tuple[str, ...]


class Gallery:
    """The most telling images of each kind.

    These have the highest scores of what was inspected, or the lowest of what passed. At most
    SHOWN pictures of a kind are held, however many images pass by.
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
        panels: tuple[str, ...],
        draw: Callable[[], UInt8[np.ndarray, "_ _ 3"]],
    ) -> None:
        """Keeps an image if it belongs among the shown; one without a finite score does not.

        Args:
            panels: names of what the picture shows, from left to right.
            draw: makes its picture; called only if it is kept.
        """
        if not np.isfinite(score):
            return
        kind = ("false_alarms", "hits") if inspected else ("passed", "misses")
        kept, sign = self._kept[kind[abnormal]], -1 if HIGHEST[kind[abnormal]] else 1

        def place(shown: Shown) -> tuple[float, int]:
            return sign * shown.score, sign * shown.row

        new = Shown(row, score, np.zeros((0, 0, 3), np.uint8), panels)
        if len(kept) == SHOWN and place(new) > place(kept[-1]):
            return
        kept.append(new._replace(picture=draw()))
        kept.sort(key=place)
        del kept[SHOWN:]

    def shown(self, kind: str) -> list[Shown]:
        """Examples of a kind (a key of HIGHEST), the most telling first."""
        return self._kept[kind]
