"""Choice of a score by made-up defects, where no abnormal image calibrates.

Made-up defects tell which score separates, not how many real defects pass: they never set a
threshold and never count as abnormal images in a promise.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int, Shaped

from ad_core.decision.classifiers.fitting import fit_classifier, imputed_score, learns_from_normals
from ad_core.decision.classifiers.grouped_folds import grouped_folds
from ad_core.decision.table import StatisticsTable, joined, select
from ad_core.statistics import is_feature
from ad_core.statistics.glossary import HIGH, words

FALSE_ALARMS = 0.1  # up to this rate candidates are compared: where thresholds lie
OWN = "loss_"  # statistics that a method itself gives begin with it, behind the method's name
TRAINED = "logistic_regression"
AVERAGE = "average"
SCORE = "loss_score"  # a memory's whole distance, among what it gives itself
FAMILIES = (AVERAGE, "single", "one_class", TRAINED)


class Candidate(NamedTuple):
    """A classifier, and the statistics that it takes where they are its own; (): all."""

    name: str
    own: tuple[str, ...] = ()

    def columns(self, names: Sequence[str]) -> tuple[str, ...]:
        """Columns that it takes of those of a table; () for all that are left to it.

        Pooled features are none: a head on them would learn how defects are made.
        """
        if self.own:
            return self.own
        return tuple(name for name in names if not is_feature(name)) if self.trained else ()

    @property
    def trained(self) -> bool:
        """Tells whether it learns from made-up defects."""
        return self.name == TRAINED

    def __str__(self) -> str:
        """Name in words: single of loss_top."""
        return f"{self.name} of {' and '.join(self.own)}" if self.own else self.name


class SyntheticChoice(NamedTuple):
    """Candidate that made-up defects chose, the figure of each, and how many of each kind.

    figures: candidate -> mean over the kinds of `partial_auc`. error: the standard error of the
    highest one.
    """

    chosen: Candidate
    figures: dict[str, float]
    error: float
    kinds: dict[str, int]

    @property
    def by_defects(self) -> bool:
        """Tells whether the defects chose; several memories judge together without them."""
        return self.chosen.name != AVERAGE

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, with the choice in words."""
        return {
            "statement": self.statement(),
            "chosen": str(self.chosen),
            "by_defects": self.by_defects,
            "figures": self.figures,
            "error": self.error,
            "kinds": self.kinds,
        }

    def statement(self) -> str:
        """Sentences on what made-up defects did, and what they did not do."""
        weighed = " and weighed the statistics" if self.chosen.trained else ""
        count, tells = sum(self.kinds.values()), 100 * self.figures[str(self.chosen)]
        done = (
            f"{count} made-up defects in normal images chose the score, {self.chosen},{weighed} "
            f"among {len(self.figures)}. It tells {tells:.0f} % of them"
            if self.by_defects
            else f"the score is the {self.chosen}, each by its spread among normal images. Of "
            f"{count} made-up defects in them it tells {tells:.0f} %"
        )
        return (
            f"No abnormal image calibrated: {done} (mean over false alarms up to "
            f"{100 * FALSE_ALARMS:.0f} %; chance tells {50 * FALSE_ALARMS:.0f} %). They are no "
            "abnormal images: they set no threshold, and what share of real defects is found is "
            "not known"
        )


def candidates_of(table: StatisticsTable, *, weigh: bool) -> list[Candidate]:
    """Candidates that made-up defects choose among: each score of the methods' own, and one_class.

    With `weigh` a weighted sum of all columns too, whose weights the defects teach; without it the
    first is the average of the scores of several memories, where there are several. A column that
    is the same in more than half of the normal images is none, nor one whose high end is known not
    to be the abnormal one.
    """
    own = [
        name
        for name, column in zip(table.names, table.values.T, strict=True)
        if _is_own_score(name) and 2 * np.unique(column, return_counts=True)[1].max() <= column.size
    ]
    scores = tuple(name for name in own if name.rpartition(".")[2] == SCORE)
    return [
        *([Candidate(AVERAGE, scores)] if len(scores) > 1 and not weigh else []),
        *(Candidate("single", (name,)) for name in own),
        Candidate("one_class"),
        *([Candidate(TRAINED)] if weigh else []),
    ]


