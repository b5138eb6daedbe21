"""Statistics of likeness: do images that follow each other by name look alike, and which?

Images are rows of numbers (thumbnails); their distance is 1 minus the correlation of what each
has beside the mean of all, from 0 (copies) to 2. A production line's look-alike parts are no more
alike as neighbours than as strangers; slices of one volume and bursts of one part are.
"""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

OTHERS = 256  # images to which each is compared
SHUFFLES = 199  # orders drawn at random, of which none may be as telling as the names'
ALIKE = 0.1  # of all pairs, those that count as alike
NEAR, AROUND = 0.1, 0.3  # distances of copies, and of what surrounds them
MANY = 20  # near pairs an image, beyond which they are no copies
BLOCK = 1024  # rows compared at a time
Rows = Float[np.ndarray, "n d"]


def orders(names: Sequence[str]) -> dict[str, Int[np.ndarray, " n"]]:
    """Orders in which images of one source may follow each other, by what they follow.

    name: texts and numbers of the path from the left, 2 before 10. number: by the last number of
    the file's name, then the one before, such as "exp3_num_1042" by 1042.
    """
    by_name = sorted(range(len(names)), key=lambda i: _tokens(names[i]))
    by_number = sorted(range(len(names)), key=lambda i: (_numbers(names[i])[::-1], names[i]))
    found = {"name": by_name, "number": by_number}
    return {key: np.array(order, int) for key, order in found.items()}


def _tokens(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts if part]


def _numbers(name: str) -> list[int]:
    return [int(part) for part in re.findall(r"[0-9]+", name.rpartition("/")[2])]


def centred(rows: Rows) -> Rows:
    """The rows without their mean, each of norm 1 (zeros stay); their products are correlations."""
    apart = rows - rows.mean(axis=0)
    norm = np.linalg.norm(apart, axis=1, keepdims=True)
    return np.where(norm > 1e-6, apart / np.maximum(norm, 1e-6), 0.0).astype(np.float32)


def follower_ranks(rows: Rows, rng: np.random.Generator) -> Float[np.ndarray, " m"]:
    """Share of others that are nearer to a row than its follower, of each row but the last.

    0.5 on average where the order means nothing; others are OTHERS of the rows, drawn at random.

    Args:
        rows: as `centred` gives them, at least 3, in their order.
    """
    return _Strangers(rows, rng).ranks(np.arange(len(rows)))


def chance_of_order(parts: Sequence[Float[np.ndarray, "_ d"]], rng: np.random.Generator) -> float:
    """The share of SHUFFLES random orders (and this one) whose mean rank is no higher.

    A permutation test of all parts together, each shuffled in itself.

    Args:
        parts: rows as `follower_ranks` takes them; one class each.
    """
    tables = [_Strangers(rows, rng) for rows in parts]
    found = [t.ranks(np.arange(len(p))) for t, p in zip(tables, parts, strict=True)]
    mean, as_low = np.concatenate(found).mean(), 1
    for _ in range(SHUFFLES):
        drawn = [t.ranks(rng.permutation(len(p))) for t, p in zip(tables, parts, strict=True)]
        as_low += int(np.concatenate(drawn).mean() <= mean)
    return as_low / (1 + SHUFFLES)


class _Strangers:
    """Sorted distances of each row to a random part of all, and the rank of any other distance."""

    def __init__(self, rows: Rows, rng: np.random.Generator):
        count = len(rows)
        self._rows = rows
        self._others = np.sort(rng.permutation(count)[:OTHERS])
        distance = 1 - rows @ rows[self._others].T
        distance[self._others, np.arange(len(self._others))] = np.inf  # each to itself
        self._sorted = np.sort(distance, axis=1)
        self._known = np.isfinite(self._sorted).sum(axis=1)

    def ranks(self, order: Int[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
        """Share of the others that are nearer to each row than its follower in `order`."""
        left, right = order[:-1], order[1:]
        apart = 1 - np.einsum("nd,nd->n", self._rows[left], self._rows[right])
        # Not the follower itself, if it is among the others: rounding may set it before or after.
        nearer = (self._sorted[left] < apart[:, None] - 1e-6).sum(axis=1)
        return nearer / np.maximum(self._known[left] - 1, 1)


def cut_runs(rows: Rows, rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """A number for each row, equal within a run of rows that follow each other and are alike.

    A run ends where no pair across the end is alike: neither those who follow each other nor those
    with one between them. Alike are distances as low as the lowest ALIKE of all pairs.

    Args:
        rows: as `centred` gives them, in their order.
    """
    count = len(rows)
    left, right = (rng.integers(0, count, 20_000) for _ in range(2))
    different = left != right
    apart = 1 - np.einsum("nd,nd->n", rows[left[different]], rows[right[different]])
    limit = float(np.quantile(apart, ALIKE))
    follows, skips = (_alike_at(rows, step, limit) for step in (1, 2))
    joined = follows.copy()
    joined[: len(skips)] |= skips  # from the last but one of a run to the first of the next
    joined[1 : 1 + len(skips)] |= skips  # from the last of a run to the second of the next
    return np.concatenate([[0], np.cumsum(~joined)])


def _alike_at(rows: Rows, step: int, limit: float) -> Bool[np.ndarray, " m"]:
    return 1 - np.einsum("nd,nd->n", rows[:-step], rows[step:]) <= limit


def near_copies(rows: Rows) -> tuple[Int[np.ndarray, " n"], int, int]:
    """A number for each row, equal where a chain of copies joins two; pairs within NEAR and AROUND.

    Where so many are near that they cannot be copies, the last rows are not looked at.

    Args:
        rows: as `centred` gives them. Rows of zeros are no copies.
    """
    left, right, near, around = [], [], 0, 0
    for top in range(0, len(rows), BLOCK):
        apart = 1 - rows[top : top + BLOCK] @ rows[top:].T
        apart[np.tril_indices(len(apart), m=apart.shape[1])] = np.inf
        around += int(np.count_nonzero(apart <= AROUND))
        i, j = np.nonzero(apart <= NEAR)
        left.append(i + top)
        right.append(j + top)
        near += len(i)
        if near > MANY * len(rows):
            break
    pairs = np.concatenate(left), np.concatenate(right)
    graph = coo_array((np.ones(len(pairs[0]), bool), pairs), shape=(len(rows), len(rows)))
    return connected_components(graph, directed=False)[1], near, around
