"""Paired tests of several methods on the same blocks: which differences are more than chance.

A block is what all methods were judged on: a set, or a set with a seed. Ranks and not figures are
compared, because a point on an easy set is not a point on a hard one.

Source: J. Demšar, Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7, 2006.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

ALPHA = 0.05
LEAST_METHODS = 3  # for ranks over all methods; two are a pair


class Pair(NamedTuple):
    """Two methods by the signed-rank test. p: two-sided. adjusted: after Holm, over all pairs.

    wins: number of blocks on which each is the better one.
    """

    names: tuple[str, str]
    wins: tuple[int, int]
    p: float
    adjusted: float

    @property
    def real(self) -> bool:
        """Tells whether the difference is more than chance at ALPHA."""
        return self.adjusted < ALPHA


class Ranking(NamedTuple):
    """Methods by their mean rank over all blocks, the best first, and what tests say of them.

    ranks: 1 is the best. statistic, p: of Friedman's test, corrected for ties; None below
    LEAST_METHODS. critical: Nemenyi's critical difference of two mean ranks; None likewise.
    left_out: methods without figures on enough of the blocks. pairs: every pair.
    """

    names: tuple[str, ...]
    ranks: tuple[float, ...]
    blocks: int
    statistic: float | None
    p: float | None
    critical: float | None
    left_out: tuple[str, ...]
    pairs: tuple[Pair, ...]


def rank_methods(figures: Mapping[str, Mapping[str, float]]) -> Ranking | None:
    """The ranking of methods; None where fewer than two share two blocks.

    A method with figures on less than half of the blocks is left out; of the rest only the blocks
    count on which every one has a figure.

    Args:
        figures: method -> block -> its figure there; high is good.
    """
    every = {block for own in figures.values() for block in own}
    kept = [name for name, own in figures.items() if 2 * len(own) >= len(every) > 0]
    blocks = sorted(block for block in every if all(block in figures[name] for name in kept))
    if len(kept) < 2 or len(blocks) < 2:
        return None
    values = np.array([[figures[name][block] for name in kept] for block in blocks], np.float64)
    ranks = mean_ranks(values)
    order = np.argsort(ranks, kind="stable")
    statistic, p = friedman(values) if len(kept) >= LEAST_METHODS else (None, None)
    return Ranking(
        names=tuple(kept[i] for i in order),
        ranks=tuple(float(ranks[i]) for i in order),
        blocks=len(blocks),
        statistic=statistic,
        p=p,
        critical=critical_difference(len(kept), len(blocks)) if p is not None else None,
        left_out=tuple(name for name in figures if name not in kept),
        pairs=compare_pairs([kept[i] for i in order], values[:, order]),
    )


def mean_ranks(values: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    """Mean over the blocks of each method's rank; 1 for the highest value, ties share ranks."""
    return np.mean(stats.rankdata(-values, axis=1), axis=0)


def friedman(values: Float[np.ndarray, "n k"]) -> tuple[float, float]:
    """Friedman's statistic, corrected for ties, and its p; (0, 1) where all figures are equal."""
    if (values == values[:, :1]).all():
        return 0.0, 1.0
    found = stats.friedmanchisquare(*values.T)
    return float(found.statistic), float(found.pvalue)


def critical_difference(methods: int, blocks: int, *, alpha: float = ALPHA) -> float:
    """Nemenyi's difference of mean ranks from which two of `methods` differ.

    q sqrt(k (k + 1) / (6 n)) with q the quantile of the studentised range over the square root of
    2, k methods and n blocks. Source: Demšar 2006, section 3.2.2 and table 5.
    """
    return float(_quantile(methods, alpha) * np.sqrt(methods * (methods + 1) / (12 * blocks)))


@functools.cache
def _quantile(methods: int, alpha: float) -> float:
    """Of the studentised range of infinitely many degrees of freedom; SciPy integrates for it."""
    return float(stats.studentized_range.ppf(1 - alpha, methods, np.inf))


def compare_pairs(names: Sequence[str], values: Float[np.ndarray, "n k"]) -> tuple[Pair, ...]:
    """Every pair by the signed-rank test, adjusted by Holm; columns in the order of the names."""
    pairs = list(itertools.combinations(range(len(names)), 2))
    p = [signed_rank(values[:, a] - values[:, b]) for a, b in pairs]
    return tuple(
        Pair(
            (names[a], names[b]),
            (int((values[:, a] > values[:, b]).sum()), int((values[:, a] < values[:, b]).sum())),
            raw,
            adjusted,
        )
        for (a, b), raw, adjusted in zip(pairs, p, holm(p), strict=True)
    )


def signed_rank(differences: Float[np.ndarray, " n"]) -> float:
    """Two-sided p of Wilcoxon's test; the ranks of equal figures are shared (Demšar 2006, 3.1.3).

    It is exact where no two differences are equal in size and none is 0.
    """
    if not np.any(differences):
        return 1.0
    sizes = np.abs(differences)
    exact = np.all(sizes > 0) and len(np.unique(sizes)) == len(sizes)
    method = "exact" if exact else "asymptotic"
    found: Any = stats.wilcoxon(differences, zero_method="zsplit", method=method)
    return float(found.pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p of several tests: the i-th smallest of m times (m - i + 1), never falling.

    Source: S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979.
    """
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p, np.float64)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted.tolist()


def least_p(blocks: int) -> float:
    """Smallest two-sided p that the signed-rank test can give on so many blocks."""
    return min(1.0, 2.0 ** (1 - blocks))


def cliques(ranks: Sequence[float], critical: float) -> list[tuple[int, int]]:
    """Runs of methods (first, last) of which no two differ, none inside of another.

    Args:
        ranks: ascending.
    """
    found: list[tuple[int, int]] = []
    for first, rank in enumerate(ranks):
        last = max(i for i, other in enumerate(ranks) if other - rank < critical)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found
