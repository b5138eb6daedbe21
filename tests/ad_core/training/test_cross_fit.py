"""Folds that keep groups whole and classes even, and states of parts of the images."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_core.runtime.registry import resolve
from ad_core.training.cross_fit import choose, fit_parts, make_folds, only
from ad_core.types import Batch
from tests.small_config import small_config


def batches_of(images, labels, size=4):
    for first in range(0, len(images), size):
        own = images[first : first + size]
        image = np.full((size, *images.shape[1:]), 0.9, np.float32)
        image[: len(own)] = own
        label = np.zeros(size, np.int32)
        label[: len(own)] = labels[first : first + size]
        places = np.arange(size)
        index = np.where(places < len(own), first + places, -1).astype(np.int32)
        yield Batch(image, label, places < len(own), index)


def test_single_images_are_dealt_evenly_by_class():
    labels = np.repeat([0, 1], [23, 7])
    fold = make_folds(labels, np.arange(30), folds=5, seed=0)
    counts = [np.bincount(fold[labels == kind], minlength=5) for kind in (0, 1)]
    assert sorted(counts[0]) == [4, 4, 5, 5, 5] and sorted(counts[1]) == [1, 1, 1, 2, 2]


def test_the_seed_alone_draws_the_folds():
    labels, groups = np.repeat([0, 1], [20, 10]), np.arange(30) // 2
    first, again, other = (make_folds(labels, groups, folds=4, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_no_more_folds_are_made_than_there_are_groups():
    assert set(make_folds(np.zeros(6, int), np.arange(6) // 2, folds=5, seed=0)) == {0, 1, 2}


@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=50),
    st.integers(2, 6),
    st.integers(0, 3),
)
def test_groups_stay_together_and_no_class_of_two_groups_lies_in_one_fold(images, folds, seed):
    groups, labels = (np.array(x) for x in zip(*images, strict=True))
    fold = make_folds(labels.astype(int), groups, folds=folds, seed=seed)
    assert fold.min() >= 0 and len(set(fold)) == fold.max() + 1 <= folds
    for group in set(groups):
        assert len(set(fold[groups == group])) == 1
    for kind in (False, True):
        # Where each image is its own group or only abnormal groups count, two folds hold them.
        if kind and len(set(groups[labels])) > 1:
            assert len(set(fold[labels])) > 1


def test_large_groups_are_dealt_before_small_ones():
    sizes = [1] * 8 + [4, 4]
    groups = np.repeat(np.arange(10), sizes)
    fold = make_folds(np.zeros(16, int), groups, folds=4, seed=3)
    np.testing.assert_array_equal(np.bincount(fold), [4, 4, 4, 4])


def test_rows_are_counted_over_batches_and_padding_is_never_chosen():
    part = np.array([1, 0, 1, 1, 0, 1], bool)
    images, labels = np.arange(6, dtype=np.float32).reshape(6, 1, 1, 1), np.zeros(6, int)
    found = list(only(batches_of(images, labels), part))
    kept = np.concatenate([batch.index[batch.valid] for batch in found])
    assert kept.tolist() == [0, 2, 3, 5] and [len(batch.valid) for batch in found] == [4, 4]
    valid = np.array([1, 0, 1, 0], bool)
    assert choose(valid, part, 3).tolist() == [True, False, False, False]
    assert valid.tolist() == [True, False, True, False]


@pytest.mark.parametrize("toy", ["flat", "recalling"])
def test_a_state_of_a_part_is_that_of_a_pass_over_its_images_alone(toy):
    config = small_config(method=f"tests.toys.{toy}", data={"image_size": 8})
    learn = resolve(config.method).make(config).learn
    rng = np.random.default_rng(0)
    images, labels = rng.uniform(-1, 1, (10, 8, 8, 1)).astype(np.float32), np.arange(10) % 2
    parts = rng.uniform(size=(3, 10)) < 0.6
    states = list(fit_parts(learn, lambda: batches_of(images, labels), parts, seed=4))
    for part, state in zip(parts, states, strict=True):
        alone = learn.fit(batches_of(images[part], labels[part]), jax.random.key(4))
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(alone), strict=True):
            assert isinstance(a, np.ndarray)
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def test_a_method_that_fits_parts_itself_is_asked_once_and_one_state_at_a_time():
    config = small_config(method="tests.toys.flat", data={"image_size": 8})
    learn, made = resolve(config.method).make(config).learn, []

    def own(batches, parts, key):
        for number, part in enumerate(parts):
            made.append(number)
            yield learn.fit(only(batches(), part), key)

    images, labels = np.zeros((6, 8, 8, 1), np.float32), np.zeros(6, int)
    parts = ~np.eye(6, dtype=bool)
    states = fit_parts(
        learn._replace(fit_parts=own), lambda: batches_of(images, labels), parts, seed=0
    )
    assert made == []
    next(states)
    assert made == [0]
    assert len(list(states)) == 5 and made == [0, 1, 2, 3, 4, 5]
