"""Choosing among classifiers under a proof: false alarms at the same mean bound; a table.

    python benchmarks/integrative.py --workdirs runs/a runs/b [--splits=8] [--bound=0.1]

The readable calibration rows of each workdir are divided by group: two thirds calibrate, one third
judges. Every form promises that an abnormal part passes with a probability of at most the bound, as
the mean over calibrations, and has a proof. A cell gives missed groups / bound kept, then false
alarms, in per cent, mean over the splits; "refused" where no rank keeps the bound.
- `one ridge`: the classifier conformal_ridge, which chooses among five penalties with the image
  among the abnormal ones.
- `ridges`: the same choice among ridges of all columns, of features alone and of the others alone.
- `and Gaussian`: among these and ridges with a Gaussian kernel.
- `split`: half of the abnormal groups teach each of CANDIDATES, the other half ranks; the choice is
  made anew for each image, with it among those that rank, by normals that the classifier scored
  had not learnt. `split, best`: the candidate that was best on the third that judges, no choice at
  all, which a choice can hardly beat.
- `CV+, best`: five folds, each row compared with an abnormal image by the classifier of the fold
  that left it out; the candidate that was best on the third that judges. The bound is twice the
  rank's share (and a little more, left out here in its favour).
"""

import argparse
import sys
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402

from ad_core.decision import fit_classifier, make_classifier  # noqa: E402
from ad_core.decision.classifiers.deep_head import DeepHead  # noqa: E402
from ad_core.decision.classifiers.fitting import imputed_score  # noqa: E402
from ad_core.decision.classifiers.grouped_folds import grouped_folds  # noqa: E402
from ad_core.decision.table import read_table, select  # noqa: E402
from ad_core.statistics import is_feature  # noqa: E402

CANDIDATES = ("logistic_regression", "svm", "k_nn", "extra_trees")
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
TAIL, FLOOR, FOLDS, INNER = 0.2, 1e-2, 5, 3


def alarms(values, odd):
    """False alarms at each of the lowest abnormal values, summed; for each leading index."""
    lowest = np.sort(values[..., odd], axis=-1)[..., : int(np.ceil(TAIL * odd.sum()))]
    normal = np.sort(values[..., ~odd], axis=-1)
    return (normal[..., None] >= lowest[..., None, :]).sum(axis=(-2, -1))


def kernels(rows, later, features, normal, gaussian):
    """(kernel of the rows, of later rows with them, of later rows with themselves), each kind.

    Columns are scaled by the variance of normals with a floor; of the mean kernel half is the
    features' and half the others'.
    """
    found = []
    for part in (features, ~features):
        variance = rows[normal][:, part].var(axis=0)
        scale = np.sqrt((variance + FLOOR * variance.mean()) * part.sum())
        mean = rows[normal][:, part].mean(axis=0)
        a, b = (rows[:, part] - mean) / scale, (later[:, part] - mean) / scale
        found.append((a @ a.T, b @ a.T, np.square(b).sum(axis=1)))
    both = tuple((one + other) / 2 for one, other in zip(*found, strict=True))
    linear = [tuple(1.0 + of for of in one) for one in (both, *found)]
    return [*linear, *map(_gaussian, (both, *found))] if gaussian else linear


def _gaussian(kernel):
    """Gaussian kernel of a linear one, as wide as the median distance; 1 is added for a level."""
    inside, across, own = kernel
    squares = np.diag(inside)
    near = squares[:, None] + squares - 2 * inside
    width = np.median(near)
    between = own[:, None] + squares - 2 * across
    return 1 + np.exp(-near / width), 1 + np.exp(-between / width), np.full(len(own), 2.0)


def conformal(kernel, targets, penalty):
    """Leave-one-out values of the rows with each later row added, and its own, [t, n + 1]."""
    inside, across, own = kernel
    inverse = np.linalg.inv(inside + penalty * np.eye(len(inside)))
    carried = across @ inverse
    value = carried @ targets
    rest = (own + penalty - (across * carried).sum(axis=1))[:, None]
    weights = inverse @ targets + carried * (value[:, None] - 1) / rest
    left_out = targets - weights / (np.diag(inverse) + np.square(carried) / rest)
    return np.column_stack([left_out, value])


def chosen_rank(values, odd):
    """Abnormal values no higher than the last, by the candidate with the fewest alarms, [t].

    Args:
        values: [candidates, t, n + 1], the last column of the row itself. odd: [n].
    """
    with_row = np.append(odd, True)
    best = np.argmin([alarms(one, with_row) for one in values], axis=0)
    chosen = values[best, np.arange(values.shape[1])]
    return (chosen[:, :-1][:, odd] <= chosen[:, -1:]).sum(axis=1)


def ridges(rows, labels, later, features, groups):
    """Form -> (rank of each later row, abnormal groups, factor of the proof)."""
    kept = first_of_groups(labels, groups)
    rows, labels = rows[kept], labels[kept]
    kinds = kernels(rows, later, features, labels == 0, True)
    targets = np.where(labels == 1, 1.0, -1.0)
    values = np.stack([[conformal(kind, targets, p) for p in PENALTIES] for kind in kinds])
    odd = labels == 1
    forms = {"one ridge": values[:1], "ridges": values[:3], "and Gaussian": values}
    return {
        name: (chosen_rank(of.reshape(-1, *of.shape[2:]), odd), odd.sum(), 1)
        for name, of in forms.items()
    }


def first_of_groups(labels, groups):
    """Normal rows of groups without an abnormal one, and an abnormal row of each other group."""
    odd = np.flatnonzero(labels == 1)
    _, first = np.unique(groups[odd], return_index=True)
    return np.sort(np.append(odd[first], np.flatnonzero(~np.isin(groups, groups[odd]))))