def _is_own_score(name: str) -> bool:
    """Tells whether a column is a method's own and, as far as known, high where abnormal."""
    told = words(name)
    rises = told.end == HIGH or not (told.known or "logits" in name)  # as a View says of its maps
    return name.rpartition(".")[2].startswith(OWN) and rises


class Told(NamedTuple):
    """Scores of a candidate that no score's image has taught.

    normal: of the normal images, a row a kind, each by classifiers that know all kinds but that
    one; odd: of made-up defects, by those of their kind. kind: the row of each of them.
    """

    normal: Float64[np.ndarray, "k n"]
    odd: Float64[np.ndarray, " m"]
    kind: Int[np.ndarray, " m"]

    def figure(self) -> float:
        """Mean over the kinds of `partial_auc`."""
        rows = enumerate(self.normal)
        found = [partial_auc(row, self.odd[self.kind == k]) for k, row in rows if k in self.kind]
        return float(np.mean(found))


def choose_by_synthetic(
    make: Callable[[Candidate], Any],
    table: StatisticsTable,
    synthetic: StatisticsTable,
    *,
    weigh: bool,
    folds: int,
    seed: int,
    resample: str = "none",
) -> SyntheticChoice:
    """The simplest candidate that tells made-up defects within one standard error of the best.

    Without `weigh` several memories judge together, whatever the defects say: these are small
    places, and hardly move the distance of a whole image, which tells real images better beside
    another one (docs/decision.md). Else FAMILIES begins with the simplest, where nothing is learnt;
    of one family the best is taken, of equals the first. By this rule (Breiman et al. 1984, section
    3.4.3) more than a method's own score is taken only where the defects clearly ask for it, for
    they resemble real ones only so far. The error is of a bootstrap over groups, of normals and
    defects both.

    Args:
        make: candidate -> an unfitted classifier. table: of normal images, all readable.
        synthetic: of made-up defects in them, with the kind as `defect`. weigh: see
            `candidates_of`. resample: see `fitting.resampled`; made-up defects that are learnt
            count as abnormal rows.
    """
    among = candidates_of(table, weigh=weigh)
    given: dict[str, Any] = {"folds": folds, "seed": seed, "resample": resample}
    told = [tell(make, one, table, synthetic, **given) for one in among]
    figures = [one.figure() for one in told]
    best = int(np.argmax(figures))
    groups = np.array(table.group), np.array(synthetic.group)
    error = standard_error(told[best], *groups, seed=seed)
    near = [i for i, figure in enumerate(figures) if figure >= figures[best] - error]
    if among[0].name == AVERAGE:
        near = [0]
    chosen = min(near, key=lambda i: (FAMILIES.index(among[i].name), -figures[i]))
    return SyntheticChoice(
        among[chosen],
        {str(one): figure for one, figure in zip(among, figures, strict=True)},
        error,
        dict(Counter(synthetic.defect)),
    )


def tell(
    make: Callable[[Candidate], Any],
    candidate: Candidate,
    table: StatisticsTable,
    synthetic: StatisticsTable,
    *,
    folds: int,
    seed: int,
    resample: str = "none",
) -> Told:
    """Scores of all images by classifiers that have learnt none of their group.

    One that learns from made-up defects meets each kind without having learnt it, so that it
    cannot win by marks that all defects of a kind have in common.
    """
    kinds, kind = np.unique(np.array(synthetic.defect), return_inverse=True)
    normal, odd = np.empty((kinds.size, len(table.path))), np.empty(kind.size)
    for k in range(kinds.size):
        teach = kind != k if candidate.trained else None
        if k == 0 or candidate.trained:
            row, scores = unseen_scores(
                lambda: make(candidate),
                table,
                synthetic,
                teach=teach,
                folds=folds,
                seed=seed,
                resample=resample,
            )
        normal[k], odd[kind == k] = row, scores[kind == k]
    return Told(normal, odd, kind)


