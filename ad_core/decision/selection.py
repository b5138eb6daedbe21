"""Choosing a classifier: by the images that there are, or by cross-validation.

The latter also tells how much the choice flatters itself.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Int, Shaped

from ad_core.decision.classifiers.catalogue import line_named
from ad_core.decision.classifiers.cleaning import Table
from ad_core.decision.classifiers.fitting import fit_classifier, imputed_score
from ad_core.decision.classifiers.grouped_folds import grouped_folds
from ad_core.errors import UserError
from ad_core.metrics import oracle
from ad_core.statistics import is_feature

Labels = Shaped[Array | np.ndarray, "n"]
# Figures of `metrics.oracle`, and whether more is better.
CRITERIA = {"fpr_at_tpr1": False, "zfn": True, "acc": True, "auc": True}


def choose_classifier(
    name: str, labels: Labels, groups: Labels | None = None, names: Sequence[str] = ()
) -> str:
    """The classifier that calibration images with these labels allow.

    "auto" is one_class, which learns from normal images alone, unless there are abnormal images in
    at least 2 groups (an image is its own group where `groups` is None), so that each can be scored
    by a classifier that has not seen it. Then it is monotone where pooled features are among
    the columns `names`, and extra_trees elsewhere: docs/decision.md has the comparisons.
    "select" stays (see `select_classifier`), given abnormal images in at least 3 groups.

    Raises:
        UserError: unknown name, fewer than 2 normal images, or a supervised classifier asked for
            by name without enough abnormal images.
    """
    abnormal = np.asarray(labels).astype(bool)
    parts = np.arange(abnormal.size) if groups is None else np.asarray(groups)
    n_groups = np.unique(parts[abnormal]).size
    if (~abnormal).sum() < 2:
        raise UserError(
            f"{(~abnormal).sum()} normal images calibrate; at least 2 are needed. Raise "
            "`config.data.calibration.normal` or add normal images."
        )
    if name == "auto":
        return _supervised(names) if n_groups >= 2 else "one_class"
    # Choosing holds a group out, and one more within the rest.
    needed = 3 if name == "select" else 2 if line_named(name).needs_abnormals else 0
    if n_groups < needed:
        raise UserError(
            f"Classifier {name!r} learns from abnormal images of at least {needed} groups and "
            f"{n_groups} calibrate. Add some, raise `config.data.calibration`, or use 'one_class' "
            "or 'auto'."
        )
    return name


def _supervised(names: Sequence[str]) -> str:
    return "monotone" if any(map(is_feature, names)) else "extra_trees"


class Selection(NamedTuple):
    """Choice of a classifier, and the figures behind it: means over the images held out of a fold.

    inside: candidate -> its figure in the partition that chose. outside: of nested
    cross-validation, where each fold is judged by the candidate that the others chose. chosen:
    by the folds of the latter. optimism: how much better `inside` of the chosen one is.
    """

    name: str
    criterion: str
    inside: dict[str, float]
    outside: float
    chosen: list[str]
    optimism: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dict(self._asdict())


def select_classifier(
    make: Callable[[str], Any],
    candidates: Sequence[str],
    table: Table,
    labels: Labels,
    groups: Labels,
    *,
    criterion: str = "fpr_at_tpr1",
    folds: int,
    seed: int,
    resample: str = "none",
) -> Selection:
    """The candidate with the best mean figure over the folds; of equals the first.

    Args:
        make: candidate -> an unfitted classifier. groups: images that must stay together.
        criterion: a key of CRITERIA, taken on each fold alone, whose images one classifier scored.

    Raises:
        UserError: unknown criterion, no candidate, or too few images to choose within each fold.
    """
    check_criterion(criterion)
    if not candidates:
        raise UserError("`candidates` is empty: classifier 'select' needs some to choose from.")
    rows, kinds, names = np.asarray(table), np.asarray(labels).astype(int), np.asarray(groups)

    def judge(name: str, fit: Int[np.ndarray, "_"], held_out: Int[np.ndarray, "_"]) -> float:
        fitted = fit_classifier(
            make(name), rows[fit], kinds[fit], groups=names[fit], resample=resample, seed=seed
        )
        return _figure(criterion, kinds[held_out], imputed_score(fitted, rows[held_out]))

    def compare(among: Int[np.ndarray, "_"]) -> dict[str, float]:
        parts = grouped_folds(kinds[among], names[among], folds=folds, seed=seed)
        return {
            name: _mean([judge(name, among[fit], among[held_out]) for fit, held_out in parts])
            for name in candidates
        }

    inside = compare(np.arange(kinds.size))
    chosen, outside = [], []
    for fit, held_out in grouped_folds(kinds, names, folds=folds, seed=seed):
        chosen.append(_best(compare(fit), criterion))
        outside.append(judge(chosen[-1], fit, held_out))
    name, figure = _best(inside, criterion), _mean(outside)
    optimism = (inside[name] - figure) * (1 if CRITERIA[criterion] else -1)
    return Selection(name, criterion, inside, figure, chosen, optimism)


def check_criterion(criterion: str) -> None:
    """Raises UserError unless it is one of CRITERIA."""
    if criterion not in CRITERIA:
        raise UserError(f"`criterion` (={criterion!r}) must be one of {', '.join(CRITERIA)}.")


def _figure(criterion: str, labels: Int[np.ndarray, "n"], scores: Shaped[np.ndarray, "n"]) -> float:
    """Figure of the scores of a fold; NaN where it lacks a class."""
    return oracle(labels, scores)[criterion] if len(np.unique(labels)) == 2 else np.nan


def _mean(figures: list[float]) -> float:
    known = [figure for figure in figures if np.isfinite(figure)]
    if not known:
        raise UserError(
            "No fold holds images of both classes, so that no classifier can be chosen; add images "
            "or name a classifier."
        )
    return float(np.mean(known))


def _best(figures: dict[str, float], criterion: str) -> str:
    sign = 1 if CRITERIA[criterion] else -1
    return max(figures, key=lambda name: sign * figures[name])
