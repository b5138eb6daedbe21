"""Material of a threshold rule: scores of the calibration images, and options."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Shaped

from ad_core.decision.thresholds.guarantees import Counted, Terms
from ad_core.errors import UserError

Vector = Shaped[Array | np.ndarray, "n"]
Sorted = Float[np.ndarray, "_"]


class Calibrating(NamedTuple):
    """Scores of the calibration images, ascending.

    normal, abnormal: of each image. parts: of each group with abnormal images the lowest, so that
    a patient or a part counts once. normal_parts: of each group with normal images the highest.
    defects: as parts, of each type of defect.
    """

    normal: Sorted
    abnormal: Sorted
    parts: Sorted
    normal_parts: Sorted
    defects: Mapping[str, Sorted]

    @property
    def counted(self) -> Counted:
        """Number of abnormal images and of their groups."""
        return Counted(int(self.abnormal.size), int(self.parts.size))


class Proof(NamedTuple):
    """Proof that a classifier's score carries by itself.

    Its score of an abnormal part lies below k / (n_groups + 1) with probability at most
    factor k / (n_groups + 1), for every whole k. source: of the theorem, in words.
    """

    n_groups: int
    factor: int
    source: str


@dataclass(frozen=True)
class Options:
    """Settings of the rules; each rule reads only what it needs."""

    target_fpr: float | int
    normal_quantile: float | int
    confidence: float | int
    out_of_fold: bool
    miss_rate: float | int
    miss_cost: float | int | None
    alarm_cost: float | int | None
    prevalence: float | int | None
    value: float | int | None
    delta: float | int
    candidates: int
    left_out: int
    each_defect: bool
    review_share: float | int
    lower: float | None
    proof: Proof | None
    synthetic: Vector | None

    @property
    def terms(self) -> Terms:
        """Terms of a rule's promise."""
        return Terms(self.confidence, self.out_of_fold, self.candidates, self.left_out)


def calibrating(
    scores: Vector, labels: Vector, groups: Vector | None, defects: Vector | None
) -> Calibrating:
    """The scores by class, group and type of defect; each image by itself where `groups` is None.

    Raises:
        UserError: vectors of different lengths, other labels, or scores that are not finite.
    """
    values, kinds = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if values.ndim != 1 or values.shape != kinds.shape:
        raise UserError(f"Scores {values.shape} and labels {kinds.shape} must be equal vectors.")
    if not ((kinds == 0) | (kinds == 1)).all():
        raise UserError(f"Labels must be 0 or 1; found {np.setdiff1d(kinds, (0, 1))[:3]}.")
    bad = int((~np.isfinite(values)).sum())
    if bad:
        raise UserError(f"{bad} of {values.size} calibration scores are not finite; mend them.")
    names = np.arange(values.size) if groups is None else np.asarray(groups)
    types = np.zeros(values.size) if defects is None else np.asarray(defects)
    if not names.shape == types.shape == values.shape:
        raise UserError(
            f"Groups {names.shape} and defects {types.shape} must be as many as scores "
            f"{values.shape}."
        )
    odd = kinds == 1
    return Calibrating(
        normal=np.sort(values[~odd]),
        abnormal=np.sort(values[odd]),
        parts=lowest_of_groups(values[odd], names[odd]),
        normal_parts=np.sort(-lowest_of_groups(-values[~odd], names[~odd])),
        defects={
            str(one): lowest_of_groups(values[odd & (types == one)], names[odd & (types == one)])
            for one in ([] if defects is None else np.unique(types[odd]))
        },
    )


def lowest_of_groups(scores: Float[np.ndarray, "n"], groups: Shaped[np.ndarray, "n"]) -> Sorted:
    """The lowest score of each group, ascending."""
    names, member = np.unique(groups, return_inverse=True)
    lowest = np.full(names.size, np.inf)
    np.minimum.at(lowest, member, scores)
    return np.sort(lowest)
