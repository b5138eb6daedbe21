"""Warnings of drift on real images: how often in vain, and how often where there is drift.

    python benchmarks/drift.py --workdirs runs/magnetic_tile runs/transistor
        [--lots=1000] [--power_lots=30] [--cache=DIR] [--groups=REGEX]

Of each workdir:
- In vain: of the calibration normals, one of each group by chance, a random half is the known one
  and lots are drawn from the other, without and with 5 % defects (each image of a lot with that
  probability). Columns: share of lots with p <= 1 %, and share that is warned of. For speed of at
  most 100 statistics, drawn anew.
- Found: normal test images of the data set, as they are and changed, are measured by the detector.
  Lots of the changed ones are compared with the calibration normals ("calibration") and with others
  of the same images unchanged ("unchanged"); no image is on both sides. Share warned of. "of
  groups": a group of test images counts once, and lots are of so many groups.
- Machines: with --groups, whose parentheses find the machine in a path, lots of one machine's
  calibration normals are compared with those of all others.
"""

import argparse
import re
import sys
from itertools import product
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402
from scipy import ndimage  # noqa: E402

from ad_core.decision.drift import DEFECTS, FEWEST, LEVEL, Normals, compare_lot  # noqa: E402
from ad_core.decision.table import read_table, select  # noqa: E402
from ad_core.scoring import load_detector  # noqa: E402
from ad_core.scoring.drift import normals_of  # noqa: E402
from ad_core.scoring.files import load_parts  # noqa: E402
from ad_core.scoring.inputs import open_input  # noqa: E402

SIZES = (10, 30, 100, 300)
KNOWN, OTHERS = 150, 170  # images that a lot is compared with: in vain, and unchanged
CHANGES = {
    "unchanged": lambda image: image,
    "blur, 1 px": lambda image: ndimage.gaussian_filter(image, (1, 1, 0)),
    "light, + 10 %": lambda image: np.clip((image + 1) * 1.1 - 1, -1, 1),
    "turn, 1 degree": lambda image: ndimage.rotate(
        image, 1, axes=(1, 0), reshape=False, order=1, mode="reflect"
    ),
}


def name_of(workdir):
    """Data set of a workdir: its folder's name, or SET of a benchmark's cell SET/METHOD/SEED."""
    path = Path(workdir)
    return (path.parent.parent if path.name.isdigit() else path).name


def measured(workdir, cache, batch_size=16):
    """Change -> statistics of the normal test images so changed."""
    kept = cache and Path(cache) / f"{name_of(workdir)}.npz"
    if kept and kept.is_file():
        with np.load(kept) as arrays:
            return {name: arrays[name] for name in CHANGES}
    detector = load_detector(Path(workdir) / "detector", batch_size=batch_size)
    data = detector.parts.config.data
    source = open_input(Path(data.root) / "test" / "good", data)
    found = {}
    for name, change in CHANGES.items():
        images = (change(source.read(i).image).astype(np.float32) for i in range(len(source)))
        rows = [detector.score(image[None]).statistics for image in images]
        found[name] = np.concatenate(rows)
    if kept:
        np.savez(kept, **found)
    return found


def test_groups(workdir):
    """Group of each normal test image, in the order of `measured`."""
    table = read_table(Path(workdir) / "statistics" / "test.parquet")
    rows = np.flatnonzero(table.label == 0)
    rows = rows[np.argsort(np.array(table.path)[rows])]
    return np.array(table.group)[rows]


def known_of(workdir):
    """(the Normals of a workdir, its table of calibration)."""
    parts = load_parts(Path(workdir) / "detector")
    table = read_table(Path(workdir) / "statistics" / "calibration.parquet")
    table = select(table, table.readable)
    rows = table.label == 0
    group = np.unique(np.array(table.group)[rows], return_inverse=True)[1]
    protocol = parts.config.data.protocol
    return normals_of(parts.methods, table.values[rows], group, protocol=protocol), table


def among(normals, columns):
    """Normals of some columns alone."""
    return Normals(
        tuple(np.array(normals.names)[columns]),
        normals.values[:, columns],
        normals.group,
        *(of[columns] for of in (normals.higher, normals.lower, normals.pooled)),
    )


def of_rows(normals, rows):
    """Normals of some images alone."""
    return normals._replace(values=normals.values[rows], group=normals.group[rows])


def one_of_each(groups, rng):
    """Rows, one of each group, in random order."""
    rows = rng.permutation(len(groups))
    return rng.permutation(rows[np.unique(groups[rows], return_index=True)[1]])


