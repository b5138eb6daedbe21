"""Registration: as scikit-image finds it, and refused where nothing fits."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from ad_core.data.registration import FINE, Motion, likeness, phase_shift, register
from ad_core.errors import UserError

SIZE = (96, 128)


def part(seed=0):
    """A part in the middle of an even ground, without any symmetry."""
    rng = np.random.default_rng(seed)
    texture = ndimage.gaussian_filter(rng.normal(size=SIZE), 3)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    inside = ((y - 48) / 26) ** 2 + ((x - 60) / 38) ** 2 < 1
    image = np.where(inside, 0.4 + 2 * texture, -0.6)
    image[40:50, 70:90] = 0.9
    return ndimage.gaussian_filter(image, 1).astype(np.float32)


def moved(image, degrees, down, right):
    """By SciPy's own rotate and shift."""
    turned = ndimage.rotate(image, degrees, reshape=False, order=1, mode="nearest")
    return ndimage.shift(turned, (down, right), order=1, mode="nearest")


@pytest.mark.parametrize("shift", [(0, 0), (5, -9), (-3.25, 2.5), (7.4, 0.6)])
def test_a_shift_is_the_one_that_scikit_image_finds(shift):
    reference = part()
    image = ndimage.shift(reference, shift, order=3, mode="nearest")
    wanted, _, _ = phase_cross_correlation(reference, image, upsample_factor=FINE)
    np.testing.assert_allclose(phase_shift(image, reference), wanted, atol=1e-9)
    np.testing.assert_allclose(wanted, [-x for x in shift], atol=0.25)


def test_two_noisy_images_shift_as_scikit_image_says():
    rng = np.random.default_rng(1)
    reference = part() + rng.normal(0, 0.05, SIZE)
    image = np.roll(part(), (4, -6), (0, 1)) + rng.normal(0, 0.05, SIZE)
    wanted, _, _ = phase_cross_correlation(reference, image, upsample_factor=FINE)
    np.testing.assert_allclose(phase_shift(image, reference), wanted, atol=1e-9)


@pytest.mark.parametrize("motion", [(0, 6, -4), (9, 0, 0), (-25, 3, 5), (170, -4, 2), (90, 0, 0)])
def test_a_turned_and_shifted_part_is_brought_back(motion):
    reference = part()
    image = moved(reference, *motion).astype(np.float32)
    found = register(image, reference)
    apart = (found.degrees + motion[0] + 180) % 360 - 180
    assert abs(apart) < 1.0
    again = found(image)
    assert likeness(again, reference) > 0.95
    middle = slice(15, -15), slice(20, -20)
    assert np.abs(again - reference)[middle].mean() < 0.06


def test_without_a_turn_none_is_sought():
    image = moved(part(), 0, 3, 7).astype(np.float32)
    found = register(image, part(), turn=False)
    assert found.degrees == 0 and (found.down, found.right) == pytest.approx((-3, -7), abs=0.1)


def test_a_motion_moves_as_scipy_does_and_tells_where_a_place_came_from():
    image, motion = part(), Motion(20.0, 4.0, -3.0)
    np.testing.assert_allclose(motion(image), moved(image, 20, 4, -3), atol=0.12)
    spot = np.zeros(SIZE, np.float32)
    spot[30, 80] = 1
    spot = ndimage.gaussian_filter(spot, 1.5)
    y, x = np.unravel_index(motion(spot).argmax(), SIZE)
    assert np.allclose(motion.back(float(y), float(x), SIZE), (30, 80), atol=1.0)


def test_nothing_moves_an_image_that_lies_as_the_reference():
    found = register(part(), part())
    assert (found.degrees, found.down, found.right) == pytest.approx((0, 0, 0), abs=1e-6)


@pytest.mark.parametrize("other", ["noise", "flat", "another part"])
def test_what_is_not_like_the_reference_is_refused(other):
    image = {
        "noise": np.random.default_rng(5).normal(size=SIZE).astype(np.float32),
        "flat": np.zeros(SIZE, np.float32),
        "another part": np.rot90(part(7)[:, :96], 1).repeat(2, 1)[:, :128] * -1,
    }[other]
    with pytest.raises(UserError, match="not like the reference after registration"):
        register(np.ascontiguousarray(image), part())