def standard_error(
    told: Told,
    groups: Shaped[np.ndarray, " n"],
    groups_of_odd: Shaped[np.ndarray, " m"],
    *,
    seed: int,
    draws: int = 200,
) -> float:
    """Standard deviation of the figure over draws of as many groups with replacement.

    Args:
        groups: of the normal images; groups_of_odd: of the made-up defects, each one of those.
    """
    rng, names = np.random.default_rng(seed), np.unique(groups)
    rows = [np.flatnonzero(groups == name) for name in names]
    odd = [np.flatnonzero(groups_of_odd == name) for name in names]
    figures = []
    for _ in range(draws):
        drawn = rng.integers(names.size, size=names.size)
        taken = np.concatenate([odd[i] for i in drawn])
        if taken.size:
            some = np.concatenate([rows[i] for i in drawn])
            again = Told(told.normal[:, some], told.odd[taken], told.kind[taken])
            figures.append(again.figure())
    return float(np.std(figures))


def learn_chosen(
    make: Callable[[Candidate], Any],
    chosen: Candidate,
    table: StatisticsTable,
    synthetic: StatisticsTable,
    *,
    folds: int,
    seed: int,
    resample: str = "none",
) -> tuple[Float64[np.ndarray, " n"], Any]:
    """Scores of the normal images by classifiers that learnt none of their group; and the last one.

    The last one has learnt all images, and made-up defects of all kinds if it learns from them.
    """
    teach = np.ones(len(synthetic.path), bool) if chosen.trained else None
    given: dict[str, Any] = {"resample": resample, "seed": seed}
    scores, _ = unseen_scores(
        lambda: make(chosen), table, synthetic, teach=teach, folds=folds, **given
    )
    learnt = joined(table, synthetic) if chosen.trained else table
    groups = np.array(learnt.group)
    fitted = fit_classifier(make(chosen), learnt.values, learnt.label, groups=groups, **given)
    return scores, fitted


def unseen_scores(
    make: Callable[[], Any],
    table: StatisticsTable,
    synthetic: StatisticsTable,
    *,
    teach: Bool[np.ndarray, " m"] | None,
    folds: int,
    seed: int,
    resample: str = "none",
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " m"]]:
    """Scores of the images of a table and of made-up defects, by classifiers that learnt neither.

    Args:
        table: whatever calibrates. synthetic: each of a group that `table` holds.
        teach: made-up defects that are learnt as abnormal; None: none. resample: see
            `fitting.resampled`; within the rows that are learnt.
    """
    scores, odd = (np.full(len(of.path), np.nan) for of in (table, synthetic))
    groups, groups_of_odd = np.array(table.group), np.array(synthetic.group)
    one_class = not table.label.any() or learns_from_normals(make())
    parts = grouped_folds(table.label, groups, folds=folds, seed=seed, one_class=one_class)
    for train, held_out in parts:
        away = np.isin(groups_of_odd, groups[held_out])
        fit_on = select(table, train)
        if teach is not None:
            fit_on = joined(fit_on, select(synthetic, teach & ~away))
        fitted = fit_classifier(
            make(),
            fit_on.values,
            fit_on.label,
            groups=np.array(fit_on.group),
            resample=resample,
            seed=seed,
        )
        scores[held_out] = imputed_score(fitted, table.values[held_out])
        if away.any():
            odd[away] = imputed_score(fitted, synthetic.values[away])
    return scores, odd


def partial_auc(
    normal: Shaped[np.ndarray, " n"],
    abnormal: Shaped[np.ndarray, " m"],
    *,
    most: float = FALSE_ALARMS,
) -> float:
    """Mean share of abnormal scores found, over false-alarm rates up to `most`.

    Thresholds are the ceil(most * n) highest normal scores; a tie counts half. In [0, 1], 1 is
    best; with `most` 1 it is the area under the ROC curve.
    """
    count = max(1, int(np.ceil(most * normal.size - 1e-9)))
    highest = np.sort(normal)[-count:]
    above = abnormal[:, None] > highest[None]
    level = abnormal[:, None] == highest[None]
    return float(np.mean(above + 0.5 * level))


def usable(synthetic: StatisticsTable, table: StatisticsTable) -> StatisticsTable:
    """The rows that were measured, of groups that still calibrate."""
    known = np.isin(np.array(synthetic.group), np.array(table.group))
    return select(synthetic, synthetic.readable & known)
