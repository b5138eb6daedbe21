"""Drift of a lot: a test of whether its bulk looks like the normal images that calibrated.

For every statistic, and for each direction, the lot is compared with the normals by the rank-sum
test. First the images of the lot that are most extreme in that direction are left out, as many as
may be defects. What remains is then no more extreme than that many normal images would be,
wherever the defects lie: so the test is exact for a lot with that share of anything in it.
"""

from collections.abc import Sequence
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy.stats import mannwhitneyu

from ad_core.errors import UserError
from ad_core.inspection.findings import plural
from ad_core.statistics.glossary import words

LEVEL = 0.01  # share of lots without drift that are warned of, at most
DEFECTS = 0.05  # share of a lot that may be anything, rounded up
FEWEST = 10  # images (one a group) of a lot, and of the normals, of which anything is said
CLEAR = 2 / 3  # share of pairs beyond which a shift is worth a warning: 0.6 standard deviations
SHOWN = 3  # statistics that a warning names
WATCHED = 6  # looks of a watch at the same images, the last at FEWEST * 2^5 of them
# Products of the sizes up to which the rank-sum has its exact distribution. The normal
# approximation beyond lies above it in the tails that count here.
_EXACT = 5_000
Rows = Float[np.ndarray, "n k"]


class Normals(NamedTuple):
    """Normal images that calibrated: what a lot is compared with, in m images and k statistics.

    names: of the statistics. values: of each image. group: a number for each image; those of a
    group (a part, a patient) count once. higher, lower: whether a lot is compared with them in this
    direction. pooled: statistics that are pooled features of a network, one of thousands.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "m k"]
    group: Int[np.ndarray, " m"]
    higher: Bool[np.ndarray, " k"]
    lower: Bool[np.ndarray, " k"]
    pooled: Bool[np.ndarray, " k"]


class Shift(NamedTuple):
    """A statistic in which a lot differs from the normals.

    higher: whether the lot lies above. share: of the pairs of an image of the lot and a normal one,
    those in which it lies above (or below, where not `higher`), after the most extreme images of
    the lot were left out. p: p-value, all statistics and looks counted.
    """

    name: str
    higher: bool
    share: float
    p: float

    def __str__(self) -> str:
        """The shift in words, and the numbers behind it."""
        how = "higher" if self.higher else "lower"
        return f"{words(self.name).subject} is {how} in {100 * self.share:.0f} % ({self.name})"


class Drift(NamedTuple):
    """Result of comparing a lot with the calibration images.

    drifted: None where nothing can be said; `why` then says why not. p: p-value, all statistics
    and looks counted. images: of the lot, one a group. normals: those that they were compared with.
    shifts: the statistics that tell, the clearest first; empty without drift.
    """

    drifted: bool | None
    p: float | None = None
    images: int = 0
    normals: int = 0
    shifts: tuple[Shift, ...] = ()
    why: str = ""

    def __str__(self) -> str:
        """The result in words."""
        return self.told("this lot")

    def told(self, lot: str, *, shown: int = SHOWN) -> str:
        """The result in words about what `lot` names, with at most `shown` of the statistics."""
        if self.drifted is None:
            return f"nothing is known about drift: {self.why}"
        numbers = f"p = {self.p:.2g}, {plural(self.images, 'image')} against {self.normals} normal"
        if not self.drifted:
            return f"nothing clear tells {lot} from the calibration images ({numbers})"
        told = "; ".join(map(str, self.shifts[:shown]))
        return (
            f"{lot} does not look like the calibration images; the promise does not cover it "
            f"({numbers}). Of the pairs of one of its images and a normal one that calibrated, "
            f"{told}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: {drifted, p, images, normals, shifts, statement}."""
        return {
            "drifted": self.drifted,
            "p": self.p,
            "images": self.images,
            "normals": self.normals,
            "shifts": [shift._asdict() for shift in self.shifts],
            "statement": str(self),
        }


def compare_lot(
    normals: Normals,
    values: Rows,
    groups: Sequence[Any] | np.ndarray | None = None,
    *,
    level: float = LEVEL,
) -> Drift:
    """Drift of a lot that is looked at once, whatever its size.

    A warning needs a shift that is certain (p <= level) and clear (CLEAR of pairs). A lot drawn
    like the normals, of which the share DEFECTS (rounded up) may be anything, has p <= level with
    probability at most `level`: over lots and calibrations, not for each calibration by itself.
    Pooled features share half of it, the other statistics the other half, and directions count as
    statistics do (Bonferroni). Ties count against a warning. One image of each group is taken, by
    chance; images with a value that is not finite are left out.

    Args:
        values: of the lot, in the order of `normals.names`. groups: of its images; None: each by
            itself. level: in (0, 1).

    Raises:
        UserError: other numbers of statistics or groups.

    Source: the rank-sum test of H. B. Mann and D. R. Whitney, 1947. What is left out is ours.
    """
    lot = _one_of_each(_table(normals, values), groups)
    known = _one_of_each(np.asarray(normals.values, np.float64), normals.group)
    n, m = len(lot), len(known)
    if min(n, m) < FEWEST:
        few = f"{plural(n, 'image')} of the lot" if n < FEWEST else f"{m} normal ones calibrated"
        return Drift(None, None, n, m, why=f"too few to tell ({few}, {FEWEST} are needed)")
    shifts = _shifts(normals, lot, known)
    if not shifts:
        why = "every statistic comes from a method that learns from the images that calibrate"
        return Drift(None, None, n, m, why=why)
    told = tuple(shift for shift in shifts if shift.p <= level and shift.share >= CLEAR)
    return Drift(bool(told), shifts[0].p, n, m, told)


