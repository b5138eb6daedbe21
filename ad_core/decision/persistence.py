"""Classifiers on disk without pickle: skops, and a list of types fixed here in the code."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from skops.io.exceptions import UntrustedTypesFoundException

from ad_core.decision.classifiers.catalogue import CLASSIFIERS
from ad_core.errors import UserError

# Beyond what skops trusts by itself. The list is never taken from the file to be loaded.
ALLOWED_TYPES = (
    "ad_core.decision.classifiers.ada_boost.BalancedAdaBoost",
    "ad_core.decision.classifiers.average.AverageScore",
    "ad_core.decision.classifiers.boosting.BoostedTrees",
    "ad_core.decision.classifiers.cleaning.CleanTable",
    "ad_core.decision.classifiers.deep_head.DeepHead",
    "ad_core.decision.classifiers.deep_head.WithoutFeatures",
    "ad_core.decision.classifiers.full_sensitivity.FullSensitivityClassifier",
    "ad_core.decision.classifiers.monotone.CleanUpwards",
    "ad_core.decision.classifiers.monotone.MonotoneRegression",
    "ad_core.decision.classifiers.proved_ridge.CleanByNormals",
    "ad_core.decision.classifiers.proved_ridge.ConformalRidge",
    "ad_core.decision.classifiers.proved_ridge.JackknifeRidge",
    "ad_core.decision.classifiers.single.SingleStatistic",
    "ad_core.decision.classifiers.squashing.SquashedColumns",
    "ad_core.decision.classifiers.stacking.StackedScores",
    "numpy.dtype",
    "sklearn.tree._tree.Tree",
)


def save_classifier(classifier: Pipeline, path: str | Path) -> None:
    """Write a fitted classifier to `path`, which `load_classifier` reads back exactly.

    Raises:
        UserError: it holds a type that would be refused at loading.
    """
    data = skops.io.dumps(classifier)
    _refuse_others(skops.io.get_untrusted_types(data=data), "The classifier")
    Path(path).write_bytes(data)


def load_classifier(path: str | Path) -> Pipeline:
    """The classifier in `path`; its scores are bit for bit those of the one saved.

    Raises:
        UserError: no such file, not a skops file, a type that is not allowed, something else than
            a classifier of CLASSIFIERS, or trees that point outside themselves.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no classifier at {path}; calibrate first.")
    try:
        classifier = skops.io.load(path, trusted=list(ALLOWED_TYPES))
    except UntrustedTypesFoundException:
        _refuse_others(skops.io.get_untrusted_types(file=path), str(path))
        raise
    except (zipfile.BadZipFile, json.JSONDecodeError, KeyError) as error:
        raise UserError(
            f"{path} is not a classifier that skops wrote ({error!r}); a pickle is never loaded. "
            "Calibrate again."
        ) from error
    if not isinstance(classifier, Pipeline):
        raise UserError(f"{path} holds {type(classifier).__name__}, no classifier.")
    if classifier.steps[-1][0] not in CLASSIFIERS:
        raise UserError(
            f"{path} holds {classifier.steps[-1][0]!r}, which is no classifier of this version; "
            "calibrate again."
        )
    _check_trees(classifier, path)
    return classifier


def _refuse_others(types: list[str], where: str) -> None:
    others = sorted(set(types) - set(ALLOWED_TYPES))
    if others:
        raise UserError(
            f"{where} holds types that are not allowed: {', '.join(others)}. A detector from "
            "elsewhere may run code of its own through them; calibrate again from the statistics."
        )


def _check_trees(classifier: BaseEstimator, path: Path) -> None:
    """Refuse trees whose nodes would lead the compiled traversal astray.

    scikit-learn stores children after their parent, so indices that grow also mean no cycle.
    """
    for estimator in _nested(classifier):
        tree = getattr(estimator, "tree_", None)
        if tree is not None and not _is_sound(tree):
            raise UserError(f"{path} holds a damaged tree; calibrate again.")


def _nested(estimator: Any) -> Iterator[Any]:
    """The estimator and all within it: steps of pipelines, what is stacked, trees of ensembles."""
    yield estimator
    below = [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else []
    below += [*getattr(estimator, "below_", []), *getattr(estimator, "below", [])]
    below += list(np.ravel(getattr(estimator, "estimators_", [])))
    for one in below:
        yield from _nested(one)


def _is_sound(tree: Any) -> bool:
    nodes = np.arange(tree.node_count)
    inner = tree.children_left != -1
    children = np.stack([tree.children_left, tree.children_right])[:, inner]
    return bool(
        (children > nodes[inner]).all()
        and (children < tree.node_count).all()
        and (tree.feature[inner] >= 0).all()
        and (tree.feature[inner] < tree.n_features).all()
        and (tree.children_right[~inner] == -1).all()
        and tree.value.shape[0] == tree.node_count
    )
