"""Differences between methods that are more than chance, in words."""

from typing import NamedTuple

from ad_core.inspection.findings import plural
from ad_core.reporting.comparison import DETECTOR, FIGURES, Comparison, by_block
from ad_core.reporting.paired_tests import ALPHA, Pair, Ranking, least_p, rank_methods

RANKED = ("auc", "zfn")  # figures by which methods are ranked; high is good
SETS = "sets"  # blocks that are independent
FEW = 10  # blocks below which hardly any difference can be shown


class Difference(NamedTuple):
    """Methods ranked by one figure over blocks, "sets" or "sets and seeds".

    ranking: None where fewer than two methods share two blocks.
    """

    figure: str
    blocks: str
    ranking: Ranking | None


def differences(comparison: Comparison) -> list[Difference]:
    """Rankings of the detectors over sets, and where there are several seeds over both."""
    seeds = {one.seed for one in comparison.measurements}
    kinds = [(SETS, False)] + [("sets and seeds", True)] * (len(seeds) > 1)
    return [
        Difference(
            figure,
            blocks,
            rank_methods(by_block(comparison.measurements, figure, each_seed=each_seed)),
        )
        for figure in RANKED
        for blocks, each_seed in kinds
        if len({one.method for one in comparison.measurements if one.score == DETECTOR}) > 1
    ]


def words_of(one: Difference) -> list[str]:
    """Sentences on a ranking: what it is over, what is real, how much that can show."""
    heading = f"Ranked by {FIGURES[one.figure].heading} over {one.blocks}:"
    ranking = one.ranking
    if ranking is None:
        return [f"{heading} fewer than two methods share two blocks, so nothing can be tested."]
    told = ", ".join(
        f"{name} {rank:.2f}" for name, rank in zip(ranking.names, ranking.ranks, strict=True)
    )
    lines = [f"{heading} {told} (mean rank over {ranking.blocks}, 1 is best)."]
    if ranking.p is not None:
        verdict = "differ" if ranking.p < ALPHA else "are not shown to differ"
        lines.append(
            f"Friedman: statistic {ranking.statistic:.2f}, p {ranking.p:.3g}: the methods {verdict}"
            f". Two differ by Nemenyi if their ranks are {ranking.critical:.2f} apart."
        )
    return [*lines, _pairs(one, ranking), *_cautions(one, ranking)]


def verdict_of(one: Difference, pair: Pair) -> str:
    """Word on a pair: "real" over sets; over their seeds no more than "on these sets"."""
    if not pair.real:
        return "not shown"
    return "real" if one.blocks == SETS else "on these sets"


def _pairs(one: Difference, ranking: Ranking) -> str:
    real = [pair for pair in ranking.pairs if pair.real]
    words = "Signed-rank tests with Holm's adjustment"
    if not real:
        lowest = min(pair.adjusted for pair in ranking.pairs)
        return f"{words}: no difference of two methods is shown (smallest adjusted p {lowest:.3g})."
    told = [
        f"{_better(pair)} (adjusted p {pair.adjusted:.3g}, {max(pair.wins)} to {min(pair.wins)})"
        for pair in real
    ]
    return f"{words}: {verdict_of(one, real[0])}, {'; '.join(told)}. No other difference is shown."


def _better(pair: Pair) -> str:
    (first, second), (won, lost) = pair.names, pair.wins
    return f"{first} above {second}" if won >= lost else f"{second} above {first}"


def _cautions(one: Difference, ranking: Ranking) -> list[str]:
    lines = []
    if one.blocks != SETS:
        lines.append(
            "Seeds of one set share its images: this speaks of these sets alone, and its p are "
            "too small."
        )
    least = min(1.0, least_p(ranking.blocks) * len(ranking.pairs))
    if ranking.blocks < FEW or least >= ALPHA:
        lines.append(
            f"{ranking.blocks} {one.blocks} are few: the signed-rank tests of "
            f"{plural(len(ranking.pairs), 'pair')} cannot come below an adjusted p of {least:.2g}. "
            "A difference that is not shown may still be there."
        )
    if ranking.left_out:
        lines.append(f"Left out for want of figures: {', '.join(ranking.left_out)}.")
    return lines