def in_vain(normals, defects, size, lots, share):
    """(share of lots with p <= LEVEL, share warned of) among lots without drift."""
    rng = np.random.default_rng(size)
    pooled, others = np.flatnonzero(normals.pooled), np.flatnonzero(~normals.pooled)
    certain = warned = 0
    for _ in range(lots):
        drawn = rng.permutation(pooled)[: max(100 - others.size, 0)]
        columns = np.concatenate([others, drawn]).astype(int)
        rows = one_of_each(normals.group, rng)
        middle = len(rows) // 2
        half = of_rows(among(normals, columns), rows[: min(KNOWN, middle)])
        lot = normals.values[rows[middle:][:size]][:, columns]
        bad = np.flatnonzero(rng.random(size) < share)
        lot[bad] = defects[rng.integers(0, len(defects), bad.size)][:, columns]
        found = compare_lot(half, lot)
        certain += found.p <= LEVEL
        warned += found.drifted
    return certain / lots, warned / lots


def power(normals, unchanged, changed, groups, size, lots, *, own):
    """Share of lots warned of; None where there are too few images.

    Lots are of `size` groups, an image of each. own: compared with others of the same images
    unchanged, not with calibration.
    """
    rng, total = np.random.default_rng(size), np.unique(groups).size
    if size + (FEWEST if own else 0) > total:
        return None
    warned = 0
    for _ in range(lots):
        rows = one_of_each(groups, rng)
        known = normals
        if own:
            values = unchanged[rows[size:][:OTHERS]]
            known = normals._replace(values=values, group=np.arange(len(values)))
        warned += bool(compare_lot(known, changed[rows[:size]]).drifted)
    return warned / lots


def machines(normals, paths, pattern, size, lots):
    """Machine -> share of its lots warned of, against the normals of the others."""
    names = np.array([re.search(pattern, path).group(1) for path in paths])
    found = {}
    for name in np.unique(names):
        own, rng = np.flatnonzero(names == name), np.random.default_rng(size)
        if own.size < size:
            found[str(name)] = None
            continue
        known = of_rows(normals, names != name)
        drawn = [normals.values[rng.permutation(own)[:size]] for _ in range(lots)]
        found[str(name)] = np.mean([bool(compare_lot(known, lot).drifted) for lot in drawn])
    return found


def cell(share, digits=0):
    """A share in per cent; a dash where there are too few images."""
    return "-" if share is None else f"{100 * share:.{digits}f}"


def main():
    """Prints the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdirs", nargs="+", required=True)
    parser.add_argument("--lots", type=int, default=1000)
    parser.add_argument("--power_lots", type=int, default=30)
    parser.add_argument("--cache", default="")
    parser.add_argument("--groups", default="")
    given = parser.parse_args()
    for workdir in given.workdirs:
        report(workdir, given)


def report(workdir, given):
    """Prints the rows of one workdir."""
    name, (normals, table) = name_of(workdir), known_of(workdir)
    defects, m = table.values[table.label == 1], np.unique(normals.group).size
    sizes = [size for size in SIZES if size <= m // 2]
    for share in (0.0, DEFECTS):
        found = [in_vain(normals, defects, size, given.lots, share) for size in sizes]
        cells = [f"{cell(certain, 1)} / {cell(warned, 1)}" for certain, warned in found]
        print(f"| {name} | in vain, {cell(share)} % defects | {' | '.join(cells)} |", flush=True)
    views = measured(workdir, given.cache)
    single = np.arange(len(views["unchanged"]))
    groups = {"": single, " of groups": test_groups(workdir)}
    if np.unique(groups[" of groups"]).size == single.size:
        groups.pop(" of groups")
    for change, rows in views.items():
        for own, (kind, of) in product((False, True), groups.items()):
            given_rows = normals, views["unchanged"], rows, of
            found = [power(*given_rows, size, given.power_lots, own=own) for size in SIZES]
            against = "unchanged" if own else "calibration"
            line = " | ".join(map(cell, found))
            print(f"| {name} | {change}, against {against}{kind} | {line} |", flush=True)
    paths = [path for path, label in zip(table.path, table.label, strict=True) if label == 0]
    if given.groups and all(re.search(given.groups, path) for path in paths):
        found = [machines(normals, paths, given.groups, n, given.power_lots) for n in SIZES[:3]]
        for machine in found[0]:
            line = " | ".join(cell(one[machine]) for one in found)
            print(f"| {name} | machine {machine}, against the others | {line} |", flush=True)


if __name__ == "__main__":
    main()
