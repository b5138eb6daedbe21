"""The coreset against a greedy choice written out, and the sample that it is taken of."""

import jax
import jax.numpy as jnp
import numpy as np

from baselines_ad.coreset import Reservoir, k_centres, k_centres_compiled, project


def greedy(points, start, size):
    """Algorithm 1 of PatchCore, a distance at a time."""
    chosen = [start]
    while len(chosen) < size:
        nearest = [min(np.linalg.norm(p - points[c]) for c in chosen) for p in points]
        chosen.append(int(np.argmax(nearest)))
    return chosen


def test_the_order_is_that_of_a_choice_written_out():
    points = np.random.default_rng(1).normal(size=(60, 4)).astype(np.float32)
    got = k_centres_compiled(points, jnp.int32(7), size=15, most=15)
    assert list(got) == greedy(points.astype(np.float64), 7, 15)
    assert list(k_centres(jnp.asarray(points), jnp.int32(7), size=15, most=15)) == list(got)


def test_corners_of_a_square_are_chosen_before_what_lies_between():
    points = np.array([[0, 0], [5, 5], [10, 0], [4, 1], [0, 10], [10, 10]], np.float32)
    got = k_centres_compiled(points, jnp.int32(0), size=4, most=4)
    assert list(got) == [0, 5, 2, 4]


def test_all_points_can_be_chosen_each_once():
    points = np.random.default_rng(2).normal(size=(20, 3)).astype(np.float32)
    assert sorted(np.asarray(k_centres_compiled(points, jnp.int32(3), size=20, most=20))) == list(
        range(20)
    )


def test_room_and_copies_of_the_first_point_change_no_choice():
    points = np.random.default_rng(4).normal(size=(50, 3)).astype(np.float32)
    alone = k_centres_compiled(points, jnp.int32(6), size=9, most=9)
    copied = np.concatenate([points, np.tile(points[6], (14, 1))])
    roomy = k_centres_compiled(copied, jnp.int32(6), size=9, most=12)
    np.testing.assert_array_equal(roomy[:9], alone)


def sampled(patches, size, sizes):
    reservoir, first = Reservoir(size, jax.random.key(5)), 0
    for count in sizes:
        reservoir.add(patches[first : first + count])
        first += count
    assert reservoir.seen == first
    return reservoir.patches()


def test_the_sample_does_not_depend_on_the_batches():
    patches = np.arange(3000, dtype=np.float32).reshape(1000, 3)
    whole = sampled(patches, 100, [1000])
    np.testing.assert_array_equal(whole, sampled(patches, 100, [1, 499, 30, 470]))
    assert len(np.unique(whole[:, 0])) == 100
    assert (np.diff(whole[:, 0]) > 0).all()


def test_the_sample_takes_early_and_late_patches_alike():
    patches = np.arange(20_000, dtype=np.float32)[:, None]
    kept = sampled(patches, 2000, [1000] * 20)[:, 0]
    counts, _ = np.histogram(kept, bins=10, range=(0, 20_000))
    assert (abs(counts - 200) < 70).all()  # five standard deviations of a draw of 10 %


def test_fewer_patches_than_the_sample_may_hold_are_all_kept():
    patches = np.arange(30, dtype=np.float32).reshape(10, 3)
    np.testing.assert_array_equal(sampled(patches, 100, [4, 6]), patches)
    assert sampled(patches, 100, []).shape == (0, 0)


def test_a_projection_keeps_distances_on_average_and_none_keeps_the_points(key):
    points = np.random.default_rng(3).normal(size=(40, 300)).astype(np.float32)
    flat = np.asarray(project(points, key, width=128))
    assert flat.shape == (40, 128)
    ratio = np.linalg.norm(flat[:20] - flat[20:], axis=1)
    ratio /= np.linalg.norm(points[:20] - points[20:], axis=1)
    assert abs(ratio.mean() - 1) < 0.06 and (abs(ratio - 1) < 0.3).all()
    np.testing.assert_array_equal(project(points, key, width=0), points)
    np.testing.assert_array_equal(project(points, key, width=300), points)
