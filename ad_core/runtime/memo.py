"""Arrays that a function gives of images, computed once however often a job looks at these."""

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from ad_core.runtime.inference import Begun

ROOM = 2 * 2**30  # bytes that are kept; what comes later is computed each time

Named = dict[str, np.ndarray]


class _Memo:
    """Named rows of images, as long as there is room."""

    def __init__(self, room: int):
        self.rows: dict[Hashable, Named] = {}
        self._room = room

    def keep(self, key: Hashable, found: Named) -> None:
        """Keeps rows beside those of other names."""
        known = self.rows.get(key, {})
        new = {name: x for name, x in found.items() if name not in known}
        size = sum(x.nbytes for x in new.values())
        if size <= self._room:
            self._room -= size
            self.rows[key] = {**known, **new}


_memo: ContextVar[_Memo | None] = ContextVar("memo", default=None)


@contextmanager
def memoised(room: int = ROOM) -> Iterator[None]:
    """Within it `begin_known` keeps what it computes; at its end that is forgotten.

    Args:
        room: bytes.
    """
    token = _memo.set(_Memo(room))
    try:
        yield
    finally:
        _memo.reset(token)


def begin_known(
    of: Hashable, names: Sequence[str], images: np.ndarray, begin: Callable[[Any], Begun[Named]]
) -> Begun[Named]:
    """`begin(images)`, by which only images are computed that it did not see before.

    Args:
        of: tells what is computed from all else.
        names: of the arrays that `begin` gives, each with a row an image.
        images: [b, h, w, c], told apart by their values.
    """
    memo = _memo.get()
    if memo is None:
        return begin(images)
    keys = [(of, x.shape, hashlib.blake2b(np.ascontiguousarray(x)).digest()) for x in images]
    known = [memo.rows.get(key, {}) for key in keys]
    missing = [n for n, rows in enumerate(known) if not all(name in rows for name in names)]
    begun = begin(images[missing]) if missing else None

    def result() -> Named:
        found = {} if begun is None else begun.result()
        for row, n in enumerate(missing):
            known[n] = {name: x[row : row + 1] for name, x in found.items()}
            memo.keep(keys[n], known[n])
        return {name: np.concatenate([rows[name] for rows in known]) for name in names}

    return Begun(result, (lambda: None) if begun is None else begun.cancel)
