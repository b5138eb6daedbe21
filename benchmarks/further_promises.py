"""Promises of rules beside those of promises.py, on made-up scores; a Markdown table.

    python benchmarks/further_promises.py [--draws=2000] [--sizes=20,60,100,300]

- `normal_quantile`, `conformal_p`: n groups of normal images calibrate. Mean share of later groups
  with a false alarm / the mean that is allowed, in per cent.
- `np_umbrella`, `manual`: n groups of abnormal images calibrate. Share of calibrations whose miss
  rate lies above the bound stated; 10 % are allowed for `delta` 0.1, else 5.
- `each_defect`: two types of defect, n groups of each, one harder by half a standard deviation.
  Share of calibrations in which the miss rate of a type lies above the bound of that type, the
  easier one / the harder one; 5 % are allowed for each.
"""

import argparse
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402

from ad_core.decision import fit_threshold  # noqa: E402
from ad_core.errors import UserError  # noqa: E402
from benchmarks.promises import SHIFT, WORLDS, percent  # noqa: E402

QUANTILE, TARGET = 0.95, 0.05
HARDER = 0.5
ALARMS = {
    "normal_quantile 95 % (mean)": ("normal_quantile", {"normal_quantile": QUANTILE}),
    "conformal_p 5 % (mean)": ("conformal_p", {"target_fpr": TARGET}),
}
MISSES = {
    "np_umbrella 10 %, delta 0.1": ("np_umbrella", {"miss_rate": 0.1, "delta": 0.1}),
    "manual": ("manual", {"value": SHIFT - 1.5}),
}
EACH = {
    "zfn, each_defect": ("zfn", {}),
    "miss_bound 10 %, each_defect": ("miss_bound", {"miss_rate": 0.1}),
}


def alarmed(world, n, rule, options, draws):
    """(mean false-alarm rate of groups, mean allowed) of many calibrations by normal groups.

    A normal group is an abnormal one seen in a mirror: its highest score is the other's lowest.
    """
    highest = -world.abnormal(np.random.default_rng(n), draws, n)[0][:, 0]
    try:
        lines = [fit_threshold(rule, one, np.zeros(n, int), **options) for one in highest]
    except UserError:
        return None
    # An alarm is a score >= the line; in the mirror one <= minus the line.
    edges = np.nextafter(-np.array([line.value for line in lines]), np.inf)
    allowed = max(1 - QUANTILE, 1 / (n + 1)) if rule == "normal_quantile" else TARGET
    return world.missed(edges).mean(), allowed


def broken(world, n, rule, options, draws):
    """Share of calibrations whose miss rate lies above the bound that the rule states."""
    odd = world.abnormal(np.random.default_rng(n), draws, n)[0][:, 0]
    try:
        lines = [fit_threshold(rule, one, np.ones(n, int), **options) for one in odd]
    except UserError:
        return None
    bounds = np.array([line.guarantee["miss_rate_bound"] for line in lines])
    return np.mean(world.missed(np.array([line.value for line in lines])) > bounds + 1e-12)


def broken_of_types(world, n, rule, options, draws):
    """Share of calibrations in which the easier, and the harder type is missed beyond its bound."""
    rng = np.random.default_rng(n)
    easier, harder = (world.abnormal(rng, draws, n)[0][:, 0] for _ in range(2))
    # Lowered by whole steps, so that ties stay ties.
    scores = np.concatenate([easier, harder - HARDER], axis=1)
    types = np.repeat(["easier", "harder"], n)
    given = {"defects": types, "each_defect": True, **options}
    try:
        lines = [fit_threshold(rule, one, np.ones(2 * n, int), **given) for one in scores]
    except UserError:
        return None
    values = np.array([line.value for line in lines])
    missed = {"easier": world.missed(values), "harder": world.missed(values + HARDER)}
    return tuple(
        np.mean(rates > [line.guarantee["defects"][name] + 1e-12 for line in lines])
        for name, rates in missed.items()
    )


def told(found):
    """A cell: refused, or one or two shares in per cent."""
    if found is None:
        return "refused"
    return " / ".join(map(percent, found if isinstance(found, tuple) else (found,)))


def table(sizes, draws):
    """All rules in all worlds of one classifier, as Markdown."""
    rows = ["| world | rule | " + " | ".join(f"n = {n}" for n in sizes) + " |"]
    rows.append("|" + " --- |" * (len(sizes) + 2))
    for name, make in WORLDS.items():
        world = make()
        if world.candidates > 1:
            continue
        for rules, simulate in ((ALARMS, alarmed), (MISSES, broken), (EACH, broken_of_types)):
            for title, (rule, options) in rules.items():
                found = [simulate(world, n, rule, options, draws) for n in sizes]
                rows.append(f"| {name} | {title} | {' | '.join(map(told, found))} |")
    return "\n".join(rows)


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--sizes", default="20,60,100,300")
    given = parser.parse_args()
    print(table([int(n) for n in given.sizes.split(",")], given.draws))


if __name__ == "__main__":
    main()
