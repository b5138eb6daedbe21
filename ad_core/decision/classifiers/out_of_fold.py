"""Calibration scores from classifiers that have not seen the image, nor one of its group."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Float64, Int, Shaped
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from ad_core.decision.classifiers.cleaning import Table
from ad_core.decision.classifiers.fitting import fit_classifier, imputed_score, learns_from_normals
from ad_core.errors import UserError

Labels = Shaped[Array | np.ndarray, "n"]
Folds = list[tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"]]]


def out_of_fold_scores(
    make: Callable[[], Any],
    table: Table,
    labels: Labels,
    groups: Labels,
    *,
    folds: int,
    seed: int,
    resample: str = "none",
) -> Float64[np.ndarray, "n"]:
    """The anomaly score of each row, from a classifier fitted without its group.

    One pass, not an average over repeated partitions: a later image is scored by one classifier,
    and averaged scores, being less noisy than that, would set the lowest abnormal one too high.

    Args:
        make: gives an unfitted classifier, the same at every call.
        groups: images that must stay together.
        folds: at most; fewer where a class has fewer groups (see `grouped_folds`).
        seed: of the partition and of resampling.
        resample: see `fitting.resampled`; within the rows to fit of each fold.

    Raises:
        UserError: too few groups to hold any out.
    """
    rows, kinds = np.asarray(table), np.asarray(labels).astype(int)
    names = np.asarray(groups)
    one_class = learns_from_normals(make())
    scores = np.full(kinds.size, np.nan)
    for train, held_out in grouped_folds(
        kinds, groups, folds=folds, seed=seed, one_class=one_class
    ):
        classifier = fit_classifier(
            make(), rows[train], kinds[train], groups=names[train], resample=resample, seed=seed
        )
        scores[held_out] = imputed_score(classifier, rows[held_out])
    return scores


def grouped_folds(
    labels: Labels, groups: Labels, *, folds: int, seed: int, one_class: bool = False
) -> Folds:
    """(rows to fit, rows to score) for each fold; no group is in both.

    With two classes the folds are stratified and every part to fit holds both; there are as
    many folds as asked for, or as the rarer class has groups, which leaves one of its groups out
    at a time. With `one_class`, folds follow the groups alone, and every part to fit holds at
    least two normal rows.

    Raises:
        UserError: fewer than 2 folds would be left.
    """
    kinds, names = np.asarray(labels).astype(int), np.asarray(groups)
    classes = (0,) if one_class else (0, 1)
    n_groups = [np.unique(names[kinds == kind]).size for kind in classes]
    for count in range(min(folds, *n_groups) if folds >= 2 else 0, 1, -1):
        splitter = GroupKFold if one_class else StratifiedGroupKFold
        split = splitter(count, shuffle=True, random_state=seed).split(kinds, kinds, names)
        parts = [(train, held_out) for train, held_out in split]
        if all(_can_fit(kinds[train], one_class) for train, _ in parts):
            return parts
    raise UserError(
        f"{folds} folds cannot be made of {n_groups[0]} groups with normal"
        + ("" if one_class else f" and {n_groups[1]} with abnormal")
        + " images; at least 2 of each are needed to score images that the classifier has not seen."
    )


def _can_fit(labels: Int[np.ndarray, "_"], one_class: bool) -> bool:
    if one_class:
        return bool((labels == 0).sum() >= 2)
    return bool(labels.any() and not labels.all())
