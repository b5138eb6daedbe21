"""Folds of rows in which no group is divided."""

import numpy as np
from jaxtyping import Array, Int, Shaped
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from ad_core.errors import UserError

Labels = Shaped[Array | np.ndarray, "n"]
Folds = list[tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"]]]


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
