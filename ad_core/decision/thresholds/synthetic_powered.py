"""Experimental rule `spi`: few abnormal scores and many of made-up defects set a line together."""

import math
from functools import cache
from typing import NamedTuple

from scipy.stats import betabinom

from ad_core.decision.thresholds import guarantees
from ad_core.decision.thresholds.given import Calibrating, Options
from ad_core.decision.thresholds.guarantees import Guarantee
from ad_core.errors import UserError

# How often the window may miss its aim where made-up scores are distributed like real ones. A
# smaller share makes a wider window: more for the made-up scores to say, and a weaker promise.
OUTSIDE = 0.4


class Window(NamedTuple):
    """Ranks of abnormal scores, from 1 for the lowest, between which made-up ones set the line.

    low: 0 is below all. high: the promise; 0 where no abnormal score may lie below the line.
    """

    low: int
    high: int


@cache
def window(n: int, m: int, rank: int) -> Window:
    """The window of n abnormal scores for a line at the `rank`-th lowest of m made-up ones.

    Of n + 1 abnormal scores the r-th lowest has N made-up ones below it; if all n + 1 + m were
    exchangeable, N would be beta-binomial (m, r, n + 2 - r). `high` is the largest r that may then
    lie below the line, P(N < rank) > OUTSIDE / 2; `low` the largest that must, P(N < rank) >=
    1 - OUTSIDE / 2.
    """
    below = [float(betabinom.cdf(rank - 1, m, r, n + 2 - r)) for r in range(1, n + 1)]
    return Window(
        low=sum(share >= 1.0 - OUTSIDE / 2.0 for share in below),
        high=sum(share > OUTSIDE / 2.0 for share in below),
    )


def spi(given: Calibrating, options: Options) -> tuple[float, Guarantee]:
    """The line that lets `miss_rate` of made-up defects pass, within a window of abnormal scores.

    It never lies above the `high`-th lowest of n abnormal groups, so that a further group falls
    below it with probability at most high / (n + 1), whatever the made-up scores are: they may be
    useless or chosen to harm. Where they are distributed like real ones about `miss_rate` pass,
    though n alone could promise no such rate. Of c classifiers chosen among, c high / (n + 1).

    Source: the idea is that of synthetic-powered predictive inference, arXiv 2505.13432. The form,
    a line clipped to a window of real ranks, is this project's own; its proof is the rank's alone.
    """
    made_up, n = options.synthetic, int(given.parts.size)
    if made_up is None or not len(made_up):
        raise UserError(
            "Rule 'spi' needs scores of made-up defects and there are none: name it in "
            "`decision.rules` or `decision.rule` before the images are measured, with "
            "`data.synthetic.count` above 0."
        )
    rank = math.floor(options.miss_rate * (len(made_up) + 1) + 1e-9)
    if rank < 1:
        raise UserError(
            f"Rule 'spi' needs {math.ceil(1 / options.miss_rate - 1e-9) - 1} made-up defects for "
            f"`miss_rate` (={options.miss_rate}); there are {len(made_up)}. Raise "
            "`data.synthetic.count` or `miss_rate`."
        )
    found = window(n, len(made_up), rank)
    if found.high < 1:
        raise UserError(
            f"Rule 'spi' would inspect everything: {n} abnormal groups are too few for "
            f"`miss_rate` (={options.miss_rate}). Add some, raise `miss_rate`, or use 'zfn', which "
            f"promises what {n} can."
        )
    line = max(sorted(made_up)[rank - 1], given.parts[found.low - 1] if found.low else -math.inf)
    value = min(line, given.parts[found.high - 1])
    bound = min(1.0, options.candidates * found.high / (n + 1))
    return float(value), _promised(bound, len(made_up), given, options)


def _promised(bound: float, made_up: int, given: Calibrating, options: Options) -> Guarantee:
    source = (
        f"whatever the scores of the {made_up} made-up defects are, which asked for "
        f"{guarantees.percent(options.miss_rate)}; an experimental rule"
    )
    promised = guarantees.expected_guarantee(bound, source, given.counted, options.terms)
    return promised | {"statement": f"Experimental. {promised['statement']}"}
