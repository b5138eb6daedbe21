"""Figures of how well scores rank images or pixels, and of what a threshold does.

Labels are 0 (normal) and 1 (abnormal); a score rises with abnormality; an image or pixel is
flagged if score >= threshold. Every figure is a fraction in [0, 1]. Ties are exact: scores that
are equal can only be flagged together. Those of sorted classes serve where a sort takes long.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from ad_core.errors import UserError
from ad_core.metrics.checks import Labels, Scores, binary, sorted_classes


class Classes(NamedTuple):
    """Scores of the normal and of the abnormal, each ascending, neither empty."""

    normal: Float[np.ndarray, "q"]
    abnormal: Float[np.ndarray, "p"]

    def auroc(self) -> float:
        """Area under the ROC curve: P(abnormal > normal) + P(equal) / 2 over all pairs."""
        below = int(np.searchsorted(self.normal, self.abnormal, side="left").sum())
        not_above = int(np.searchsorted(self.normal, self.abnormal, side="right").sum())
        return (below + not_above) / (2 * self.normal.size * self.abnormal.size)

    def average_precision(self) -> float:
        """Sum over distinct thresholds of (recall gained) x (precision there)."""
        gained, tp, fp = self._steps()
        return float(np.sum(gained * (tp / (tp + fp))) / self.abnormal.size)

    def f1_max(self) -> float:
        """Highest F1 = 2 tp / (2 tp + fp + fn) over all thresholds."""
        _, tp, fp = self._steps()
        return float((2 * tp / (tp + fp + self.abnormal.size)).max())

    def _steps(
        self,
    ) -> tuple[Int[np.ndarray, "t"], Int[np.ndarray, "t"], Int[np.ndarray, "t"]]:
        """Of each distinct abnormal score as threshold: abnormal ones at it; tp; fp.

        Between two of them only normal ones come to be flagged, which mends no figure.
        """
        new = np.concatenate([[True], self.abnormal[1:] != self.abnormal[:-1]])
        first = np.flatnonzero(new)
        tp = self.abnormal.size - first
        gained = np.diff(first, append=self.abnormal.size)
        fp = self.normal.size - np.searchsorted(self.normal, self.abnormal[first], side="left")
        return gained, tp, fp


def auroc(labels: Labels, scores: Scores) -> float:
    """Area under the ROC curve.

    P(abnormal score > normal score) + P(equal) / 2 over all pairs, by sorting each class once:
    pixels of a whole data set may be given, ravelled, and float32 stays float32.

    Raises:
        UserError: a class is absent, lengths differ, or a score is not finite.
    """
    return Classes(*sorted_classes(labels, scores)).auroc()


def average_precision(labels: Labels, scores: Scores) -> float:
    """Area under the precision-recall curve as a step function, not interpolated.

    Sum over distinct thresholds of (recall gained) x (precision there).

    Raises:
        UserError: as `auroc`.
    """
    return Classes(*sorted_classes(labels, scores)).average_precision()


def f1_max(labels: Labels, scores: Scores) -> float:
    """Highest F1, the harmonic mean of precision and recall, over all thresholds.

    The threshold is chosen on the very scores that it is judged on: an upper bound, as `oracle`.

    Raises:
        UserError: as `auroc`.
    """
    return Classes(*sorted_classes(labels, scores)).f1_max()


def oracle(labels: Labels, scores: Scores) -> dict[str, float]:
    """The best that thresholds chosen on these very scores could do: an upper bound.

    Returns:
        zfn: accuracy with threshold = lowest score of an abnormal image (no abnormal one passes);
        acc: best accuracy over all thresholds, flagging nothing included;
        auc: area under the ROC curve;
        fpr_at_tpr1: share of normal images flagged at the zfn threshold.

    Raises:
        UserError: as `auroc`.
    """
    normal, abnormal = sorted_classes(labels, scores)
    n = normal.size + abnormal.size
    # Accuracy can only peak where an abnormal image starts to be flagged, or nowhere at all.
    passed = np.searchsorted(normal, abnormal, side="left")
    flagged = abnormal.size - np.searchsorted(abnormal, abnormal, side="left")
    correct = max(int((passed + flagged).max()), normal.size)
    return {
        "zfn": (abnormal.size + int(passed[0])) / n,
        "acc": correct / n,
        "auc": Classes(normal, abnormal).auroc(),
        "fpr_at_tpr1": (normal.size - int(passed[0])) / normal.size,
    }


def confusion(
    labels: Labels, flags: Shaped[Array | np.ndarray, "n"]
) -> dict[str, int | float | None]:
    """Counts and rates of decisions; `flags` is true where an image is to be inspected.

    Returns:
        tp, fn, fp, tn; tpr = tp / (tp + fn), fpr = fp / (fp + tn), accuracy. A rate without a
        single image behind it is None.
    """
    abnormal, flagged = binary("labels", labels), binary("flags", flags)
    if abnormal.shape != flagged.shape:
        raise UserError(f"{flagged.size} flags for {abnormal.size} labels; give one each.")
    tp, fp = int((abnormal & flagged).sum()), int((~abnormal & flagged).sum())
    fn, tn = int((abnormal & ~flagged).sum()), int((~abnormal & ~flagged).sum())
    return {
        "tp": tp,
        "fn": fn,
        "fp": fp,
        "tn": tn,
        "tpr": _ratio(tp, tp + fn),
        "fpr": _ratio(fp, fp + tn),
        "accuracy": _ratio(tp + tn, tp + fn + fp + tn),
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
