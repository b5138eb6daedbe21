"""Nearest items and PatchCore's weights against brute force."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

from baselines_ad.nearest import FAR, Nearest, nearest, reweighted

RNG = np.random.default_rng(0)
BANK = RNG.normal(size=(23, 6)).astype(np.float32)
QUERIES = (RNG.normal(size=(3, 10, 6)) * 2).astype(np.float32)
weigh = jax.jit(reweighted, static_argnames="neighbours")


@pytest.mark.parametrize("block", [2**22, 30 * 7, 1])
def test_the_nearest_item_is_that_of_all_distances(block):
    distances = cdist(QUERIES.reshape(30, 6), BANK).reshape(3, 10, 23)
    got = jax.jit(nearest, static_argnames="block")(QUERIES, BANK, block=block)
    np.testing.assert_allclose(got.distance, distances.min(axis=2), rtol=1e-5)
    np.testing.assert_array_equal(got.item, distances.argmin(axis=2))


def test_distances_are_exact_far_from_the_origin_and_zero_at_an_item():
    far = BANK + 500.0
    queries = np.stack([far[None, 4], far[None, 9]])
    np.testing.assert_array_equal(jax.jit(nearest)(queries, far).distance, [[0.0], [0.0]])
    moved = queries + np.float32(0.25)
    np.testing.assert_allclose(
        jax.jit(nearest)(moved, far).distance, np.full((2, 1), 0.25 * 6**0.5)
    )


def test_no_more_distances_are_held_than_a_block():
    for block, items in ((30 * 4, 4), (30 * 23, 23)):
        text = str(jax.make_jaxpr(partial(nearest, block=block))(QUERIES, BANK))
        found = {int(size) for size in re.findall(r"f32\[3,10,(\d+)\]", text)}
        assert max(found - {6}) == items  # 6 are the coordinates


def by_hand(query, bank, neighbours):
    """Equation 7: the farthest patch, its item, and the items nearest to that."""
    distances = np.linalg.norm(bank - query, axis=1)
    item = distances.argmin()
    around = np.argsort(np.linalg.norm(bank - bank[item], axis=1))[:neighbours]
    shares = np.exp(distances[item]) / np.exp(distances[around]).sum()
    return (1 - shares) * distances[item]


@pytest.mark.parametrize("neighbours", [2, 5, 9, 40])
def test_the_weight_is_that_of_the_papers_equation(neighbours):
    queries = QUERIES[:, 0]
    found = jax.jit(nearest)(queries[:, None], BANK)
    got = weigh(queries, found, BANK, neighbours=neighbours)
    expected = [by_hand(q.astype(np.float64), BANK, neighbours) for q in queries]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_rows_that_lie_far_are_no_items():
    queries = QUERIES[:, 0]
    roomy = np.concatenate([BANK[:6], np.full((30, 6), FAR, np.float32)])
    found, alone = (jax.jit(nearest)(queries[:, None], bank) for bank in (roomy, BANK[:6]))
    np.testing.assert_array_equal(found.item, alone.item)
    for neighbours in (1, 4, 9):
        got = weigh(queries, found, roomy, neighbours=neighbours)
        expected = weigh(queries, alone, BANK[:6], neighbours=neighbours)
        np.testing.assert_allclose(got, expected, rtol=1e-6)
    single = np.concatenate([BANK[:1], np.full((5, 6), FAR, np.float32)])
    found = jax.jit(nearest)(queries[:, None], single)
    np.testing.assert_array_equal(weigh(queries, found, single, neighbours=9), found.distance[:, 0])


def test_one_neighbour_leaves_the_distance_and_large_ones_do_not_overflow():
    found = Nearest(jnp.array([[300.0]]), jnp.array([[0]], jnp.int32))
    bank = np.zeros((2, 1), np.float32)
    bank[1] = -1.0
    query = np.array([[300.0]], np.float32)
    assert weigh(query, found, bank, neighbours=1)[0] == 300.0
    # exp(300) / (exp(300) + exp(301)) by hand
    expected = 300.0 * (1 - 1 / (1 + np.e))
    assert weigh(query, found, bank, neighbours=9)[0] == pytest.approx(expected, rel=1e-5)
