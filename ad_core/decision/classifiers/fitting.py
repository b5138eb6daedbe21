"""Fitting a classifier to a table of statistics, and its one score per row."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float64, Int, Shaped
from sklearn.base import is_classifier, is_outlier_detector
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from ad_core.decision.classifiers.cleaning import CleanTable, Table, chain_of
from ad_core.decision.classifiers.deep_head import DeepHead
from ad_core.errors import UserError

Labels = Shaped[Array | np.ndarray, "n"]
RESAMPLING = ("none", "over", "under")
# Models that look at each row by itself however many there are. One call for a row takes a forest
# as long as one for some hundred.
_APART = (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)


def fit_classifier(
    classifier: Any,
    table: Table,
    labels: Labels,
    *,
    groups: Labels | None = None,
    resample: str = "none",
    seed: int = 0,
) -> Any:
    """`classifier`, fitted in place; one that is no classifier sees the normal rows alone.

    Args:
        groups: rows that must stay together wherever the classifier splits them again; None: each
            row by itself.
        resample, seed: see `resampled`; the rows given are those of the fold alone.
    """
    rows, kinds = np.asarray(table), np.asarray(labels).astype(int)
    names = np.arange(kinds.size) if groups is None else np.asarray(groups)
    if learns_from_normals(classifier):
        return classifier.fit(rows[kinds == 0], kinds[kinds == 0])
    kept = resampled(kinds, resample, seed=seed)
    rows, kinds, names = rows[kept], kinds[kept], names[kept]
    fitted = classifier.fit(rows, kinds, **_fit_options(classifier, names))
    if (head := head_of(fitted)) is not None:
        head.top_ = float(np.nanmax(_model_score(fitted, rows)))
    return fitted


def resampled(labels: Int[np.ndarray, "n"], how: str, *, seed: int) -> Int[np.ndarray, "_"]:
    """Rows by index so that both classes are as many: "none" takes every row once.

    "over" repeats rows of the rarer class, as evenly as it goes; "under" leaves rows of the other
    class out, at random.

    Raises:
        UserError: another way, or no row of a class.
    """
    if how not in RESAMPLING:
        raise UserError(f"`resample` (={how!r}) must be one of {', '.join(RESAMPLING)}.")
    everything = np.arange(labels.size)
    if how == "none":
        return everything
    classes = [np.flatnonzero(labels == kind) for kind in (0, 1)]
    rarer, other = sorted(classes, key=len)
    if not rarer.size:
        raise UserError(f"`resample` (={how!r}) needs rows of both classes.")
    rng = np.random.default_rng(seed)
    if how == "under":
        return np.sort(np.concatenate([rarer, rng.choice(other, rarer.size, replace=False)]))
    whole, rest = divmod(other.size, rarer.size)
    extra = rng.choice(rarer, rest, replace=False)
    return np.sort(np.concatenate([other, np.tile(rarer, whole), extra]))


def anomaly_score(classifier: Any, table: Table) -> Float64[np.ndarray, "n"]:
    """One score per row, rising with abnormality.

    Squared Mahalanobis distance, decision function or probability of "abnormal", whichever the
    classifier has first. NaN, and so `inspect`, for a row that misses a statistic which no
    calibration image missed: the measurement failed and a guess might hide a defect.

    A row has the same score to the last bit whatever the other rows are: see `row_scores`.
    """
    rows = np.asarray(table)
    scores = row_scores(classifier, rows)
    if _cleans(classifier):
        chain = chain_of(classifier)
        scores[chain.cleaning.unmeasured(chain.reduce(rows))] = np.nan
    return scores


def row_scores(classifier: Any, table: Table) -> Float64[np.ndarray, "n"]:
    """Score of each row as `imputed_score` gives it to that row alone.

    A product of matrices may sum in another order for another number of rows. So the rows are
    given one by one, but to models that do without such products (trees), or that keep rows apart
    themselves and say so by an attribute `rows_apart`. What comes first in a chain, the head on
    pooled features and cleaning, keeps them apart too.
    """
    rows = np.asarray(table)
    final = _final(classifier)
    if isinstance(final, _APART) or getattr(final, "rows_apart", False) or not len(rows):
        return imputed_score(classifier, rows)
    model, cleaned = classifier, rows
    if _cleans(classifier):
        chain = chain_of(classifier)
        model, cleaned = chain.model, chain.cleaning.transform(chain.reduce(rows))
    scores = np.concatenate([_model_score(model, cleaned[[n]]) for n in range(len(rows))])
    head = head_of(classifier)
    return scores if head is None else head.raised(scores, rows)


def imputed_score(classifier: Any, table: Table) -> Float64[np.ndarray, "n"]:
    """Score as `anomaly_score` gives it, but a missing statistic always counts as the median."""
    scores, head = _model_score(classifier, table), head_of(classifier)
    return scores if head is None else head.raised(scores, table)


def raised_by(classifier: Any, table: Table) -> Float64[np.ndarray, "n"]:
    """The rise of each row's `imputed_score` above the score by the model alone."""
    head = head_of(classifier)
    if head is None:
        return np.zeros(len(np.asarray(table)))
    scores = _model_score(classifier, table)
    return head.raised(scores, table) - scores


def head_of(classifier: Any) -> DeepHead | None:
    """The head on pooled features that a classifier begins with, if it does."""
    first = classifier[0] if isinstance(classifier, Pipeline) else None
    return first if isinstance(first, DeepHead) else None


def _model_score(classifier: Any, table: Table) -> Float64[np.ndarray, "n"]:
    """Score by the model alone, however strange a row is."""
    final = _final(classifier)
    if hasattr(final, "mahalanobis"):
        rows = classifier[:-1].transform(table) if len(classifier) > 1 else table
        return np.asarray(final.mahalanobis(rows), dtype=np.float64)
    if hasattr(final, "comparable_score"):
        rows = classifier[:-1].transform(table) if len(classifier) > 1 else table
        return np.asarray(final.comparable_score(rows), dtype=np.float64)
    if is_outlier_detector(final):  # scikit-learn's are high for inliers
        return -np.asarray(classifier.decision_function(table), dtype=np.float64)
    if hasattr(classifier, "decision_function"):
        return np.asarray(classifier.decision_function(table), dtype=np.float64)
    return np.asarray(classifier.predict_proba(table)[:, 1], dtype=np.float64)


def learns_from_normals(classifier: Any) -> bool:
    """Tells whether the classifier is fitted on normal images alone."""
    return not is_classifier(_final(classifier))


def _cleans(classifier: Any) -> bool:
    steps = classifier.named_steps.values() if isinstance(classifier, Pipeline) else ()
    return any(isinstance(step, CleanTable) for step in steps)


def _final(classifier: Any) -> Any:
    return classifier[-1] if isinstance(classifier, Pipeline) else classifier


def _fit_options(classifier: Any, groups: Shaped[np.ndarray, "n"]) -> dict[str, Any]:
    """The groups, for each step that splits the rows again."""
    if not isinstance(classifier, Pipeline):
        return {"groups": groups} if has_fit_parameter(classifier, "groups") else {}
    splitting = [name for name, step in classifier.steps if has_fit_parameter(step, "groups")]
    return {f"{name}__groups": groups for name in splitting}
