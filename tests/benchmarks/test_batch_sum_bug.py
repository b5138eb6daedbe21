"""Sums over batches turn a perfect detector into the poster's columns."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from ad_core.metrics import oracle


@pytest.fixture(scope="module")
def bug():
    """The script as a module; it takes the first place of Python's path."""
    path = Path(__file__).parents[2] / "benchmarks" / "batch_sum_bug.py"
    spec = importlib.util.spec_from_file_location("batch_sum_bug", path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.path", ["", *sys.path])
        spec.loader.exec_module(module)
    return module


# The poster's PatchCore, ZFN / ACC / AUC in per cent, the same in all five runs, and its n of each
# class.
POSTER = {
    "hazelnut": (35, 54.29, 95.71, 92.16),
    "screw": (59, 59.32, 90.68, 84.83),
    "tile": (42, 61.90, 88.10, 81.86),
}


@pytest.mark.parametrize(("count", "zfn", "acc", "auc"), POSTER.values(), ids=POSTER)
def test_a_perfect_detector_summed_over_batches_is_the_posters_patchcore(bug, count, zfn, acc, auc):
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], count)
    scores = np.where(label == 1, 1.6, 1.4) + rng.uniform(-0.05, 0.05, 2 * count)
    assert oracle(label, scores)["auc"] == 1.0
    found = oracle(label, bug.batch_sums(label, scores))
    for figures in (found, bug.expected(count)):
        rounded = [round(100 * figures[name], 2) for name in ("zfn", "acc", "auc")]
        assert rounded == [zfn, acc, auc]


@pytest.mark.parametrize("count", [32, 14])
def test_full_batches_alone_and_a_single_one_separate_perfectly(bug, count):
    label = np.repeat([0, 1], count)
    found = oracle(label, bug.batch_sums(label, label + 1.0))
    assert bug.expected(count) == {name: found[name] for name in ("zfn", "acc", "auc")}
    assert bug.expected(count)["auc"] == 1.0


def test_sums_are_of_batches_of_one_class_in_their_order(bug):
    sums = bug.batch_sums(np.array([0, 1, 0, 0]), np.array([1.0, 10.0, 2.0, 4.0]), batch=2)
    np.testing.assert_array_equal(sums, [3.0, 10.0, 3.0, 4.0])