class Watch:
    """Watch over one lot that is still coming in: the test of `compare_lot`, again and again.

    It looks after FEWEST, 2 FEWEST, 4 FEWEST, ... images, WATCHED times; then it forgets them, and
    begins so with the next ones, however long the lot is. The j-th look of all has the level
    `level` / (j (j + 1)). These sum to `level`, which so bounds the probability that a lot without
    drift is ever warned of.

    Attributes: `found`, the result so far; a warning stays.
    """

    def __init__(self, normals: Normals, *, level: float = LEVEL):
        """Begins a lot of which nothing has been seen."""
        self._normals, self._level = normals, level
        self._rows: list[Float64[np.ndarray, " k"]] = []
        self._groups: set[Any] = set()
        self._looks = 0
        self.found = compare_lot(normals, np.zeros((0, len(normals.names))))

    def add(self, values: Rows, groups: Sequence[Any] | np.ndarray | None = None) -> Drift:
        """Takes images in, of each group the first one, and returns what is found so far.

        `Drift.p` counts all looks: it holds at whatever moment the watch ends. Errors as
        `compare_lot`.
        """
        table = _table(self._normals, values)
        own = [object() for _ in table] if groups is None else list(groups)
        for row, group in zip(table, own, strict=True):
            if group in self._groups or not np.isfinite(row).all():
                continue
            if groups is not None:
                self._groups.add(group)
            self._rows.append(row)
            if len(self._rows) == FEWEST * 2 ** (self._looks % WATCHED):
                self._look()
        return self.found

    def _look(self) -> None:
        """Renews the result, unless an earlier one was clearer."""
        self._looks += 1
        weight = self._looks * (self._looks + 1)
        seen = compare_lot(self._normals, np.stack(self._rows), level=self._level / weight)
        if self._looks % WATCHED == 0:
            self._rows = []
        if seen.p is None:
            self.found = seen
            return
        shifts = tuple(shift._replace(p=weight * shift.p) for shift in seen.shifts)
        seen = seen._replace(p=min(1.0, weight * seen.p), shifts=shifts)
        before = self.found
        if before.p is None or (not seen.drifted, seen.p) <= (not before.drifted, before.p):
            self.found = seen


def _table(normals: Normals, values: Rows) -> Float64[np.ndarray, "n k"]:
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or table.shape[1] != len(normals.names):
        raise UserError(
            f"`values` {table.shape} must hold the {len(normals.names)} statistics of the normals."
        )
    return table


def _one_of_each(
    table: Float64[np.ndarray, "n k"], groups: Sequence[Any] | np.ndarray | None
) -> Float64[np.ndarray, "_ k"]:
    """One finite row of each group, drawn with a seed that is always the same."""
    names = np.arange(len(table)) if groups is None else np.asarray(groups)
    if names.shape != (len(table),):
        raise UserError(f"`groups` {names.shape} must be as many as images ({len(table)}).")
    rows = np.random.default_rng(0).permutation(len(table))
    rows = rows[np.isfinite(table[rows]).all(axis=1)]
    return table[rows[np.unique(names[rows], return_index=True)[1]]]


def _shifts(
    normals: Normals, lot: Float64[np.ndarray, "n k"], known: Float64[np.ndarray, "m k"]
) -> list[Shift]:
    """Every statistic and direction compared, the clearest first; p-values count all of them."""
    kinds = [kind for kind in (~normals.pooled, normals.pooled) if kind.any()]
    found = []
    for higher, compared in ((True, normals.higher), (False, normals.lower)):
        sign = 1.0 if higher else -1.0
        columns = np.flatnonzero(compared)
        p, share = _stands_higher(sign * lot[:, columns], sign * known[:, columns])
        for column, one, of_pairs in zip(columns, p, share, strict=True):
            kind = next(kind for kind in kinds if kind[column])
            times = len(kinds) * ((normals.higher & kind).sum() + (normals.lower & kind).sum())
            counted = min(1.0, float(times * one))
            found.append(Shift(normals.names[column], higher, float(of_pairs), counted))
    return sorted(found, key=lambda shift: (shift.p, -shift.share))


def _stands_higher(
    lot: Float64[np.ndarray, "n k"], known: Float64[np.ndarray, "m k"]
) -> tuple[Float64[np.ndarray, " k"], Float64[np.ndarray, " k"]]:
    """p-values of the lot being higher, without its highest values, and the shares of pairs.

    With d <= c images of the lot being anything, its lowest n - c values are, one by one, at most
    those of n - c normal images; the rank-sum can only be smaller.
    """
    if not lot.shape[1]:
        return np.zeros(0), np.zeros(0)
    fewer = len(lot) - ceil(DEFECTS * len(lot))
    kept = np.sort(np.ascontiguousarray(lot.T), axis=1)[:, :fewer]
    n, m = fewer, len(known)
    # Among equals a stable sort ranks the lot lowest.
    order = np.argsort(np.concatenate([kept, known.T], axis=1), axis=1, kind="stable")
    ranks = np.empty(order.shape)
    np.put_along_axis(ranks, order, np.arange(1.0, n + m + 1)[None], axis=1)
    found: Any = mannwhitneyu(
        ranks[:, :n],
        ranks[:, n:],
        alternative="greater",
        axis=1,
        method="exact" if n * m <= _EXACT else "asymptotic",
    )
    return np.asarray(found.pvalue), np.asarray(found.statistic) / (n * m)
