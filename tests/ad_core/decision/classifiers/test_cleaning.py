import numpy as np
import pytest
from scipy.stats import spearmanr

from ad_core.decision.classifiers.cleaning import CleanTable
from ad_core.errors import UserError


def table(n=30, k=6):
    return np.random.default_rng(0).normal(size=(n, k)).astype(np.float32)


def test_a_finite_varying_table_passes_unchanged():
    clean = table()
    np.testing.assert_array_equal(CleanTable().fit_transform(clean), clean)


def test_infinite_values_lie_one_range_beyond_and_missing_ones_at_the_median():
    column = np.array([1.0, 2.0, 4.0, np.inf, -np.inf, np.nan])[:, None]
    cleaned = CleanTable().fit_transform(column)
    np.testing.assert_array_equal(cleaned[:, 0], np.float32([1, 2, 4, 7, -2, 2]))


def test_new_rows_are_cleaned_by_what_was_learnt():
    step = CleanTable().fit(np.array([[0.0, 5.0], [1.0, 7.0], [2.0, 3.0]]))
    cleaned = step.transform(np.array([[np.nan, np.inf], [9.0, 1e300]]))
    np.testing.assert_array_equal(cleaned, np.float32([[1, 11], [9, 11]]))


def test_constant_and_empty_columns_are_dropped():
    dirty = np.column_stack([table(), np.full(30, 3.0), np.full(30, np.nan), np.arange(30)])
    assert CleanTable().fit(dirty).kept_.tolist() == [0, 1, 2, 3, 4, 5, 8]


def test_of_two_columns_with_like_ranks_the_later_is_dropped():
    base = table()
    doubled = np.column_stack([base, -np.exp(base[:, 2]), base[:, 0] + 0.2 * base[:, 1]])
    kept = CleanTable(max_correlation=0.95).fit(doubled).kept_
    rho = np.abs(spearmanr(doubled).statistic)
    assert rho[2, 6] == pytest.approx(1.0) and rho[0, 7] > 0.95
    assert kept.tolist() == [0, 1, 2, 3, 4, 5]
    assert 7 in CleanTable(max_correlation=rho[0, 7] + 1e-6).fit(doubled).kept_


def test_one_extreme_image_does_not_make_two_columns_alike():
    wild = table()
    wild[0] = 1e6
    assert CleanTable().fit(wild).kept_.size == 6


def test_float64_and_float32_rows_give_the_same_bits():
    rows = np.random.default_rng(1).normal(size=(20, 3))
    step = CleanTable().fit(rows)
    out = step.transform(rows)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, step.transform(rows.astype(np.float32)))


def test_a_row_is_unmeasured_if_it_misses_what_no_row_missed():
    rows = table()
    rows[3, 1] = np.nan
    step = CleanTable().fit(rows)
    new = table(3)
    new[0, 1], new[1, 2] = np.nan, np.nan
    assert step.unmeasured(new).tolist() == [False, True, False]


def test_a_table_in_which_nothing_varies_is_refused():
    with pytest.raises(UserError, match="None of the 2 statistics varies"):
        CleanTable().fit(np.ones((5, 2)))


def test_the_side_that_is_not_abnormal_becomes_the_median():
    rows = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [6.0, 6.0, 6.0]])
    cleaned = CleanTable(max_correlation=1.0, ends=[1, -1, 0]).fit_transform(rows)
    by_hand = np.float32([[2, 1, 1], [2, 2, 2], [6, 2, 6]])
    np.testing.assert_array_equal(cleaned, by_hand)
