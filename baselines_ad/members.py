"""Members: trainings of the same images side by side, each with its own part to stop by."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

HELD = 5  # a member stops by the HELDth part of each class


class Member(NamedTuple):
    """Rows of the bank that a training learns from, those it is stopped by, and what it draws.

    drawn: rows of each step, half normal and half abnormal. version: of each, as it is or mirrored.
    """

    learnt: Int[np.ndarray, " n"]
    stop: Int[np.ndarray, " q"]
    drawn: Int[np.ndarray, "steps b"]
    version: Int[np.ndarray, "steps b"]


def make_members(
    rows: Int[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    *,
    seeds: int,
    steps: int,
    batch: int,
    versions: int,
    seed: tuple[int, ...],
) -> list[Member]:
    """`seeds` members that share the rows of a part, each stopped by another part of them.

    A part to stop by is a run of neighbours in the order of the images, of each class: files of one
    patient or object mostly lie together.

    Args:
        rows: of the bank. labels: of these rows, 0 normal and 1 abnormal, at least HELD of each.
    """
    members = []
    for number in range(seeds):
        rng = np.random.default_rng((*seed, number))
        held = _neighbours(labels, number)
        learnt, kinds = rows[~held], labels[~held]
        half = batch // 2
        drawn = [
            _draws(learnt[kinds == kind], steps, size, rng)
            for kind, size in ((0, batch - half), (1, half))
        ]
        version = rng.integers(versions, size=(steps, batch))
        members.append(Member(learnt, rows[held], np.concatenate(drawn, axis=1), version))
    return members


def _neighbours(labels: Int[np.ndarray, " n"], number: int) -> np.ndarray:
    """Rows that a member is stopped by: one of HELD runs of each class, another for each number."""
    held = np.zeros(len(labels), bool)
    for kind in (0, 1):
        held[np.array_split(np.flatnonzero(labels == kind), HELD)[(2 * number) % HELD]] = True
    return held


def _draws(
    rows: Int[np.ndarray, " n"], steps: int, size: int, rng: np.random.Generator
) -> Int[np.ndarray, "steps size"]:
    """Rows in random order, all of them before one comes again."""
    rounds = -(-steps * size // len(rows))
    order = np.concatenate([rng.permutation(rows) for _ in range(rounds)])
    return order[: steps * size].reshape(steps, size)
