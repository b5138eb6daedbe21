"""One column in place of many: a strongly regularised linear head on pooled features."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int, Shaped
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import check_is_fitted
from threadpoolctl import threadpool_limits

from ad_core.decision.classifiers.cleaning import Table
from ad_core.decision.classifiers.grouped_folds import Folds, grouped_folds
from ad_core.errors import UserError

HEAD = "deep_head"  # the column that replaces the others
APART = "deep_apart"  # how far an image lies from those that calibrated: no column, but a reason
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)  # C of the logistic regression; small is strong
# Share of the abnormal rows, the lowest ones, at each of whose scores false alarms are counted.
_TAIL = 0.2
# Share of the columns' mean variance that is added to each: a channel that is all but dead among
# the images which calibrate must not explode in a later one.
_FLOOR = 1e-2
# Limit of `apart`: the farthest normal row lies out by chance, images of something else lie
# farther (docs/deep.md).
_FARTHER = 1.6


class _Reduction(TransformerMixin, BaseEstimator):
    """A scikit-learn step that takes the columns of pooled features out of the table.

    Args:
        columns: their places.
    """

    def __init__(self, columns: Any = ()):
        self.columns = columns

    def reduced_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """Names of the columns that this step leaves, of all that it takes.

        Raises:
            UserError: the number of names is not that of the columns.
        """
        if len(names) != self.n_features_in_:
            raise UserError(
                f"{len(names)} names for a classifier of {self.n_features_in_} statistics."
            )
        return tuple(str(names[i]) for i in self._others())

    def _take(
        self, X: Table, *, reset: bool = False
    ) -> tuple[np.ndarray, Float64[np.ndarray, "n d"]]:
        """The other columns as they are, and those of features."""
        table = np.asarray(X)
        if reset:
            self.n_features_in_ = table.shape[1]
        check_is_fitted(self, "n_features_in_")
        if table.shape[1] != self.n_features_in_:
            raise UserError(f"{table.shape[1]} statistics for {self.n_features_in_} at fitting.")
        return table[:, self._others()], table[:, np.asarray(self.columns)].astype(np.float64)

    def _others(self) -> Int[np.ndarray, "_"]:
        others = np.ones(self.n_features_in_, bool)
        others[np.asarray(self.columns, int)] = False
        return np.flatnonzero(others)


class WithoutFeatures(_Reduction):
    """The table without its columns of pooled features, for a classifier of normal images alone."""

    def fit(self, X: Table, y: object = None) -> "WithoutFeatures":
        """Count the columns. `y` is not read.

        Raises:
            UserError: nothing is left.
        """
        if not self._take(X, reset=True)[0].shape[1]:
            raise UserError(
                "All statistics are pooled features, of which only abnormal images make a score; "
                "add others to `config.statistics.names`, or abnormal images."
            )
        return self

    def transform(self, X: Table) -> np.ndarray:
        """The other columns."""
        return self._take(X)[0]


class DeepHead(_Reduction):
    """The table with one column, the last, in place of those of pooled features.

    The column is the decision value of a logistic regression with an L2 penalty on standardised
    features: it rises with abnormality. In the rows it is fitted on, `fit_transform` gives each
    the value of a head that has seen neither the row nor its group, so that the classifier which
    learns from the column meets the errors of later images; `transform` takes the head of all rows.

    C is one for all inner folds, so that their values have one scale: the one with the fewest
    `tail_alarms`, of equals the smallest. Where a class lacks the groups for two folds, C is the
    smallest, and the values are those of the head of all rows.

    A row with a feature that is not finite has no value (NaN), and teaches the head nothing.

    A head knows two classes and may find an image of something else as normal as can be. So the
    step also tells how far a row lies from those it was fitted on (`apart`), and raises the score
    of one that lies three fifths farther than any of the normal rows did (`raised`). Each level of
    the network speaks for itself: what is strange may be so to the first, as a negative is, and
    all but lost among the many features of the last.

    Args:
        columns: places of the features in the table.
        levels: number of each one's level, from 0 on; (): all are of one.
        strengths: values of C to choose from, ascending.
        folds: at most, of the inner partition. class_weight: as scikit-learn's.

    Attributes: `slope_` [d] and `offset_` of the head, `strength_` the C chosen, `normals_` the
    column's values of the normal rows at fitting; `mean_` and `scale_` [d] of the features,
    `farthest_` of each level the largest distance of a normal row from the rows of the other
    folds, `usual_` how far apart the normal rows so were (1 at most), `limit_` up to where a row
    may be apart, without folds infinite; `top_` the highest score at fitting, once
    `fit_classifier` has set it.
    """

    # Of heads in older detectors: the first raised no score, later ones knew one level alone.
    top_: float = np.inf
    limit_: float = np.inf
    levels: Any = ()
    farthest_: Any = 1.0

    def __init__(
        self,
        columns: Any = (),
        levels: Any = (),
        *,
        strengths: Sequence[float] = STRENGTHS,
        folds: int = 5,
        class_weight: str | None = "balanced",
        random_state: int = 0,
    ):
        super().__init__(columns)
        self.levels = levels
        self.strengths = strengths
        self.folds = folds
        self.class_weight = class_weight
        self.random_state = random_state

    def fit(self, X: Table, y: Any, groups: Any = None) -> "DeepHead":
        """Fit on X [n, k] and y [n] with classes 0 and 1; `groups` [n] stay together."""
        self.fit_transform(X, y, groups)
        return self

    def fit_transform(self, X: Table, y: Any, groups: Any = None) -> np.ndarray:
        """The reduced table of the rows to fit on, with values of heads that saw none of them."""
        others, features = self._take(X, reset=True)
        sound = np.isfinite(features).all(axis=1)
        labels = np.asarray(y).astype(int)
        names = np.arange(labels.size) if groups is None else np.asarray(groups)
        column = np.full(labels.size, np.nan)
        parts = inner_folds(labels[sound], names[sound], folds=self.folds, seed=self.random_state)
        column[sound] = self._learn(features[sound], labels[sound], parts)
        self._learn_place(features[sound], labels[sound], parts)
        self.normals_ = column[sound & (labels == 0)]
        return np.column_stack([others, column])

    def transform(self, X: Table) -> np.ndarray:
        """The other columns, and the value of the head of all rows."""
        others, features = self._take(X)
        sound = np.isfinite(features).all(axis=1)
        column = np.full(len(features), np.nan)
        column[sound] = self._values(features[sound])
        return np.column_stack([others, column])

    def apart(self, X: Table) -> Float64[np.ndarray, "n"]:
        """Distance of each row from those fitted on, at the level where it is largest.

        A level's is the root mean square of its standardised features; 1 is the distance of the
        farthest normal row. NaN where a feature is not finite.
        """
        features = self._take(X)[1]
        with np.errstate(invalid="ignore"):
            far = [
                (self._distances(row[None], self.mean_, self.scale_)[0] / self.farthest_).max()
                for row in features
            ]
        return np.where(np.isfinite(features).all(axis=1), far, np.nan)

    def raised(self, scores: Float64[np.ndarray, "n"], X: Table) -> Float64[np.ndarray, "n"]:
        """Scores of the rows of X, above every score at fitting where a row is too far apart."""
        if not (np.isfinite(self.top_) and np.isfinite(self.limit_)):
            return scores
        ratio = self.apart(X) / self.limit_
        return np.where(ratio > 1.0, np.maximum(scores, self.top_ + ratio), scores)

    def places(self) -> list[Int[np.ndarray, "_"]]:
        """The features of each level, by their places among all of them."""
        levels = np.asarray(self.levels, int)
        if not levels.size:
            return [np.arange(len(self.columns))]
        return [np.flatnonzero(levels == one) for one in range(levels.max() + 1)]

    def reduced_names(self, names: Sequence[str]) -> tuple[str, ...]:
        """Names of the other columns, and HEAD."""
        return (*super().reduced_names(names), HEAD)

    def _learn(
        self,
        features: Float64[np.ndarray, "n d"],
        labels: Int[np.ndarray, "n"],
        parts: Folds,
    ) -> Float64[np.ndarray, "n"]:
        if np.unique(labels).size != 2:
            raise UserError("The head learns from both classes; features of one are not finite.")
        unseen = np.empty((len(self.strengths), labels.size))
        with _one_thread():
            for fit, held_out in parts:
                slopes, offsets = self._heads(features[fit], labels[fit], self.strengths)
                unseen[:, held_out] = slopes @ features[held_out].T + offsets[:, None]
            alarms = [tail_alarms(labels, values) if parts else 0.0 for values in unseen]
            best = int(np.argmin(alarms))
            self.strength_ = float(self.strengths[best])
            slopes, offsets = self._heads(features, labels, [self.strength_])
        self.slope_, self.offset_ = slopes[0], float(offsets[0])
        return unseen[best] if parts else self._values(features)

    def _learn_place(
        self, features: Float64[np.ndarray, "n d"], labels: Int[np.ndarray, "n"], parts: Folds
    ) -> None:
        """Where the rows lie, and how far apart a normal one is from those of other groups."""
        self.mean_, self.scale_ = _place(features)
        unseen = self._distances(features, self.mean_, self.scale_)
        for fit, held_out in parts:
            unseen[held_out] = self._distances(features[held_out], *_place(features[fit]))
        farthest = unseen[labels == 0].max(axis=0)
        self.farthest_ = np.where(farthest > 0, farthest, 1.0)
        self.usual_ = (unseen[labels == 0] / self.farthest_).max(axis=1)
        self.limit_ = _FARTHER if parts else np.inf

    def _distances(
        self,
        features: Float64[np.ndarray, "n d"],
        mean: Float64[np.ndarray, "d"],
        scale: Float64[np.ndarray, "d"],
    ) -> Float64[np.ndarray, "n l"]:
        """Root mean square of each row's standardised features of each level."""
        squares = ((features - mean) / scale) ** 2
        return np.sqrt(np.stack([squares[:, of].mean(axis=1) for of in self.places()], axis=1))

    def _values(self, features: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, "n"]:
        """Decision values, row by row: all at once may sum in an order that hangs on n."""
        values = [row.copy() @ self.slope_ + self.offset_ for row in features]
        return np.array(values, np.float64)

    def _heads(
        self, features: np.ndarray, labels: np.ndarray, strengths: Sequence[float]
    ) -> tuple[Float64[np.ndarray, "s d"], Float64[np.ndarray, "s"]]:
        return _fit_heads(features, labels, strengths, self.class_weight)