def scores_of(table, names, labels, groups, fit, score):
    """Score of the rows `score` by each of CANDIDATES, fitted on the rows `fit`, [c, rows]."""
    places = np.flatnonzero([is_feature(name) for name in names])
    head = DeepHead(places, folds=INNER)
    inside = head.fit_transform(table[fit], labels[fit], groups[fit])
    outside, short = head.transform(table[score]), head.reduced_names(names)
    made = [make_classifier(name, names=short) for name in CANDIDATES]
    fitted = [fit_classifier(one, inside, labels[fit], groups=groups[fit]) for one in made]
    return np.stack([imputed_score(one, outside) for one in fitted])


def split(table, names, labels, groups, fit, judge, seed):
    """(scores of ranking groups and normals, of the rows that judge, which of the former rank)."""
    odd = np.unique(groups[fit][labels[fit] == 1])
    rank = np.random.default_rng(seed).permutation(odd)[: odd.size // 2]
    ranks = fit[np.isin(groups[fit], rank) & (labels[fit] == 1)]
    teach = fit[~np.isin(groups[fit], rank)]
    found = scores_of(table, names, labels, groups, teach, np.append(ranks, judge))
    own = np.empty((len(CANDIDATES), teach.size))
    for inner, out in grouped_folds(labels[teach], groups[teach], folds=INNER, seed=seed):
        own[:, out] = scores_of(table, names, labels, groups, teach[inner], teach[out])
    normal = own[:, labels[teach] == 0]
    lowest = [
        np.array([one[groups[ranks] == g].min() for g in np.unique(groups[ranks])])
        for one in found[:, : ranks.size]
    ]
    known = np.column_stack([np.stack(lowest), normal])
    return known, found[:, ranks.size :], np.arange(known.shape[1]) < len(lowest[0])


def cross(table, names, labels, groups, fit, judge, seed):
    """Rank of the rows that judge among the abnormal rows, by each candidate, [c, rows]."""
    rank = np.zeros((len(CANDIDATES), judge.size))
    for inner, out in grouped_folds(labels[fit], groups[fit], folds=FOLDS, seed=seed):
        left = fit[out][labels[fit[out]] == 1]
        found = scores_of(table, names, labels, groups, fit[inner], np.append(left, judge))
        own, later = found[:, : left.size], found[:, left.size :]
        rank += (own[:, None] <= later[..., None]).sum(axis=-1)
    return rank


def pool_of(workdir):
    """(values, names, labels, groups) of the calibration rows that could be read."""
    table = read_table(Path(workdir) / "statistics" / "calibration.parquet")
    table = select(table, table.readable)
    return table.values.astype(np.float64), table.names, table.label, np.array(table.group)


def compared(pool, bound, seed):
    """Form -> (missed groups, false alarms, bound kept) of one split, None where it refuses."""
    table, names, labels, groups = pool
    features = np.array([is_feature(name) for name in names])
    fit, judge = grouped_folds(labels, groups, folds=3, seed=seed)[0]
    forms = ridges(table[fit], labels[fit], table[judge], features, groups[fit])
    known, later, odd = split(*pool, fit, judge, seed)
    values = np.stack(
        [
            np.column_stack([np.tile(one, (judge.size, 1)), own])
            for one, own in zip(known, later, strict=True)
        ]
    )
    forms["split"] = chosen_rank(values, odd), odd.sum(), 1
    each = (values[..., :-1][..., odd] <= values[..., -1:]).sum(axis=-1)
    n = np.unique(groups[fit][labels[fit] == 1]).size
    kept = labels[judge], groups[judge], bound
    found = {name: figures(form, *kept) for name, form in forms.items()}
    for title, ranks, many, factor in (
        ("split, best", each, odd.sum(), 1),
        ("CV+, best", cross(*pool, fit, judge, seed), n, 2),
    ):
        own = [figures((one, many, factor), *kept) for one in ranks]
        found[title] = min(own, key=lambda one: one[1]) if own[0] else None
    return found


def figures(form, labels, groups, bound):
    """(missed groups, false alarms, bound kept), or None where no rank keeps the bound."""
    ranks, n, factor = form
    rank = int(bound * (n + 1) / factor + 1e-9)
    if rank < 1:
        return None
    odd, passed = labels == 1, ranks < rank
    missed = np.unique(groups[odd & passed]).size / np.unique(groups[odd]).size
    return missed, 1 - passed[~odd].mean(), factor * rank / (n + 1)


def row(workdir, found):
    """A line of the table."""
    cells = []
    for name in found[0]:
        own = [one[name] for one in found if one[name]]
        mean = 100 * np.mean(own, axis=0) if own else None
        cells.append("refused" if mean is None else "{0:.1f} / {2:.1f}, {1:.1f}".format(*mean))
    return f"| {Path(workdir).name} | {len(found)} | {' | '.join(cells)} |"


def main():
    """Prints the table, a workdir at a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdirs", nargs="+", required=True)
    parser.add_argument("--splits", type=int, default=8)
    parser.add_argument("--bound", type=float, default=0.1)
    given = parser.parse_args()
    for number, workdir in enumerate(given.workdirs):
        pool = pool_of(workdir)
        found = [compared(pool, given.bound, seed) for seed in range(given.splits)]
        if not number:
            print(f"| set | splits | {' | '.join(found[0])} |\n|" + " --- |" * (len(found[0]) + 2))
        print(row(workdir, found), flush=True)


if __name__ == "__main__":
    main()
