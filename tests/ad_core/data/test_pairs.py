import json
from collections import Counter

import numpy as np
import pytest

from ad_core.data.batches import train_batches
from ad_core.data.draws import epoch_images, make_pairs
from ad_core.data.source import Record
from ad_core.errors import UserError
from tests.samples import whole


class Labelled:
    """Image i holds i / 100; the first `normal` images are normal."""

    def __init__(self, normal, abnormal):
        self.records = tuple(
            Record(f"{i}.png", int(i >= normal), "good" if i < normal else "x", f"{i}", "", False)
            for i in range(normal + abnormal)
        )

    image_shape, letterboxed = (4, 4, 1), False

    def read(self, index):
        image = np.full((4, 4, 1), index / 100, np.float32)
        image[0, 0], image[0, 3], image[3, 0] = -1, -0.5, 0.5
        return whole(image)

    def read_mask(self, index):
        return None


def batches_of(source, *, batch_size=4, augment="none", seed=0, workers=2):
    indices = np.arange(len(source.records))
    return train_batches(
        source,
        indices,
        batch_size=batch_size,
        seed=seed,
        augment=augment,
        workers=workers,
        pairs=True,
    )


def drawn(batches, count):
    """(normal, abnormal) indices of so many pairs."""
    rows = np.concatenate([next(batches).index for _ in range(-(-count // 2))])
    return [tuple(pair) for pair in rows.reshape(-1, 2)[:count].tolist()]


def test_the_larger_class_is_once_in_the_pairs_and_the_smaller_at_least_once():
    pairs = make_pairs(np.arange(50), np.arange(100, 107), seed=3)
    assert pairs.shape == (50, 2)
    assert sorted(pairs[:, 0]) == list(range(50))
    assert set(pairs[:, 1]) == set(range(100, 107))
    counts = Counter(pairs[:, 1].tolist())
    assert len(set(counts.values())) > 1  # with replacement, not in turn
    swapped = make_pairs(np.arange(100, 107), np.arange(50), seed=3)
    assert sorted(swapped[:, 1]) == list(range(50))
    assert not np.array_equal(pairs, make_pairs(np.arange(50), np.arange(100, 107), seed=4))


def test_rows_are_normal_and_abnormal_in_turn_and_pairs_stay_the_same():
    source = Labelled(7, 3)
    batch = next(batches_of(source))
    assert batch.label.tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(batch.image[:, 2, 2, 0], batch.index / 100)
    found = drawn(batches_of(source), 21)
    epochs = [found[start : start + 7] for start in (0, 7, 14)]
    expected = make_pairs(np.arange(7), np.arange(7, 10), seed=0)
    assert all(sorted(epoch) == sorted(map(tuple, expected.tolist())) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epoch_images(np.array([0] * 7 + [1] * 3), pairs=True, augment="none") == 14


def test_an_epoch_holds_each_pair_in_each_of_the_nine_versions():
    source = Labelled(1, 2)
    batches = batches_of(source, augment="nine_versions")
    labels = np.array([0, 1, 1])
    assert epoch_images(labels, pairs=True, augment="nine_versions") == 36
    images = np.concatenate([next(batches).image for _ in range(9)]).reshape(18, 2, 4, 4)
    # Both images of a pair are turned alike.
    corners = images[:, :, [0, 0, 3, 3], [0, 3, 0, 3]]
    marked = np.where(np.isin(corners, (-1, -0.5, 0.5)), corners, 0.0)
    np.testing.assert_array_equal(marked[:, 0], marked[:, 1])
    versions = Counter(pair.tobytes() for pair in images[:, 1])
    # Two abnormal images in eight different versions each, one of them twice.
    assert len(versions) == 16 and sorted(versions.values()) == [1] * 14 + [2] * 2


def test_hflip_is_drawn_for_each_image():
    source = Labelled(30, 30)
    batches = batches_of(source, batch_size=60, augment="hflip")
    flipped = next(batches).image[:, 0, 3, 0] == -1
    assert 10 < flipped.sum() < 50
    assert not np.array_equal(flipped[0::2], flipped[1::2])


@pytest.mark.parametrize("workers", [0, 3])
def test_pairs_resume_where_they_were(workers):
    source = Labelled(5, 9)
    whole, cut = (batches_of(source, augment="nine_versions", workers=workers) for _ in range(2))
    for _ in range(7):
        next(whole)
    position = json.loads(json.dumps(whole.get_state()))
    cut.set_state(position)
    for _ in range(5):
        one, other = next(whole), next(cut)
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.index, other.index)


def test_batches_that_cannot_be_pairs_are_refused():
    with pytest.raises(UserError, match=r"`train.batch_size` \(=5\) must be even.*use 4 or 6"):
        batches_of(Labelled(3, 3), batch_size=5)
    with pytest.raises(UserError, match="3 normal and 0 abnormal images.*`--config.method` that"):
        batches_of(Labelled(3, 0))
    with pytest.raises(UserError, match="'flip'.*nine_versions"):
        batches_of(Labelled(3, 3), augment="flip")
