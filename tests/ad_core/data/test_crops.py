"""Crops to learn from: drawn by the image alone, and of abnormal images only where a mask tells."""

import numpy as np
import pytest

from ad_core.data.batches import eval_batches, teaching, train_batches
from ad_core.data.crops import Crop, part_of
from ad_core.data.source import Record
from ad_core.data.tiles import Tiling
from ad_core.errors import UserError
from tests.samples import whole

TILING = Tiling(8, 2)


def numbered(height, width):
    """Every pixel holds its number, so that a crop tells where it lies."""
    return np.arange(height * width, dtype=np.float32).reshape(height, width, 1)


def corner(crop, width):
    return divmod(int(crop[0, 0, 0]), width)


def test_random_crops_lie_anywhere_within_the_image():
    image, crop = numbered(20, 14), Crop(TILING)
    found = [crop(image, None, seed=0, epoch=n, index=3) for n in range(300)]
    tops, lefts = zip(*(corner(one, 14) for one in found), strict=True)
    assert (min(tops), max(tops), min(lefts), max(lefts)) == (0, 12, 0, 6)
    top, left = corner(found[0], 14)
    np.testing.assert_array_equal(found[0], image[top : top + 8, left : left + 8])


def test_a_crop_depends_on_seed_epoch_and_image_alone():
    image, crop = numbered(40, 40), Crop(TILING)
    first = crop(image, None, seed=1, epoch=2, index=3)
    np.testing.assert_array_equal(crop(image, None, seed=1, epoch=2, index=3), first)
    others = [(2, 2, 3), (1, 3, 3), (1, 2, 4)]
    assert all((crop(image, None, seed=s, epoch=e, index=i) != first).any() for s, e, i in others)


def test_crops_on_the_grid_are_each_tile_once_in_as_many_epochs():
    image, crop = numbered(20, 14), Crop(TILING, "grid")
    found = [corner(crop(image, None, seed=0, epoch=n, index=1), 14) for n in range(6)]
    assert sorted(found) == [(top, left) for top in (0, 6, 12) for left in (0, 6)]


def test_a_crop_of_an_abnormal_image_holds_some_of_its_mask_anywhere():
    image, mask = numbered(30, 30), np.zeros((30, 30), bool)
    mask[29, 0] = mask[11, 17] = True
    places = set()
    for epoch in range(200):
        top, left = corner(Crop(TILING)(image, mask, seed=0, epoch=epoch, index=0), 30)
        assert mask[top : top + 8, left : left + 8].any()
        places.add((top, left))
    assert (22, 0) in places and {(4, 10), (11, 17)} & places and len(places) > 30


def test_an_empty_mask_is_refused():
    with pytest.raises(UserError, match="marks nothing of an abnormal image"):
        Crop(TILING)(numbered(9, 9), np.zeros((9, 9), bool), seed=0, epoch=0, index=0)


def test_a_reduced_crop_covers_more_and_one_beyond_the_image_is_mirrored():
    image = numbered(20, 20)
    crop = Crop(TILING._replace(scales=(2,)))(image, None, seed=0, epoch=0, index=0)
    rows, columns = crop[:, 0, 0], crop[0, :, 0]
    np.testing.assert_allclose(np.diff(rows), 40)
    np.testing.assert_allclose(np.diff(columns), 2)
    small = Crop(TILING)(numbered(5, 8), None, seed=0, epoch=0, index=0)
    np.testing.assert_array_equal(small[5:], numbered(5, 8)[:1:-1])


def test_a_crop_holds_nothing_of_the_image_that_it_does_not_show():
    image = numbered(40, 40)
    crop = Crop(TILING)(image, None, seed=0, epoch=0, index=0)
    for own in (crop, part_of(image, (16, 12), seed=1)):
        assert not np.shares_memory(own, image)


def test_a_part_has_its_size_whatever_the_image_has():
    assert part_of(numbered(40, 9), (16, 12), seed=1).shape == (16, 12, 1)
    first, second = (part_of(numbered(40, 40), (16, 12), seed=s) for s in (1, 2))
    assert (first != second).any()


class Source:
    """Images of 24 px; of the abnormal ones 2 has a mask and 3 has none."""

    image_shape = (24, 24, 1)
    letterboxed = False
    records = tuple(
        Record(f"{n}.png", int(n > 1), "x" if n > 1 else "good", str(n), "train", n != 3)
        for n in range(4)
    )

    def read(self, index):
        mask = np.zeros((24, 24), bool)
        mask[20:, 20:] = index == 2
        image = index / 10 + numbered(24, 24) / 10_000
        image[20:, 20:] += 0.5
        return whole(image, None if index == 3 else mask)

    def read_mask(self, index):
        return None


def batches(indices, **options):
    own = {"batch_size": 4, "seed": 0, "augment": "none", "workers": 0, "crop": Crop(TILING)}
    return train_batches(Source(), np.array(indices), **{**own, **options})


def test_training_batches_hold_crops_and_resume_in_the_same_bits():
    own = batches([0, 1])
    first, second = next(own), next(own)
    assert first.image.shape == (4, 8, 8, 1)
    again = batches([0, 1])
    again.set_state({"drawn": 4, "images": 2, "seed": 0})
    np.testing.assert_array_equal(next(again).image, second.image)
    assert any((a != b).any() for a, b in zip(first.image, second.image, strict=True))


def test_pairs_take_abnormal_crops_of_masked_images_alone():
    own = batches([0, 1, 2, 3], pairs=True)
    for _ in range(5):
        batch = next(own)
        assert batch.label.tolist() == [0, 1, 0, 1]
        assert set(batch.index[1::2].tolist()) == {2}
        assert (batch.image[1::2].max(axis=(1, 2, 3)) > 0.6).all()  # the defect is in every crop


def test_without_any_mask_pairs_of_crops_are_refused():
    with pytest.raises(UserError, match="none that trains has a mask .* `--config.tiling.tile=0`"):
        batches([0, 1, 3], pairs=True)


def test_turned_crops_are_squares_even_of_images_that_are_none():
    source = Source()
    source.image_shape = (24, 30, 1)
    options = {"batch_size": 2, "seed": 0, "augment": "flips_and_turns", "workers": 0}
    with pytest.raises(UserError, match="no square"):
        train_batches(source, np.array([0]), **options)
    train_batches(source, np.array([0]), **options, crop=Crop(TILING))


class Large(Source):
    """Images of 40 x 30 px for a network of 24."""

    def read(self, index):
        sample = super().read(index)
        return sample._replace(large=lambda: numbered(40, 30) + 1200 * index)


def test_a_part_of_a_large_image_teaches_and_its_sample_reads_all():
    (reading,) = eval_batches(Large(), np.array([1, 0]), batch_size=2, workers=0)
    assert reading.samples[0].large().shape == (40, 30, 1)
    image = teaching(reading).image
    top, left = divmod(int(image[0, 0, 0, 0]) - 1200, 30)
    part = numbered(40, 30)[top : top + 24, left : left + 24] + 1200
    np.testing.assert_array_equal(image[0], part)
    assert reading.batch.image.max() < 1  # as it was read


def test_crops_of_a_large_image_come_from_all_of_it():
    own = train_batches(
        Large(), np.array([0]), batch_size=300, seed=0, augment="none", workers=0, crop=Crop(TILING)
    )
    tops = [corner(one, 30)[0] for one in next(own).image]
    assert max(tops) == 32
