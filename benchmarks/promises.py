"""Every promise on made-up scores: how often it is broken, and what it costs; Markdown tables.

    python benchmarks/promises.py [--draws=2000] [--ridge_draws=2000] [--sizes=5,20,60,100,300]

A calibration draws n abnormal groups and 300 normal images, a rule draws its line, and the miss
rate of that line is known without an error: scores are normal, shifted by 2 for abnormal images,
in five worlds (WORLDS). The first table gives the share of calibrations whose miss rate lies above
the bound that the rule stated, in per cent: 5 are allowed. Rules that promise an average give the
mean miss rate and, behind the slash, the mean that they allow. The second gives false alarms of
each rule, in per cent, at the bound that it kept. `counted by images` breaks the rule on purpose.
The rows `spi` are of the experimental rule, with 500 made-up defects in three kinds (MADE_UP):
distributed like abnormal images, like normal ones, or all far above.

A third table compares three ways to choose among six classifiers at a mean miss rate of 10 %: mean
miss rate / bound, then false alarms. They are as good as one another, or one is better by 1.
- `ignored`: the one with the fewest false alarms at its k-th lowest abnormal score, k / (n + 1) as
  if it had been named. `union bound`: the same with a sixth of the bound for each.
- `integrative`: each later image is added to the abnormal ones, the classifier with the fewest
  false alarms at the k-th lowest of these n + 1 scores is chosen anew, and the image passes if it
  is among the k lowest. The choice treats all n + 1 alike: so k / (n + 1) holds. Source: Z. Liang,
  M. Sesia, W. Sun, "Integrative conformal p-values for out-of-distribution testing with labelled
  outliers", JRSSB 2024 (the choice of a model; classifiers that learnt from other images).
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
from ad_core.decision.thresholds.guarantees import binomial_bound, level  # noqa: E402
from ad_core.errors import UserError  # noqa: E402

NORMALS, SHIFT = 300, 2.0
RULES = {
    "zfn": ("zfn", {}),
    "miss_bound 5 %": ("miss_bound", {"miss_rate": 0.05}),
    "miss_bound 10 %": ("miss_bound", {"miss_rate": 0.1}),
    "miss_bound 20 %": ("miss_bound", {"miss_rate": 0.2}),
    "target_fpr 20 %": ("target_fpr", {"target_fpr": 0.2}),
    "conformal_risk 10 % (mean)": ("conformal_risk", {"miss_rate": 0.1}),
}
MADE_UP = ("alike", "useless", "adversarial")
RIDGES = {"conformal_ridge": ConformalRidge, "jackknife_ridge": JackknifeRidge}


class Continuous:
    """A score of its own for each image, each a group; candidates: one."""

    step = 0.0
    most = 1  # images of a group, at most; as many at least where `even`
    even = True
    candidates = 1

    def abnormal(self, rng, draws, n):
        """Lowest score of each group, [draws, candidates, n], and images, [draws]."""
        sizes = np.full((draws, n), self.most)
        if not self.even:
            sizes = rng.integers(1, self.most + 1, (draws, n))
        # The more images, the harder the group; half of the variance is the group's.
        shift = rng.normal(size=(draws, n)) * np.sqrt(0.5) - 0.25 * (sizes - 1)
        scores = shift[..., None] + rng.normal(size=(draws, n, self.most)) * np.sqrt(0.5)
        scores[np.arange(self.most) >= sizes[..., None]] = np.inf
        return self.rounded(SHIFT + scores.min(axis=-1))[:, None], sizes.sum(axis=1)

    def normal(self, rng, draws):
        """Scores of the normal images, [draws, candidates, NORMALS]."""
        return self.rounded(rng.normal(size=(draws, 1, NORMALS)))

    def rounded(self, scores):
        """Scores that tie, where the world has a step."""
        return np.floor(scores / self.step) * self.step if self.step else scores

    def missed(self, values):
        """Share of abnormal groups with an image below each threshold."""
        edges = np.ceil(values / self.step) * self.step if self.step else values
        return norm.cdf(edges - SHIFT)


class Tied(Continuous):
    """Scores rounded down to half a standard deviation."""

    step = 0.5


class Grouped(Continuous):
    """Groups of 3 images."""

    most = 3

    def __init__(self):
        lowest, _ = self.abnormal(np.random.default_rng(12345), 1000, 1000)
        self.lowest = np.sort(lowest.ravel())

    def missed(self, values):
        """Share of a million groups: its error is 0.02 points at a share of 5 %."""
        return np.searchsorted(self.lowest, values, side="left") / self.lowest.size


class Unequal(Grouped):
    """Groups of 1 to 8 images, large ones harder."""

    most, even = 8, False


class Chosen(Continuous):
    """The best of six classifiers, chosen on the images that set the line.

    They are as good as one another and correlated by half, a hard case for a choice.
    """

    candidates = 6
    better = 0.0  # by how much the first one parts the classes better than the others

    def abnormal(self, rng, draws, n):
        """Scores by each candidate."""
        shift = SHIFT + self.better * (np.arange(self.candidates) == 0)[:, None]
        return shift + self._correlated(rng, draws, n), np.full(draws, n)

    def normal(self, rng, draws):
        """Scores by each candidate."""
        return self._correlated(rng, draws, NORMALS)

    def _correlated(self, rng, draws, n):
        own = rng.normal(size=(draws, self.candidates, n))
        return (rng.normal(size=(draws, 1, n)) + own) * np.sqrt(0.5)


class OneBetter(Chosen):
    """The same, and one of the six parts the classes better than the others."""

    better = 1.0


CHOICES = {"six alike": Chosen, "one of six better": OneBetter}
WAYS = {"ignored": 1, "union bound": 6, "integrative": 1}  # and by what each divides the bound


WORLDS = {
    "continuous": Continuous,
    "ties": Tied,
    "groups of 3": Grouped,
    "groups of 1 to 8": Unequal,
    "chosen among six": Chosen,
}


def drawn_line(rule, options, odd, normal, candidates):
    """Thresholds and bounds, [draws, candidates] each, of many calibrations; None if it refuses.

    The rule itself gives the place of its line, from n abnormal scores 0, 1, ... above 300 normal
    ones: the k-th abnormal score, or one of the normal ones.
    """
    n = odd.shape[-1]
    places = np.concatenate([np.arange(-NORMALS, 0.0), np.arange(float(n))])
    labels = np.repeat([0, 1], [NORMALS, n])
    try:
        found = fit_threshold(rule, places, labels, candidates=candidates, **options)
    except UserError:
        return None
    if found.value >= 0:
        values = np.sort(odd, axis=-1)[..., int(found.value)]
        return values, np.full(values.shape, found.guarantee["miss_rate_bound"])
    # Just above a normal score: the rule has left the abnormal ones out of account.
    below = int(np.floor(found.value)) + NORMALS
    values = np.nextafter(np.sort(normal, axis=-1)[..., below], np.inf)
    fallen = (odd < values[..., None]).sum(axis=-1)
    bounds = [binomial_bound(int(k), n, level(0.95, candidates)) for k in range(n + 1)]
    return values, np.array(bounds)[fallen]


def simulated(world, n, rule, options, draws, *, by_images=False):
    """(miss rates, bounds, false alarms) of many calibrations; None where the rule refuses.

    Args:
        by_images: the bound of zfn as if each image were a draw of its own.
    """
    rng = np.random.default_rng(n)
    odd, images = world.abnormal(rng, draws, n)
    normal = world.normal(rng, draws)
    line = drawn_line(rule, options, odd, normal, world.candidates)
    if line is None:
        return None
    values, bounds = line
    if by_images:
        bounds = 1 - 0.05 ** (1 / images[:, None])
    alarms = (normal >= values[..., None]).mean(axis=-1)
    best = np.arange(draws), alarms.argmin(axis=1)
    return world.missed(values[best]), bounds[best], alarms[best]


def powered(world, n, kind, draws, *, miss_rate=0.1, made_up=500):
    """(miss rates, bound, false alarms) of many calibrations by rule spi; None where it refuses."""
    rng = np.random.default_rng(n)
    odd, normal = world.abnormal(rng, draws, n)[0][:, 0], world.normal(rng, draws)[:, 0]
    scores = {
        "alike": lambda: world.abnormal(rng, draws, made_up)[0][:, 0],
        "useless": lambda: rng.normal(size=(draws, made_up)),
        "adversarial": lambda: rng.normal(1000.0, 1.0, (draws, made_up)),
    }[kind]()
    try:
        lines = [
            fit_threshold("spi", one, np.ones(n, int), miss_rate=miss_rate, synthetic=made)
            for one, made in zip(odd, scores, strict=True)
        ]
    except UserError:
        return None
    values = np.array([line.value for line in lines])
    alarms = (normal >= values[:, None]).mean(axis=-1)
    return world.missed(values), lines[0].guarantee["miss_rate_bound"], alarms


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


def chosen(world, n, way, draws, *, bound=0.1, later=20):
    """(mean miss rate, mean false alarms, bound) of a way to choose; None where no rank keeps it.

    Of `draws` calibrations with n abnormal groups, each with `later` images of both classes.
    """
    rng, rank = np.random.default_rng(n), int(bound * (n + 1) / WAYS[way] + 1e-9)
    if rank < 1:
        return None
    odd, _ = world.abnormal(rng, draws, n)
    normal, lowest = np.sort(world.normal(rng, draws), axis=-1), np.sort(odd, axis=-1)
    passed = []
    for later_scores in (world.abnormal(rng, draws, later)[0], world.normal(rng, draws)):
        scores = later_scores[..., :later]
        lines = np.broadcast_to(lowest[..., rank - 1, None], scores.shape)
        if way == "integrative":
            below = lowest[..., rank - 2, None] if rank > 1 else -np.inf
            lines = np.where(scores > lines, lines, np.maximum(scores, below))
        alarms = np.stack([_alarms(*one) for one in zip(normal, lines, strict=True)])
        best = alarms.argmin(axis=1)[:, None]
        line, score = (np.take_along_axis(of, best, axis=1) for of in (lines, scores))
        passed.append((score <= line if way == "integrative" else score < line).mean())
    return passed[0], 1 - passed[1], WAYS[way] * rank / (n + 1)


def _alarms(normal, lines):
    """Number of normal scores, ascending, at or above each line, by candidate."""
    return np.stack(
        [own.size - np.searchsorted(own, line) for own, line in zip(normal, lines, strict=True)]
    )


def choices(sizes, draws):
    """The third table as Markdown."""
    rows = ["| world | choice | " + " | ".join(f"n = {n}" for n in sizes) + " |"]
    rows.append("|" + " --- |" * (len(sizes) + 2))
    for name, make in CHOICES.items():
        for way in WAYS:
            found = [chosen(make(), n, way, draws) for n in sizes]
            cells = [
                f"{percent(one[0])} / {percent(one[2])}, {percent(one[1])}" if one else "refused"
                for one in found
            ]
            rows.append(f"| {name} | {way} | {' | '.join(cells)} |")
    return "\n".join(rows)


def percent(value):
    """A share in per cent, one decimal."""
    return f"{100 * value:.1f}"


def main():
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--ridge_draws", type=int, default=2000)
    parser.add_argument("--sizes", default="5,20,60,100,300")
    given = parser.parse_args()
    sizes = [int(n) for n in given.sizes.split(",")]
    broken, costs = tables(sizes, given.draws, given.ridge_draws)
    print(broken, costs, choices(sizes, given.draws), sep="\n\n")


def tables(sizes, draws, ridge_draws):
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
        for kind in MADE_UP if world.candidates == 1 else ():
            found = [powered(world, n, kind, draws) for n in sizes]
            title = f"| {name} | spi 10 % (mean), made-up scores {kind} |"
            means = [f"{percent(f[0].mean())} / {percent(f[1])}" if f else "refused" for f in found]
            alarms = [percent(f[2].mean()) if f else "refused" for f in found]
            broken.append(f"{title} {' | '.join(means)} |")
            costs.append(f"{title} {' | '.join(alarms)} |")
        if isinstance(world, Grouped):
            rule, options = RULES["zfn"]
            found = [simulated(world, n, rule, options, draws, by_images=True) for n in sizes]
            cells = " | ".join(_cells(one, rule)[0] for one in found)
            broken.append(f"| {name} | zfn, counted by images | {cells} |")
    for title, make in RIDGES.items() if ridge_draws else ():
        found = [ridge(make, n, ridge_draws) for n in sizes]
        means = [f"{percent(one[0])} / {percent(one[2])}" if one else "refused" for one in found]
        broken.append(f"| four columns | {title} 10 % (mean) | {' | '.join(means)} |")
        alarms = [percent(one[1]) if one else "refused" for one in found]
        costs.append(f"| four columns | {title} 10 % (mean) | {' | '.join(alarms)} |")
    return "\n".join(broken), "\n".join(costs)


def _cells(found, rule):
    if found is None:
        return "refused", "refused"
    missed, bounds, alarms = found
    if rule == "conformal_risk":
        allowed = RULES["conformal_risk 10 % (mean)"][1]["miss_rate"]
        return f"{percent(missed.mean())} / {percent(allowed)}", percent(alarms.mean())
    return percent(np.mean(missed > bounds + 1e-12)), percent(alarms.mean())


if __name__ == "__main__":
    main()
