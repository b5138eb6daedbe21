"""A year of a line, over and over: which verdicts may set the threshold; a Markdown table.

    python benchmarks/line_year.py [--years=400] [--share=0.05] [--seed=0]

A detector is calibrated on 60 abnormal and 300 normal images. The line then makes 2,000 parts a
day, 21 days a month, 0.5 % of them defective; scores are normal with standard deviation 1 around 0
for sound parts and around 3 for defects, so that the miss rate of a threshold is known without an
error. At the end of each month the threshold is fitted again by rule `auto` (5 % at 95 %
confidence) to the calibration images and the defects that a policy (POLICIES) lets count:

- `never`: none; the threshold of the first day stays.
- `drawn`: those among the parts that a coin drew before they were scored, flagged or not.
- `drawn, returns lower`: so too; a tenth of the defects that pass comes back and may lower it.
- `audit of passed`: of the drawn ones those that passed, as if an audit of normal decisions alone
  were a sample of all defects: every one lies below the threshold, which falls and falls.
- `line alone`: the drawn ones by themselves, as soon as they are enough for the bound.
- `all verdicts`: every defect that was found, flagged or by audit.
- `flagged alone`: every defect that was flagged, without any audit.

`broken` is the share of years whose threshold of the last day misses more than its promise says: 5
% are allowed. The second table has calibration images that are clearer than the line's defects
(around 4): then nothing holds that rests on them.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402
from scipy.stats import norm  # noqa: E402

from ad_core.console.promise import AUDIT, DEFECT, FLAGGED, Judged, weigh  # noqa: E402
from ad_core.decision import fit_threshold  # noqa: E402
from ad_core.decision.thresholds.deciding import deciding_rule  # noqa: E402

ABNORMAL, NORMAL = 60, 300
PARTS, DEFECTIVE, MONTHS = 2_000 * 21, 0.005, 12
SHIFT, CLEARER = 3.0, 4.0
MISS_RATE, CONFIDENCE = 0.05, 0.95
RETURNED = 0.1  # share of the defects that pass which come back
POLICIES = (
    "never",
    "drawn",
    "drawn, returns lower",
    "audit of passed",
    "line alone",
    "all verdicts",
    "flagged alone",
)
NEEDED = 59  # defects of which the lowest keeps 5 % at 95 %


class Line(NamedTuple):
    """A threshold and its bound."""

    value: float
    bound: float

    def misses(self):
        """Share of the line's defects that pass."""
        return float(norm.cdf(self.value - SHIFT))


def fitted(abnormal, normal):
    """The line that rule `auto` draws."""
    rule = deciding_rule("auto", len(abnormal), miss_rate=MISS_RATE, confidence=CONFIDENCE).rule
    labels = np.repeat([1, 0], [len(abnormal), len(normal)])
    scores = np.concatenate([abnormal, normal])
    options = {"miss_rate": MISS_RATE, "confidence": CONFIDENCE}
    threshold = fit_threshold(rule, scores, labels, out_of_fold=False, **options)
    return Line(threshold.value, threshold.guarantee["miss_rate_bound"])


def defects_of_month(rng, line, share, returned):
    """The defects of a month in the order in which they arrive, as people come to know them."""
    found = []
    for score in rng.normal(SHIFT, 1.0, rng.poisson(PARTS * DEFECTIVE)):
        drawn, back = rng.random() < share, rng.random() < returned
        flagged = score >= line.value
        verdict = DEFECT if flagged or drawn else ""
        came = FLAGGED if flagged else AUDIT
        found.append(Judged(came, float(score), drawn, verdict, downstream=back and not flagged))
    return found


def counting(policy, parts):
    """Scores of the defects that a policy lets count, and of those that may lower the threshold."""
    if policy == "never":
        return [], []
    if policy == "all verdicts":
        return [part.score for part in parts if part.verdict], []
    if policy == "flagged alone":
        return [part.score for part in parts if part.verdict and not part.drawn], []
    if policy == "audit of passed":
        return [part.score for part in parts if part.drawn and part.image == AUDIT], []
    evidence = weigh(parts)
    return [part.score for part in evidence.counted], [part.score for part in evidence.lowering]


def year(policy, calibrated, normal, rng, share):
    """The lines of a year: that of the first day, then that of each month's end."""
    lines, parts = [fitted(calibrated, normal)], []
    share = 0.0 if policy == "flagged alone" else share
    returned = RETURNED if policy == "drawn, returns lower" else 0.0
    for _ in range(MONTHS):
        parts += defects_of_month(rng, lines[-1], share, returned)
        counted, lowering = counting(policy, parts)
        base = calibrated
        if policy == "line alone":
            base = calibrated[:0]
            if len(counted) < NEEDED:
                lines.append(lines[-1])
                continue
        line = fitted(np.concatenate([base, counted]), normal)
        lower = fitted(np.concatenate([base, counted, lowering]), normal)
        lines.append(Line(min(line.value, lower.value), line.bound))
    return lines


def simulated(policy, *, clearer, years, share, seed):
    """Lines of many years [years, months + 1], each calibrated anew."""
    rng, mean = np.random.default_rng(seed), CLEARER if clearer else SHIFT
    for _ in range(years):
        calibrated, normal = rng.normal(mean, 1.0, ABNORMAL), rng.normal(0.0, 1.0, NORMAL)
        yield year(policy, calibrated, normal, rng, share)


def row(policy, years):
    """Cells of a table: broken, mean bound, mean miss rate of some months, false alarms."""
    last = [lines[-1] for lines in years]
    broken = np.mean([line.misses() > line.bound for line in last])
    missed = [np.mean([lines[month].misses() for lines in years]) for month in (0, 3, 6, 12)]
    alarms = [1000 * np.mean([norm.sf(lines[m].value) for lines in years]) for m in (0, 12)]
    told = [100 * broken, 100 * np.mean([line.bound for line in last])]
    cells = [f"{value:.1f}" for value in (*told, *(100 * miss for miss in missed))]
    return f"| {policy} | {' | '.join(cells)} | {alarms[0]:.0f} | {alarms[1]:.0f} |"


def main():
    """Prints both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--years", type=int, default=400)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    for clearer in (False, True):
        print(f"\nCalibration images {'clearer than' if clearer else 'like'} the line's defects:\n")
        print("| counts | broken | bound | missed, day 1 | month 3 | 6 | 12 | alarms | 12 |")
        print("| --- |" + " ---: |" * 8)
        for policy in POLICIES:
            drawn = {"years": asked.years, "share": asked.share, "seed": asked.seed}
            print(row(policy, list(simulated(policy, clearer=clearer, **drawn))), flush=True)


if __name__ == "__main__":
    main()
