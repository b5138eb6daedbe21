"""Images that teach a method, and folds in which they calibrate what they have not taught."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from ad_core.errors import UserError
from ad_core.runtime.methods import most_folds
from ad_core.stages.job import Job
from ad_core.training.cross_fit import make_folds
from ad_core.types import Method, OnePass


class Folds(NamedTuple):
    """Cross-fitting of a method: one state for each fold, which has learnt all others.

    learnt: images that the final state learns from. parts: [folds, images], which of these teach
    each fold's state. fold: of each image that calibrates. held_out: those among them that a
    fold's state must measure, because their group teaches the final one. spans: how many folds of
    `fold_of_each` each fold holds, which are as many neighbours.
    """

    learnt: Int[np.ndarray, " n"]
    parts: Bool[np.ndarray, "k n"]
    fold: Int[np.ndarray, " m"]
    held_out: Bool[np.ndarray, " m"]
    spans: Int[np.ndarray, " k"]


def is_cross_fitted(job: Job, method: Method) -> bool:
    """Tells whether a method learns from images that calibrate.

    All that learn in one pass do, but under the protocol vqganodip: there the images that
    calibrate judge too, and half of the normals alone train.
    """
    return isinstance(method.learn, OnePass) and job.calibration_split != "pool"


def teachers(job: Job, method: Method) -> Int[np.ndarray, " n"]:
    """Images that a method finally learns from: those that train, then those that calibrate."""
    train = _of_classes(job, "train", abnormal=method.trains_on_abnormal)
    if not is_cross_fitted(job, method):
        return train
    both = method.learns_from_calibration
    return np.concatenate([train, _of_classes(job, job.calibration_split, abnormal=both)])


def cross_fitting(job: Job, method: Method) -> Folds | None:
    """The folds of a method; None if none of the images that calibrate teaches it.

    They are as many as the configuration says, or else as the method affords; those of a method
    that affords fewer than another one of the configuration hold several of that one's each.
    """
    if not is_cross_fitted(job, method):
        return None
    indices, learnt = job.splits[job.calibration_split], teachers(job, method)
    finest = fold_of_each(job)
    most = finest.max() + 1
    asked = int(job.config.data.calibration.folds) or method.folds
    coarse = np.arange(most) * min(asked, most) // most
    fold = coarse[finest]
    fold_of = dict(zip(indices.tolist(), fold.tolist(), strict=True))
    own = np.array([fold_of.get(int(index), -1) for index in learnt])
    parts = own[None, :] != np.arange(coarse.max() + 1)[:, None]
    teaching = set(_groups(job, learnt))
    held_out = np.array([group in teaching for group in _groups(job, indices)])
    return Folds(learnt, parts, fold, held_out, np.bincount(coarse))


def count_learnt(job: Job, methods: Mapping[str, Method]) -> dict[str, dict[str, int | None]]:
    """Method -> {"normal", "abnormal", "folds"}: images that it learnt from, of each class.

    folds: in how many parts what calibrates was left out in turn; None where nothing that
    calibrates taught the method.
    """
    counts = {}
    for name, method in methods.items():
        folds, indices = cross_fitting(job, method), teachers(job, method)
        labels = np.array([job.source.records[i].label for i in indices], int)
        counts[name] = {
            "normal": int((labels == 0).sum()),
            "abnormal": int((labels == 1).sum()),
            "folds": None if folds is None else len(folds.parts),
        }
    return counts


def check_folds(job: Job, name: str, method: Method) -> None:
    """Refuses images of which no folds can be made for a method; UserError.

    A method that learns from abnormal images too says itself what it does without them.
    """
    folds = int(job.config.data.calibration.folds)
    if folds < 0 or folds == 1:
        raise UserError(
            f"`data.calibration.folds` (={folds}) must be 2 or more, or 0 for as many as each "
            "method affords."
        )
    if method.learns_from_calibration and not is_cross_fitted(job, method):
        raise UserError(
            f"Method {name} learns from labelled images that calibrate, and under the protocol "
            "vqganodip these judge too; use `--config.data.protocol=cyclegan_ad` or folders."
        )
    found = cross_fitting(job, method)
    if found is None:
        return
    normal = np.array([job.source.records[i].label == 0 for i in found.learnt])
    if not (found.parts & normal[None]).any(axis=1).all():
        raise UserError(
            f"Method {name} learns from {int(normal.sum())} normal images in fewer than two "
            "groups, and each image that calibrates must be measured by a state that has not "
            "learnt its group. Give more normal images or smaller groups, or choose another "
            "`--config.method`."
        )


def fold_of_each(job: Job) -> Int[np.ndarray, " m"]:
    """The finest fold of each image that calibrates, of which a method's folds are made.

    They are as many as the configuration says or a method of it affords, or as there are normal
    groups.
    """
    indices, labels = job.splits[job.calibration_split], job.labels(job.calibration_split)
    groups = np.array(_groups(job, indices))
    most = len(np.unique(groups[labels == 0]))
    asked = int(job.config.data.calibration.folds) or most_folds(job.config)
    folds = max(1, min(asked, most))
    return make_folds(labels, groups, folds=folds, seed=job.config.seed)


def _of_classes(job: Job, split: str, *, abnormal: bool) -> Int[np.ndarray, " n"]:
    """Normal images of a split, and the abnormal ones if asked for."""
    indices = job.splits[split]
    return indices if abnormal else indices[job.labels(split) == 0]


def _groups(job: Job, indices: Int[np.ndarray, " n"]) -> list[str]:
    return [job.source.records[i].group for i in indices]
