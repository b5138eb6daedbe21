"""What a function gives of images is computed once within a job, and forgotten after it."""

import numpy as np
import pytest

from ad_core.runtime.inference import Begun
from ad_core.runtime.memo import begin_known, memoised

IMAGES = np.random.default_rng(0).normal(size=(6, 4, 4, 1)).astype(np.float32)


class Counting:
    """Sums and maxima of images, and how many were asked for."""

    def __init__(self):
        self.computed = 0

    def __call__(self, images):
        self.computed += len(images)
        sums, tops = images.sum(axis=(1, 2, 3)), images.max(axis=(1, 2))
        return Begun(lambda: {"sum": sums, "max": tops}, lambda: None)


def asked(function, images, names=("sum", "max"), of="network"):
    return begin_known(of, names, images, function).result()


def test_an_image_is_computed_once_wherever_it_comes_again():
    function = Counting()
    with memoised():
        first = asked(function, IMAGES[:4])
        mixed = asked(function, IMAGES[[5, 1, 4, 0]])
        again = asked(function, IMAGES[[1, 0]], names=("max",))
    assert function.computed == 6
    np.testing.assert_array_equal(mixed["sum"], IMAGES[[5, 1, 4, 0]].sum(axis=(1, 2, 3)))
    np.testing.assert_array_equal(first["max"], IMAGES[:4].max(axis=(1, 2)))
    assert list(again) == ["max"]
    np.testing.assert_array_equal(again["max"], first["max"][[1, 0]])


def test_other_functions_and_other_images_are_told_apart():
    function = Counting()
    with memoised():
        asked(function, IMAGES[:2])
        asked(function, IMAGES[:2], of="another")
        asked(function, IMAGES[:2].reshape(2, 2, 8, 1))
        asked(function, IMAGES[:2] + np.float32(1e-6))
    assert function.computed == 8


def test_outside_nothing_is_kept_and_at_the_end_all_is_forgotten():
    function = Counting()
    asked(function, IMAGES[:2])
    for _ in range(2):
        with memoised():
            asked(function, IMAGES[:2])
    asked(function, IMAGES[:2])
    assert function.computed == 8


@pytest.mark.parametrize(("room", "computed"), [(0, 8), (2 * 2 * 4, 6), (1000, 4)])
def test_what_finds_no_room_is_computed_each_time(room, computed):
    """A sum and a maximum are 4 bytes each, of every image."""
    function = Counting()
    with memoised(room):
        for _ in range(2):
            found = asked(function, IMAGES[:4])
            np.testing.assert_array_equal(found["sum"], IMAGES[:4].sum(axis=(1, 2, 3)))
    assert function.computed == computed
