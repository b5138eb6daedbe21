"""Made-up defects: what they change, and what they leave."""

import numpy as np
import pytest
from scipy import ndimage

from ad_core.data.synthetic.defects import KINDS, Defect, fill, make_defect, refilled
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults

SHAPES = [(64, 64, 1), (40, 72, 3), (33, 20, 3), (8, 8, 1)]


def textured(shape, seed=0):
    """16-bit values of a smooth texture, in [-1, 1]."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), (2, 2, 0))
    levels = np.round((noise / np.abs(noise).max() + 1) / 2 * 65535)
    return (levels / 65535 * 2 - 1).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_mask_is_where_the_image_changed_and_all_else_keeps_its_bits(kind, shape):
    image = textured(shape)
    before = image.copy()
    for seed in range(5):
        defect = make_defect(kind, image, np.random.default_rng(seed))
        assert defect.image.shape == shape and defect.image.dtype == np.float32
        assert np.abs(defect.image).max() <= 1.0
        np.testing.assert_array_equal(defect.mask, (defect.image != image).any(axis=-1))
        assert defect.mask.mean() < 0.5
        np.testing.assert_array_equal(image, before)
    if min(shape[:2]) > 8:
        assert defect.mask.any()


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_gives_the_same_bits_and_another_another_defect(kind):
    image = textured((48, 48, 3))
    first, again, other = (make_defect(kind, image, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.image, again.image)
    assert (first.image != other.image).any()


@pytest.mark.parametrize("kind", KINDS)
def test_grey_image_in_three_channels_stays_grey(kind):
    image = np.repeat(textured((48, 48, 1)), 3, axis=-1)
    for seed in range(6):
        drawn = make_defect(kind, image, np.random.default_rng(seed)).image
        np.testing.assert_array_equal(drawn[..., :1], drawn[..., 1:2])
        np.testing.assert_array_equal(drawn[..., :1], drawn[..., 2:])


def test_pasted_piece_is_a_rectangle_that_stands_elsewhere_in_the_image():
    image = np.random.default_rng(3).uniform(-0.7, 0.7, (16, 16, 1)).astype(np.float32)
    image_after, mask = make_defect("cut_paste", image, np.random.default_rng(0))
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    h, w = len(rows), len(columns)
    assert mask.sum() == h * w and h * w >= 4
    piece = image_after[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1, 0].ravel()
    misfits = []
    for i in range(16 - h + 1):
        for j in range(16 - w + 1):
            source = image[i : i + h, j : j + w, 0].ravel()
            gain, offset = np.polyfit(source, piece, 1)
            misfits.append((np.abs(gain * source + offset - piece).max(), gain, offset))
    misfit, gain, offset = min(misfits)
    assert misfit < 1e-5 and 0.9 <= gain <= 1.1 and abs(offset) <= 0.1


def test_scratch_is_one_line_of_one_shift():
    image = np.zeros((64, 64, 1), np.float32)
    after, mask = make_defect("scratch", image, np.random.default_rng(0))
    assert ndimage.label(mask, np.ones((3, 3)))[1] == 1
    assert np.unique(after[mask]).size == 1 and 0.3 <= abs(after[mask][0, 0]) <= 1.0


def test_texture_is_one_island():
    after, mask = make_defect("texture", textured((96, 96, 3)), np.random.default_rng(0))
    assert ndimage.label(mask)[1] == 1 and mask.sum() >= 4


def test_filling_continues_a_ramp_as_if_nothing_had_been_missing():
    # A plane is harmonic: what is filled is what was there.
    rows, columns = np.indices((20, 24))
    plane = (0.03 * rows - 0.02 * columns)[..., None].astype(np.float32)
    plane = np.concatenate([plane, -plane], axis=-1)
    mask = np.zeros((20, 24), bool)
    mask[5:12, 6:15] = mask[3, 3] = True
    broken = np.where(mask[..., None], np.float32(0.9), plane)
    np.testing.assert_allclose(fill(broken, mask), plane, atol=1e-6)
    np.testing.assert_array_equal(fill(broken, mask)[~mask], plane[~mask])


def test_filling_at_the_edge_takes_the_rim_that_there_is():
    image = np.full((6, 6, 1), 0.25, np.float32)
    mask = np.zeros((6, 6), bool)
    mask[:3, :] = True
    image[mask] = -1.0
    np.testing.assert_allclose(fill(image, mask), 0.25, atol=1e-6)


@pytest.mark.parametrize("whole", [True, False])
def test_filling_without_a_rim_changes_nothing(whole):
    image = textured((6, 6, 1))
    np.testing.assert_array_equal(fill(image, np.full((6, 6), whole)), image)


def test_missing_part_of_a_flat_image_is_no_defect():
    flat = np.full((32, 32, 1), -1.0, np.float32)
    assert not make_defect("missing", flat, np.random.default_rng(0)).mask.any()


def test_defect_is_drawn_where_it_can_be_seen():
    # All but a patch is flat: a part that is missed there shows nothing.
    image = np.zeros((64, 64, 1), np.float32)
    image[16:48, 16:48] = np.random.default_rng(0).uniform(-1, 1, (32, 32, 1))
    drawn = [make_defect("missing", image, np.random.default_rng(seed)) for seed in range(20)]
    seen = [np.abs(d.image - image)[d.mask].mean() > 0.1 for d in drawn if d.mask.any()]
    assert len(seen) >= 18 and np.mean(seen) > 0.9


def test_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="dent.*known: cut_paste"):
        make_defect("dent", textured((8, 8, 1)), np.random.default_rng(0))


def test_configuration_draws_every_kind_unless_told_otherwise():
    assert defaults("cpu").data.synthetic.kinds == tuple(KINDS)


def hole():
    """A bright disc on a dark ground, and the same filled from its rim."""
    down, across = np.indices((24, 24)) - 11.5
    mask = down**2 + across**2 <= 36
    image = np.where(mask, 0.8, -0.5)[..., None].astype(np.float32)
    return image, Defect(np.full_like(image, -0.5), mask)


def test_missing_part_takes_the_texture_that_a_method_draws_at_the_level_of_the_rim():
    image, gone = hole()
    texture = np.indices((24, 24)).sum(0)[..., None] % 2 * 0.2
    drawn = (0.3 + np.where(gone.mask[..., None], texture, 0.0)).astype(np.float32)
    found = refilled(image, gone, drawn)
    # Beyond the mask the method draws 0.3 in place of -0.5, so all is lowered by 0.8.
    expected = np.where(gone.mask[..., None], drawn - 0.8, image)
    np.testing.assert_allclose(found.image, expected, atol=1e-6)
    np.testing.assert_array_equal(found.mask, gone.mask)


def test_missing_part_that_a_method_puts_back_stays_filled_from_its_rim():
    image, gone = hole()
    assert refilled(image, gone, image) is gone
    almost = np.where(gone.mask[..., None], image - 0.05, image)
    assert refilled(image, gone, almost.astype(np.float32)) is gone
