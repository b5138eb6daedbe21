"""Order statistics by sorting, as exported programs compute them, against NumPy and bisection."""

import jax
import numpy as np

from ad_core.statistics import order


def test_sorting_and_bisection_find_the_same_values():
    rng = np.random.default_rng(0)
    signed = rng.standard_normal((3, 7, 11)).astype(np.float32)
    signed[0] = np.round(signed[0])  # many copies of few values
    rows, ranks = (signed, np.abs(signed)), ((0, 5, 38, 76), (70, 76))
    expected = [
        np.sort(row.reshape(3, -1), axis=1)[:, list(r)] for row, r in zip(rows, ranks, strict=True)
    ]
    for function in (order._by_sorting, order._by_bisection):
        found = jax.jit(lambda given, of=function: of(given, ranks=ranks))(rows)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
