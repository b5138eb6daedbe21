"""Ridge classifiers whose score is a rank among all abnormal groups, with a proof.

No abnormal image is held back: each one teaches and is ranked, in closed form.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from ad_core.decision.classifiers.cleaning import CleanTable, Table
from ad_core.decision.thresholds.given import Proof
from ad_core.errors import UserError

# Ridge penalties to choose from, for a kernel whose diagonal is about 2.
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
# Share of the lowest abnormal scores at each of which false alarms are counted to choose one.
_TAIL = 0.2
# Share of the columns' mean variance that is added to each, so that one which is all but dead
# among the normals does not explode in a later image.
_FLOOR = 1e-2
_BLOCK = 256  # rows that are scored together
Vector = Float64[np.ndarray, "n"]


def bystanders(labels: Int[np.ndarray, "n"], groups: np.ndarray) -> Bool[np.ndarray, "n"]:
    """Normal rows of groups without an abnormal one: what cleaning and scaling may learn from.

    They are no part of what the proof draws at random, so that nothing depends on which abnormal
    group is left out or added.

    Raises:
        UserError: there are none.
    """
    rows = (labels == 0) & ~np.isin(groups, groups[labels == 1])
    if not rows.any():
        raise UserError(
            "Every normal image belongs to a group with abnormal ones; the proof of this "
            "classifier needs normal images of other groups."
        )
    return rows


class CleanByNormals(CleanTable):
    """A CleanTable that learns from `bystanders` alone, and keeps the places of its columns.

    Attributes: `used_` the columns that remain; the others are 0.
    """

    def fit(self, X: Table, y: Any = None, groups: Any = None) -> "CleanByNormals":
        """Learn ranges, medians and the columns to keep."""
        labels = np.zeros(len(X), int) if y is None else np.asarray(y).astype(int)
        names = np.arange(labels.size) if groups is None else np.asarray(groups)
        super().fit(np.asarray(X)[bystanders(labels, names)])
        self.used_, self.kept_ = self.kept_, np.arange(np.shape(X)[1])
        return self

    def transform(self, X: Table) -> Float32[np.ndarray, "n k"]:
        """All columns, finite; 0 where one is constant or repeats an earlier one."""
        table = super().transform(X)
        table[:, np.setdiff1d(self.kept_, self.used_)] = 0.0
        return table


class _ProvedRidge(ClassifierMixin, BaseEstimator):
    """Least squares of -1 (normal) and 1 (abnormal) with an L2 penalty, and a rank as the score.

    The score is (c + e) / (n + 1): c of the n abnormal groups score no higher than the row, and e
    in (0, 1), the logistic function of the row's own value, orders rows of equal c.

    Columns are scaled by the variance of normals with a floor; the kernel is 1 (an intercept) and
    the mean product of the columns, where pooled features and other statistics weigh as much.

    Args:
        penalties: to choose from, by the false alarms at the lowest abnormal scores.
        features: places of the columns of pooled features.

    Attributes: `slope_` [k] and `mean_` [k] of the value that all rows give, `n_groups_`.
    """

    def __init__(self, penalties: Sequence[float] = PENALTIES, *, features: Any = ()):
        self.penalties = penalties
        self.features = features

    def fit(self, X: Any, y: Any, groups: Any = None) -> "_ProvedRidge":
        """Fit on X [n, k] and y [n] with classes 0 and 1; `groups` [n] are drawn as one."""
        given: Any = validate_data(self, X, y, dtype=np.float64)
        table, kinds = given
        self.classes_, labels = np.unique(kinds, return_inverse=True)
        if self.classes_.size != 2:
            raise UserError(f"A ridge needs two classes; it got {self.classes_.size}.")
        names = np.arange(labels.size) if groups is None else np.asarray(groups)
        normal = table[bystanders(labels, names)]
        variance = normal.var(axis=0)
        self.mean_ = normal.mean(axis=0)
        share = _shares(table.shape[1], self.features)
        self.scale_ = np.sqrt((variance + _FLOOR * (variance.mean() or 1.0)) / share)
        kept = self._rows(labels, names)
        self.rows_ = self._scaled(table[kept])
        self.targets_ = np.where(labels[kept] == 1, 1.0, -1.0)
        _, self.members_ = np.unique(names[kept], return_inverse=True)
        self.n_groups_ = int(np.unique(self.members_[self.targets_ > 0]).size)
        self._learn()
        return self

    def decision_function(self, X: Any) -> Float64[np.ndarray, "n"]:
        """The score of each row, in (0, 1)."""
        check_is_fitted(self, "rows_")
        table: Any = validate_data(self, X, reset=False, dtype=np.float64)
        if not len(table):
            return np.zeros(0)
        blocks = np.array_split(self._scaled(table), -(-len(table) // _BLOCK))
        count, value = (np.concatenate(part) for part in zip(*map(self._rank, blocks), strict=True))
        # Strictly below the next whole number, so that c alone decides at k / (n + 1).
        return (count + np.clip(expit(value), 1e-9, 1 - 1e-9)) / (self.n_groups_ + 1)

    def predict(self, X: Any) -> np.ndarray:
        """Abnormal where at least one abnormal group scores no higher."""
        flagged = self.decision_function(X) >= 1 / (self.n_groups_ + 1)
        return self.classes_[flagged.astype(int)]

    def _scaled(self, table: Float64[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
        return (table - self.mean_) / self.scale_

    def _kernel(self, rows: Float64[np.ndarray, "t k"]) -> Float64[np.ndarray, "t n"]:
        return 1.0 + rows @ self.rows_.T

    def _rows(self, labels: Int[np.ndarray, "n"], groups: np.ndarray) -> Int[np.ndarray, "_"]:
        raise NotImplementedError

    def _learn(self) -> None:
        """Inverse of the penalised kernel for each penalty, and the slope that explains."""
        kernel = self._kernel(self.rows_)
        eye = np.eye(len(kernel))
        self.inverses_ = np.stack([np.linalg.inv(kernel + p * eye) for p in self.penalties])
        self.weights_ = self.inverses_ @ self.targets_
        unseen = self.targets_ - self.weights_ / np.diagonal(self.inverses_, axis1=1, axis2=2)
        best = int(np.argmin(_alarms(unseen, self.targets_ > 0)))
        self.slope_ = self.weights_[best] @ self.rows_ / self.scale_

    def _rank(self, rows: Float64[np.ndarray, "t k"]) -> tuple[Vector, Vector]:
        raise NotImplementedError


class ConformalRidge(_ProvedRidge):
    """Full conformal prediction: a row is ranked as one more abnormal row among the others.

    With the row in the training set as an abnormal one, each abnormal row and the row itself gets
    its leave-one-out value; the penalty is chosen anew with the row among the abnormal ones, so
    that the choice treats all n + 1 alike. P(score < k / (n + 1)) <= k / (n + 1) exactly.

    Of a group with abnormal rows one is kept, drawn by `random_state`, for a later image comes
    alone; its normal rows are left out.

    Source: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, chapter 2;
    the choice after Liang, Sesia and Sun, Integrative conformal p-values, JRSSB 2024.
    """

    def __init__(
        self,
        penalties: Sequence[float] = PENALTIES,
        *,
        features: Any = (),
        random_state: int = 0,
    ):
        super().__init__(penalties, features=features)
        self.random_state = random_state

    def proof(self, n_groups: int) -> Proof:
        """The proof of a score that was fitted on `n_groups` abnormal groups."""
        return Proof(n_groups, 1, "full conformal prediction, Vovk 2005")

    def _rows(self, labels: Int[np.ndarray, "n"], groups: np.ndarray) -> Int[np.ndarray, "_"]:
        order = np.random.default_rng(self.random_state).permutation(labels.size)
        odd = order[labels[order] == 1]
        _, first = np.unique(groups[odd], return_index=True)
        return np.sort(np.concatenate([odd[first], np.flatnonzero(bystanders(labels, groups))]))

    def _rank(self, rows: Float64[np.ndarray, "t k"]) -> tuple[Vector, Vector]:
        odd = np.append(self.targets_ > 0, True)
        values = np.stack([self._unseen(rows, place) for place in range(len(self.penalties))])
        best = np.argmin(_alarms(values, odd), axis=0)
        chosen = values[best, np.arange(len(rows))]
        own = chosen[:, -1]
        return (chosen[:, :-1][:, odd[:-1]] <= own[:, None]).sum(axis=1).astype(np.float64), own

    def _unseen(self, rows: Float64[np.ndarray, "t k"], place: int) -> Float64[np.ndarray, "t m"]:
        """Leave-one-out values of the n rows fitted on and, last, of each row added to them.

        Source: the inverse of a bordered matrix.
        """
        inverse, weight = self.inverses_[place], self.weights_[place]
        kernel = self._kernel(rows)
        across = kernel @ inverse
        own = across @ self.targets_
        itself = 1.0 + np.square(rows).sum(axis=1) + self.penalties[place]
        rest = (itself - (kernel * across).sum(axis=1))[:, None]
        weights = weight + across * (own[:, None] - 1.0) / rest
        values = self.targets_ - weights / (np.diag(inverse) + np.square(across) / rest)
        return np.column_stack([values, own])


class JackknifeRidge(_ProvedRidge):
    """The jackknife+: a row is compared with each abnormal group by a ridge without that group.

    P(score < k / (n + 1)) <= 2 k / (n + 1), and about k / (n + 1) in practice. A group counts by
    its lowest row and is left out as a whole; each ridge has chosen its penalty without it.

    Source: Barber, Candes, Ramdas and Tibshirani, Predictive inference with the jackknife+, Annals
    of Statistics 2021, theorem 1.
    """

    def proof(self, n_groups: int) -> Proof:
        """The proof of a score that was fitted on `n_groups` abnormal groups."""
        return Proof(n_groups, 2, "jackknife+, Barber et al. 2021")

    def _rows(self, labels: Int[np.ndarray, "n"], groups: np.ndarray) -> Int[np.ndarray, "_"]:
        return np.arange(labels.size)

    def _learn(self) -> None:
        super()._learn()
        odd = np.unique(self.members_[self.targets_ > 0])
        without = [self._without(self.members_ == group) for group in odd]
        self.lowest_ = np.array([lowest for lowest, _ in without])
        self.duals_ = np.stack([dual for _, dual in without])

    def _without(self, group: Bool[np.ndarray, "n"]) -> tuple[float, Vector]:
        """Lowest value of the abnormal rows of a group, and the dual weights without the group."""
        out, rest = np.flatnonzero(group), np.flatnonzero(~group)
        odd, duals, unseen = self.targets_[rest] > 0, [], []
        for inverse, weight in zip(self.inverses_, self.weights_, strict=True):
            shared = inverse[np.ix_(rest, out)]
            carried = shared @ np.linalg.inv(inverse[np.ix_(out, out)])
            dual = np.zeros(self.targets_.size)
            dual[rest] = weight[rest] - carried @ weight[out]
            own = np.diag(inverse)[rest] - (carried * shared).sum(axis=1)
            duals.append(dual)
            unseen.append(self.targets_[rest] - dual[rest] / own)
        best = int(np.argmin(_alarms(np.stack(unseen), odd))) if odd.any() else 0
        lost = out[self.targets_[out] > 0]
        return float((self._kernel(self.rows_[lost]) @ duals[best]).min()), duals[best]

    def _rank(self, rows: Float64[np.ndarray, "t k"]) -> tuple[Vector, Vector]:
        values = self._kernel(rows) @ self.duals_.T
        return (self.lowest_ <= values).sum(axis=1).astype(np.float64), values.mean(axis=1)


def _shares(columns: int, features: Any) -> Vector:
    """Weight of each column in the kernel; they sum to 1, half of it over the features."""
    places = np.zeros(columns, bool)
    places[np.asarray(features, int)] = True
    halves = [part for part in (places, ~places) if part.any()]
    share = np.zeros(columns)
    for part in halves:
        share[part] = 1.0 / part.sum() / len(halves)
    return share


def _alarms(
    values: Float64[np.ndarray, "*s n"], odd: Bool[np.ndarray, "n"]
) -> Float64[np.ndarray, "*s"]:
    """False alarms at each of the lowest abnormal values, summed; for each leading index."""
    lowest = np.sort(values[..., odd], axis=-1)[..., : int(np.ceil(_TAIL * odd.sum()))]
    normal = values[..., ~odd]
    return (normal[..., None] >= lowest[..., None, :]).sum(axis=(-2, -1)).astype(np.float64)
