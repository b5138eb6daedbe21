"""Whether the images of two folders differ before any network has seen them; Markdown.

    python benchmarks/two_folders.py --known=DIR/train/good --lot=DIR/test/good [--draws=999]

Rows: mean of a quantity of each image (grey values from 0 to 255) in both folders; share of pairs,
one of each folder, in which the lot's is higher, and the two-sided p-value of the rank-sum test.
The last lines are permutation tests on the pixels themselves: the energy distance (Szekely and
Rizzo 2013) of the images, reduced to 32 x 32, between the lot and the known ones, and between the
first and the second half of the known ones in the order of their names.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.distance import pdist, squareform
from scipy.stats import mannwhitneyu

QUANTITIES = {
    "mean grey value": lambda image: image.mean(),
    "contrast": lambda image: image.mean(axis=2).std(),
    "red less green": lambda image: (image[..., 0] - image[..., 1]).mean(),
    "red less blue": lambda image: (image[..., 0] - image[..., 2]).mean(),
    "steps across": lambda image: np.abs(np.diff(image.mean(axis=2), axis=1)).mean(),
    "steps down": lambda image: np.abs(np.diff(image.mean(axis=2), axis=0)).mean(),
}
SIDE = 32


def pictures(folder):
    """Pictures of a folder in the order of their names, as RGB."""
    return [Image.open(path).convert("RGB") for path in sorted(Path(folder).iterdir())]


def row(name, measure, known, lot):
    """A line of the table."""
    one, other = (
        np.array([measure(np.asarray(image, np.float64)) for image in images])
        for images in (known, lot)
    )
    found = mannwhitneyu(other, one)
    share = found.statistic / (one.size * other.size)
    p = "-" if np.isnan(found.pvalue) else f"{found.pvalue:.1g}"  # all pairs may tie
    return f"| {name} | {one.mean():.1f} | {other.mean():.1f} | {share:.2f} | {p} |"


def energy(distances, first):
    """Energy distance of two samples. distances: of all pairs; first: True in one sample."""
    between = distances[np.ix_(first, ~first)].mean()
    within = [distances[np.ix_(of, of)].mean() for of in (first, ~first)]
    return 2 * between - sum(within)


def permuted(known, lot, draws):
    """p-value of the energy distance, exact over `draws` permutations."""
    small = [np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BOX)) for image in known + lot]
    distances = squareform(pdist(np.stack(small).reshape(len(small), -1).astype(np.float64)))
    first, rng = np.arange(len(small)) < len(known), np.random.default_rng(0)
    found = energy(distances, first)
    drawn = [energy(distances, rng.permutation(first)) for _ in range(draws)]
    return (1 + sum(one >= found for one in drawn)) / (1 + draws)


def main():
    """Prints the table and both p-values."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--known", required=True)
    parser.add_argument("--lot", required=True)
    parser.add_argument("--draws", type=int, default=999)
    given = parser.parse_args()
    known, lot = pictures(given.known), pictures(given.lot)
    print(f"| quantity | {len(known)} known | lot of {len(lot)} | higher | p |\n|{' --- |' * 5}")
    for name, measure in QUANTITIES.items():
        print(row(name, measure, known, lot))
    half = len(known) // 2
    print(f"\nenergy distance, lot and known: p = {permuted(known, lot, given.draws):.3f}")
    halves = permuted(known[:half], known[half:], given.draws)
    print(f"energy distance, first and second half of the known: p = {halves:.3f}")


if __name__ == "__main__":
    main()
