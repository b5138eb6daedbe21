"""Explanation, in words, of the statistics that pushed an image's score."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Shaped
from sklearn.pipeline import Pipeline

from ad_core.decision.classifiers.catalogue import attribution_of, line_of
from ad_core.decision.classifiers.cleaning import Table, chain_of
from ad_core.decision.classifiers.deep_head import HEAD, DeepHead
from ad_core.errors import UserError

# Of the normals' values, what is called their range; rows that global weights are taken from.
_RANGE = (0.05, 0.95)
_WEIGHED = 64
_LIKENESS = (
    "looks like the abnormal images that calibrated",
    "does not look like the abnormal images that calibrated",
)
# A name that says too little, without its method's: of a push above 0, and of one below.
_WORDS = {HEAD: _LIKENESS, "loss_likeness": _LIKENESS}

Normals = Shaped[Array | np.ndarray, "m k"]


class Reason(NamedTuple):
    """A statistic that pushed the score of one image.

    low, high: 5th and 95th percentile of calibration normals. push: how far it moved the score,
    above 0 towards abnormal (see `Explainer`).
    """

    name: str
    value: float
    low: float
    high: float
    push: float

    def __str__(self) -> str:
        """Reason in words: window_ssim_min 0.41, normals 0.83 to 0.97 (+0.12)."""
        value = f"{self.value:.3g}" if np.isfinite(self.value) else "not measured"
        own = self.name.rpartition(".")[2]
        words = f" ({_WORDS[own][int(self.push <= 0)]})" if own in _WORDS else ""
        normals = f"normals {self.low:.3g} to {self.high:.3g}"
        return f"{self.name} {value}{words}, {normals} ({self.push:+.2g})"


class Explainer:
    """Explains the scores of a fitted classifier, by the method that its line names.

    Made once, used for any number of rows: what depends on the classifier alone is done here.
    Pooled features are explained as the one column that a head makes of them.

    Attributes: `names` of the statistics that are explained; `method` how a score is divided
    among them, in words; `sums` whether the pushes of a row sum to its score less a constant.
    """

    def __init__(self, classifier: Pipeline, names: Sequence[str], normals: Normals):
        """Keeps the means, medians and ranges of calibration `normals`.

        Raises:
            UserError: the number of names is not that of the statistics.
        """
        self._chain = chain_of(classifier)
        self.names = _names(classifier, names)
        self._columns = self._chain.cleaning.kept_
        reference = self._reduced(normals)
        self.low, self.high = _range_of(reference)
        if isinstance(self._chain.before, DeepHead):
            # The head knows these normals by heart: their range is that of values unseen.
            unseen = _range_of(self._chain.before.normals_[:, None])
            self.low[-1:], self.high[-1:] = unseen
        self.method, self._push, self.sums = attribution_of(classifier, reference)

    def pushes(self, table: Table) -> Float[np.ndarray, "n _"]:
        """Push of each of `names` on every row's score; 0 for one that cleaning dropped."""
        return self._push(self._reduced(table))

    def reasons(self, table: Table, *, top: int = 3) -> list[list[Reason]]:
        """The `top` statistics of each row by |push|; those not measured come first."""
        values = self._reduced(table)
        pushes = self._push(values)
        strength = np.where(np.isfinite(values), np.abs(pushes), np.inf)
        dropped = np.setdiff1d(np.arange(len(self.names)), self._columns)
        strength[:, dropped] = -1.0
        order = np.argsort(-strength, axis=1, kind="stable")[:, :top]
        return [
            [self._reason(row, push, int(column)) for column in columns]
            for row, push, columns in zip(values, pushes, order, strict=True)
        ]

    def _reduced(self, table: Table) -> Float[np.ndarray, "n _"]:
        return np.asarray(self._chain.reduce(np.asarray(table, np.float64)), np.float64)

    def _reason(
        self, row: Float[np.ndarray, "k"], push: Float[np.ndarray, "k"], column: int
    ) -> Reason:
        numbers = row[column], self.low[column], self.high[column], push[column]
        return Reason(self.names[column], *(float(number) for number in numbers))


def important_statistics(
    classifier: Pipeline, names: Sequence[str], normals: Normals
) -> list[tuple[str, float]]:
    """(name, weight) of every statistic, heaviest first; the weights sum to 1.

    As the classifier's line weighs them: trees by the mean decrease of impurity (boosted ones by
    total gain), linear models by |coefficient| on the standardised table, one_class by what a
    deviation of one standard deviation in this statistic alone adds; others by the mean |push|
    over (at most 64) `normals`. A statistic that cleaning dropped, because it is constant or
    repeats an earlier one, weighs 0. Pooled features weigh together, as one.

    Raises:
        UserError: the number of names is not that of the statistics.
    """
    columns, weigh = chain_of(classifier).cleaning.kept_, line_of(classifier).weigh
    known = _names(classifier, names)
    if weigh is not None:
        kept = weigh(classifier[-1])
    else:
        rows = np.asarray(normals)
        pushes = Explainer(classifier, names, rows).pushes(rows[:_WEIGHED])
        kept = np.abs(pushes).mean(axis=0)[columns]
    weights = np.zeros(len(known))
    weights[columns] = kept / kept.sum() if kept.sum() > 0 else 1.0 / kept.size
    order = np.argsort(-weights, kind="stable")
    return [(known[int(i)], float(weights[i])) for i in order]


def _names(classifier: Pipeline, names: Sequence[str]) -> tuple[str, ...]:
    """Names of the table as cleaning takes it."""
    chain = chain_of(classifier)
    if chain.before is not None:
        return chain.before.reduced_names(names)
    if len(names) != chain.cleaning.missing_.size:
        raise UserError(
            f"{len(names)} names for a classifier of {chain.cleaning.missing_.size} statistics."
        )
    return tuple(names)


def _range_of(
    reference: Float[np.ndarray, "m k"],
) -> tuple[Float[np.ndarray, "k"], Float[np.ndarray, "k"]]:
    """5th and 95th percentile of the finite values of each column, NaN without any."""
    known = [column[np.isfinite(column)] for column in reference.T]
    ranges = [np.quantile(c, _RANGE) if c.size else (np.nan, np.nan) for c in known]
    low, high = np.array(ranges).reshape(-1, 2).T
    return low, high
