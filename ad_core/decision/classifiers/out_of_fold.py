"""Calibration scores from classifiers that have not seen the image, nor one of its group."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array, Float64, Shaped

from ad_core.decision.classifiers.cleaning import Table
from ad_core.decision.classifiers.fitting import fit_classifier, imputed_score, learns_from_normals
from ad_core.decision.classifiers.grouped_folds import grouped_folds

Labels = Shaped[Array | np.ndarray, "n"]


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
