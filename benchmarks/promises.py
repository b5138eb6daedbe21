"""Every promise on made-up scores: how often it is broken, and what it costs; two Markdown tables.

    python benchmarks/promises.py [--draws=2000] [--sizes=5,20,60,100,300]

A calibration draws n abnormal groups and 300 normal images, a rule draws its line, and the miss
rate of that line is known without an error: scores are normal, shifted by 2 for abnormal images,
in five worlds (WORLDS). The first table gives the share of calibrations whose miss rate lies above
the bound that the rule stated, in per cent: 5 are allowed. Rules that promise an average give the
mean miss rate and, behind the slash, the mean that they allow. The second gives false alarms of
each rule, in per cent, at the bound that it kept. `counted by images` breaks the rule on purpose.
"""

import argparse
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402
from scipy.stats import norm  # noqa: E402

from ad_core.decision import fit_threshold  # noqa: E402
from ad_core.decision.classifiers.proved_ridge import ConformalRidge, JackknifeRidge  # noqa: E402
from ad_core.errors import UserError  # noqa: E402

NORMALS, SHIFT, CHOSEN = 300, 2.0, 6
RULES = {
    "zfn": ("zfn", {}),
    "miss_bound 5 %": ("miss_bound", {"miss_rate": 0.05}),
    "miss_bound 10 %": ("miss_bound", {"miss_rate": 0.1}),
    "miss_bound 20 %": ("miss_bound", {"miss_rate": 0.2}),
    "target_fpr 20 %": ("target_fpr", {"target_fpr": 0.2}),
    "conformal_risk 10 % (mean)": ("conformal_risk", {"miss_rate": 0.1}),
}
RIDGES = {"conformal_ridge": ConformalRidge, "jackknife_ridge": JackknifeRidge}


class Continuous:
    """A score of its own for each image, each a group; candidates: one."""

    step = 0.0
    sizes = (1, 2)

    def abnormal(self, rng, n):
        """Scores of the images of n groups, and the group of each."""
        sizes = rng.integers(*self.sizes, n)
        groups = np.repeat(np.arange(n), sizes)
        # The more images, the harder the group; half of the variance is the group's.
        shift = rng.normal(size=n) * np.sqrt(0.5) - 0.25 * (sizes - 1)
        scores = SHIFT + shift[groups] + rng.normal(size=groups.size) * np.sqrt(0.5)
        return self.rounded(scores)[None], groups

    def normal(self, rng):
        """Scores of the normal images."""
        return self.rounded(rng.normal(size=NORMALS))[None]

    def rounded(self, scores):
        """Scores that tie, where the world has a step."""
        return np.floor(scores / self.step) * self.step if self.step else scores

    def missed(self, candidate, value):
        """Share of abnormal groups with an image below a threshold."""
        edge = np.ceil(value / self.step) * self.step if self.step else value
        return norm.cdf(edge - SHIFT)


class Tied(Continuous):
    """Scores rounded down to half a standard deviation."""

    step = 0.5


class Grouped(Continuous):
    """Groups of 3 images."""

    sizes = (3, 4)

    def __init__(self):
        scores, groups = self.abnormal(np.random.default_rng(12345), 400_000)
        lowest = np.full(400_000, np.inf)
        np.minimum.at(lowest, groups, scores[0])
        self.lowest = np.sort(lowest)

    def missed(self, candidate, value):
        """Share of a large sample of groups: its error is 0.03 points."""
        return np.searchsorted(self.lowest, value, side="left") / self.lowest.size


class Unequal(Grouped):
    """Groups of 1 to 8 images, large ones harder."""

    sizes = (1, 9)


class Chosen(Continuous):
    """The best of six classifiers, chosen on the images that set the line.

    They are as good as one another and correlated by half, the hardest case for a choice.
    """

    def abnormal(self, rng, n):
        """Scores by each candidate."""
        shared = rng.normal(size=n) * np.sqrt(0.5)
        own = rng.normal(size=(CHOSEN, n)) * np.sqrt(0.5)
        return SHIFT + shared + own, np.arange(n)

    def normal(self, rng):
        """Scores by each candidate."""
        shared = rng.normal(size=NORMALS) * np.sqrt(0.5)
        return shared + rng.normal(size=(CHOSEN, NORMALS)) * np.sqrt(0.5)


WORLDS = {
    "continuous": Continuous,
    "ties": Tied,
    "groups of 3": Grouped,
    "groups of 1 to 8": Unequal,
    "chosen among six": Chosen,
}