def inner_folds(
    labels: Int[np.ndarray, "n"], groups: Shaped[np.ndarray, "n"], *, folds: int, seed: int
) -> Folds:
    """`grouped_folds`, or none where the groups of a class allow none."""
    try:
        return grouped_folds(labels, groups, folds=folds, seed=seed)
    except UserError:
        return []


def tail_alarms(labels: Int[np.ndarray, "n"], scores: Float64[np.ndarray, "n"]) -> float:
    """Share of the normal rows at or above a threshold, averaged over thresholds.

    The thresholds are the scores of the ceil(_TAIL * m) lowest of the m abnormal rows: the false
    alarms where hardly an abnormal row is missed, without hanging on the lowest one alone.
    """
    abnormal, normal = np.sort(scores[labels == 1]), scores[labels == 0]
    lowest = abnormal[: int(np.ceil(_TAIL * abnormal.size))]
    return float(np.mean(normal[:, None] >= lowest[None]))


def linear_heads(
    features: Float64[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    strengths: Sequence[float],
    *,
    class_weight: str | None,
) -> tuple[Float64[np.ndarray, "s d"], Float64[np.ndarray, "s"]]:
    """Slopes and offsets of the logistic regression with each C, for features as they are.

    With fewer rows than columns the regression is fitted in a basis of the rows: of standardised
    rows Z = U S V', on U S. The penalised optimum lies in the span of the rows, and |V w| = |w|: it
    is the same one, in n unknowns instead of d.
    """
    with _one_thread():
        return _fit_heads(features, labels, strengths, class_weight)


def _one_thread() -> threadpool_limits:
    """A context for many small products of matrices, in which more threads only wait."""
    return threadpool_limits(1, user_api="blas")


def _fit_heads(
    features: Float64[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    strengths: Sequence[float],
    class_weight: str | None,
) -> tuple[Float64[np.ndarray, "s d"], Float64[np.ndarray, "s"]]:
    mean, scale = _place(features)
    rows = (features - mean) / scale
    inside, back = _basis(rows)
    slopes, offsets = [], []
    for strength in strengths:
        model: Any = LogisticRegression(
            C=strength, class_weight=class_weight, tol=1e-8, max_iter=2000
        )
        model.fit(inside, labels)
        slope = (model.coef_[0] if back is None else rows.T @ (back @ model.coef_[0])) / scale
        slopes.append(slope)
        offsets.append(model.intercept_[0] - mean @ slope)
    return np.stack(slopes), np.array(offsets)


def _place(
    features: Float64[np.ndarray, "n d"],
) -> tuple[Float64[np.ndarray, "d"], Float64[np.ndarray, "d"]]:
    """Mean and scale of each feature."""
    mean, variance = features.mean(axis=0), features.var(axis=0)
    return mean, np.sqrt(variance + _FLOOR * (variance.mean() or 1.0))


def _basis(
    rows: Float64[np.ndarray, "n d"],
) -> tuple[Float64[np.ndarray, "n r"], Float64[np.ndarray, "n r"] | None]:
    """Basis U S of the rows, and U / S, by which rows' V = U / S; else the rows and None."""
    if len(rows) >= rows.shape[1]:
        return rows, None
    found = np.linalg.eigh(rows @ rows.T)
    squares, u = found.eigenvalues, found.eigenvectors
    if not squares[-1] > 0:  # all rows are the same
        return rows, None
    kept = squares > 1e-12 * squares[-1]
    s = np.sqrt(squares[kept])
    return u[:, kept] * s, u[:, kept] / s
