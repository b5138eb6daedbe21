"""Explanation, in words, of the statistics that pushed an image's score."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Shaped
from sklearn.pipeline import Pipeline

from ad_core.decision.classifiers.catalogue import attribution_of, line_of
from ad_core.decision.classifiers.cleaning import Table, chain_of
from ad_core.decision.classifiers.deep_head import APART
from ad_core.decision.classifiers.fitting import head_of, raised_by
from ad_core.errors import UserError
from ad_core.statistics.glossary import EITHER, HIGH, LOW, words

# Of the normals' values, what is called their range; rows that global weights are taken from.
_RANGE = (0.05, 0.95)
_WEIGHED = 64
Normals = Shaped[Array | np.ndarray, "m k"]


class Reason(NamedTuple):
    """A statistic that pushed the score of one image.

    low, high: 5th and 95th percentile of calibration normals. push: how far it moved the score,
    above 0 towards abnormal (see `Explainer`); NaN where it decides by itself. place: where in the
    image, in words.
    """

    name: str
    value: float
    low: float
    high: float
    push: float
    place: str = ""

    def __str__(self) -> str:
        """Reason in words: what is unlike normal images, where, and the numbers behind it."""
        value = f"{self.value:.3g}" if np.isfinite(self.value) else "not measured"
        push = f", {self.push:+.2g}" if np.isfinite(self.push) else ""
        place = f", {self.place}" if self.place else ""
        normals = f"normals {self.low:.3g} to {self.high:.3g}"
        return f"{self._words()}{place} ({self.name} {value}, {normals}{push})"

    def at(self, place: str) -> "Reason":
        """The reason with a place, if it speaks against the worst place of an image."""
        return self._replace(place=place) if self.push > 0 and words(self.name).local else self

    def _words(self) -> str:
        told = words(self.name)
        if not np.isfinite(self.value):
            return f"{told.subject} could not be measured"
        side = int(self.value > self.high) - int(self.value < self.low)
        if side and side == told.end:
            return told.unlike
        how = {HIGH: "is higher than", LOW: "is lower than", EITHER: "is as"}[side]
        return f"{told.subject} {how} in normal images"


class Explainer:
    """Explains the scores of a fitted classifier, by the method that its line names.

    Made once, used for any number of rows: what depends on the classifier alone is done here.
    Pooled features are explained as the one column that a head makes of them, and as APART, which
    pushes an image alone that lies farther from those that calibrated than any normal one did.

    Attributes: `names` of the statistics that are explained; `method` how a score is divided
    among them, in words; `sums` whether the pushes of a row sum to its score less a constant.
    """

    def __init__(self, classifier: Pipeline, names: Sequence[str], normals: Normals):
        """Keeps the means, medians and ranges of calibration `normals`.

        Raises:
            UserError: the number of names is not that of the statistics.
        """
        self._classifier, self._chain = classifier, chain_of(classifier)
        self._head = head_of(classifier)
        self.names = _names(classifier, names)
        self._columns = self._chain.cleaning.kept_
        reference = self._reduced(normals)
        self.low, self.high = _range_of(reference)
        if self._head is not None:
            # The head knows these normals by heart: their range is that of values unseen.
            unseen = np.column_stack([self._head.normals_, self._head.usual_])
            low, high = _range_of(unseen)
            self.low, self.high = np.append(self.low[:-1], low), np.append(self.high[:-1], high)
            self._columns = np.append(self._columns, len(self.names) - 1)
        self.method, self._push, self.sums = attribution_of(classifier, reference)

    def pushes(self, table: Table) -> Float[np.ndarray, "n _"]:
        """Push of each of `names` on every row's score; 0 for one that cleaning dropped."""
        return self._explained(table)[1]

    def reasons(
        self, table: Table, *, top: int = 3, inspected: Bool[np.ndarray, "n"] | None = None
    ) -> list[list[Reason]]:
        """The `top` statistics of each row that pushed most; those not measured come first.

        Args:
            inspected: what was decided of each row. Its reasons are then those that pushed towards
                that decision, the strongest first: few or none where few or none did. Against an
                inspected image those within the normals' range speak only where no other does.
                None: those of the largest |push|, whichever way.
        """
        values, pushes = self._explained(table)
        strength = np.abs(pushes)
        if inspected is not None:
            towards = np.where(np.asarray(inspected)[:, None], pushes, -pushes)
            strength = np.where(towards > 0, towards, -1.0)
            strength = np.where(self._idle(values, strength, inspected), -1.0, strength)
        strength = np.where(np.isfinite(values), strength, np.inf)
        dropped = np.setdiff1d(np.arange(len(self.names)), self._columns)
        strength[:, dropped] = -1.0
        order = np.argsort(-strength, axis=1, kind="stable")[:, :top]
        return [
            [self._reason(value, push, int(c)) for c in columns if strong[c] >= 0]
            for value, push, strong, columns in zip(values, pushes, strength, order, strict=True)
        ]

    def _idle(
        self, values: np.ndarray, strength: np.ndarray, inspected: Bool[np.ndarray, "n"]
    ) -> Bool[np.ndarray, "n k"]:
        """Values of inspected rows that are as in normal images, where others are not."""
        usual = (values >= self.low) & (values <= self.high)
        others = ((strength > 0) & ~usual).any(axis=1)
        return usual & (np.asarray(inspected) & others)[:, None]

    def _explained(self, table: Table) -> tuple[Float[np.ndarray, "n _"], Float[np.ndarray, "n _"]]:
        """Value and push of each of `names` in every row."""
        values = self._reduced(table)
        pushes = self._push(values)
        if self._head is None:
            return values, pushes
        rows = np.asarray(table)
        raised = raised_by(self._classifier, rows)
        return (
            np.column_stack([values, self._head.apart(rows)]),
            np.column_stack([pushes, raised]),
        )

    def _reduced(self, table: Table) -> Float[np.ndarray, "n _"]:
        return np.asarray(self._chain.reduce(np.asarray(table, np.float64)), np.float64)

    def _reason(
        self, row: Float[np.ndarray, "k"], push: Float[np.ndarray, "k"], column: int
    ) -> Reason:
        numbers = (row[column], self.low[column], self.high[column], push[column])
        value, low, high, moved = (float(number) for number in numbers)
        return Reason(self.names[column], value, low, high, moved)


def important_statistics(
    classifier: Pipeline, names: Sequence[str], normals: Normals
) -> list[tuple[str, float]]:
    """(name, weight) of every statistic, heaviest first; the weights sum to 1.

    As the classifier's line weighs them: trees by the mean decrease of impurity (boosted ones by
    total gain), linear models by |coefficient| on the standardised table, one_class by what a
    deviation of one standard deviation in this statistic alone adds; others by the mean |push|
    over (at most 64) `normals`. A statistic that cleaning dropped, because it is constant or
    repeats an earlier one, weighs 0, and so does APART. Pooled features weigh together, as one.

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
    """Names of the table as cleaning takes it, and APART behind them where there is a head."""
    chain = chain_of(classifier)
    if chain.before is not None:
        far = () if head_of(classifier) is None else (APART,)
        return (*chain.before.reduced_names(names), *far)
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