def calibrate(world, rng, n, rule, options, *, by_images=False):
    """(miss rate, threshold's bound, expected bound, false alarms), or None where it refuses."""
    odd, groups = world.abnormal(rng, n)
    normal = world.normal(rng)
    names = np.arange(groups.size) if by_images else groups
    best = None
    for candidate in range(len(odd)):
        scores = np.concatenate([normal[candidate], odd[candidate]])
        labels = np.repeat([0, 1], [NORMALS, groups.size])
        given = np.concatenate([np.arange(NORMALS) + groups.size, names])
        try:
            found = fit_threshold(
                rule, scores, labels, groups=given, candidates=len(odd), **options
            )
        except UserError:
            return None
        alarms = float(np.mean(normal[candidate] >= found.value))
        if best is None or alarms < best[3]:
            bound = found.guarantee["miss_rate_bound"]
            best = (world.missed(candidate, found.value), bound, options.get("miss_rate"), alarms)
    return best


def simulated(world, n, rule, options, draws, **how):
    """Miss rates, bounds and false alarms of many calibrations; None where the rule refuses."""
    rng = np.random.default_rng(n)
    found = []
    for _ in range(draws):
        one = calibrate(world, rng, n, rule, options, **how)
        if one is None:
            return None
        found.append(one)
    return np.array(found, float).T


def ridge(make, n, draws, *, later=20):
    """(mean miss rate, mean false alarms, bound) of a proved rank at about 10 %, by simulation."""
    rng, missed, alarms = np.random.default_rng(n), [], []
    factor = make().proof(n).factor
    rank = int(0.1 * (n + 1) / factor + 1e-9)
    if rank < 1:
        return None
    for _ in range(draws):
        labels = np.repeat([0, 1, 0, 1], [60, n, later, later])
        rows = rng.normal(size=(labels.size, 4)) + labels[:, None]
        fitted = make().fit(rows[: 60 + n], labels[: 60 + n])
        score = fitted.decision_function(rows[60 + n :]) < rank / (n + 1)
        missed.append(score[later:].mean())
        alarms.append(1 - score[:later].mean())
    return np.mean(missed), np.mean(alarms), factor * rank / (n + 1)


def percent(value):
    """A share in per cent, one decimal."""
    return f"{100 * value:.1f}"


def main():
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--sizes", default="5,20,60,100,300")
    given = parser.parse_args()
    sizes = [int(n) for n in given.sizes.split(",")]
    broken, costs = tables(sizes, given.draws)
    print(broken, costs, sep="\n\n")


def tables(sizes, draws):
    """The two tables as Markdown: promises broken, and false alarms."""
    head = "| world | rule | " + " | ".join(f"n = {n}" for n in sizes) + " |"
    rule_line = "|" + " --- |" * (len(sizes) + 2)
    broken, costs = [head, rule_line], [head, rule_line]
    for name, make in WORLDS.items():
        world = make()
        for title, (rule, options) in RULES.items():
            cells = [_cells(simulated(world, n, rule, options, draws), rule) for n in sizes]
            broken.append(f"| {name} | {title} | " + " | ".join(cell[0] for cell in cells) + " |")
            costs.append(f"| {name} | {title} | " + " | ".join(cell[1] for cell in cells) + " |")
        if isinstance(world, Grouped):
            rule, options = RULES["zfn"]
            found = [simulated(world, n, rule, options, draws, by_images=True) for n in sizes]
            cells = " | ".join(_cells(one, rule)[0] for one in found)
            broken.append(f"| {name} | zfn, counted by images | {cells} |")
    for title, make in RIDGES.items():
        found = [ridge(make, n, max(draws // 10, 1)) for n in sizes]
        means = [f"{percent(one[0])} / {percent(one[2])}" if one else "refused" for one in found]
        broken.append(f"| four columns | {title} 10 % (mean) | {' | '.join(means)} |")
        alarms = [percent(one[1]) if one else "refused" for one in found]
        costs.append(f"| four columns | {title} 10 % (mean) | {' | '.join(alarms)} |")
    return "\n".join(broken), "\n".join(costs)


def _cells(found, rule):
    if found is None:
        return "refused", "refused"
    missed, bounds, expected, alarms = found
    if rule == "conformal_risk":
        return f"{percent(missed.mean())} / {percent(expected[0])}", percent(alarms.mean())
    return percent(np.mean(missed > bounds + 1e-12)), percent(alarms.mean())


if __name__ == "__main__":
    main()
