import numpy as np
import pytest

from ad_core.data.alike import (
    centred,
    chance_of_order,
    cut_runs,
    follower_ranks,
    near_copies,
    orders,
)


def volumes(rng, *, count=12, slices=6, spread=0.4, side=24):
    """Rows of volumes one after the other: what a volume has in common, and each slice's own."""
    common = np.repeat(rng.standard_normal((count, side)), slices, axis=0)
    return centred((common + spread * rng.standard_normal(common.shape)).astype(np.float32))


def test_names_are_ordered_by_whole_numbers_and_by_the_last_one():
    names = ["a/x10.png", "a/x9.png", "b/x1.png"]
    assert orders(names)["name"].tolist() == [1, 0, 2]
    bursts = ["exp1_num_30.jpg", "exp1_num_7.jpg", "exp2_num_9.jpg", "exp2_num_31.jpg"]
    assert orders(bursts)["number"].tolist() == [1, 2, 0, 3]


def test_the_rank_of_a_follower_is_the_share_of_strangers_that_are_nearer():
    # On a circle 0, 10, 20, ... degrees: besides the follower only the one before is as near.
    angle = np.deg2rad(10 * np.arange(36))
    rows = np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    ranks = follower_ranks(rows, np.random.default_rng(0))
    assert (ranks == 0).all()
    # Every other one: those between are nearer, 0 (itself), 10 and -10 of the 34 others.
    halves = np.concatenate([np.arange(0, 36, 2), np.arange(1, 36, 2)])
    ranks = follower_ranks(rows[halves], np.random.default_rng(0))
    assert np.allclose(np.delete(ranks, 17), 2 / 34)


def test_a_permutation_test_knows_volumes_from_strangers():
    rng = np.random.default_rng(1)
    found, strangers = volumes(rng), volumes(rng, slices=1, count=72)
    assert np.median(follower_ranks(found, rng)) < 0.1
    assert np.median(follower_ranks(strangers, rng)) > 0.3
    assert chance_of_order([found], rng) == 1 / 200
    assert chance_of_order([found, strangers], rng) == 1 / 200
    assert chance_of_order([strangers], rng) > 0.01


def test_runs_are_the_volumes():
    rng = np.random.default_rng(2)
    runs = cut_runs(volumes(rng, count=20, spread=0.2), rng)
    truth = np.repeat(np.arange(20), 6)
    within = truth[:-1] == truth[1:]
    joined = runs[:-1] == runs[1:]
    assert joined[within].all()
    assert joined[~within].mean() < 0.4  # three pairs across, each alike by accident once in ten


def test_copies_are_joined_by_chains_and_counted_beside_what_is_merely_alike():
    rng = np.random.default_rng(3)
    own = rng.standard_normal((30, 50)).astype(np.float32)
    rows = centred(np.concatenate([own, own[:3] + 0.01, own[:2] * 1.5]))
    number, near, around = near_copies(rows)
    assert near == around == 3 * 2 + 1  # two triples, each of three pairs, and one pair
    assert number[0] == number[30] == number[33] and number[2] == number[32]
    assert len(np.unique(number)) == 30


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_copies_do_not_depend_on_the_blocks(monkeypatch, block):
    monkeypatch.setattr("ad_core.data.alike.BLOCK", block)
    rows = volumes(np.random.default_rng(4), spread=0.05)
    number, near, _ = near_copies(rows)
    assert near == 12 * 15 and len(np.unique(number)) == 12


def test_flat_images_are_no_copies_of_each_other():
    rows = centred(np.zeros((5, 8), np.float32))
    assert near_copies(rows)[1:] == (0, 0)
