"""Images with made-up defects, as a source."""

from collections import Counter

import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.data.batches import eval_batches
from ad_core.data.formats.resizing import mirror
from ad_core.data.source import Record
from ad_core.data.synthetic.defects import KINDS
from ad_core.data.synthetic.source import SyntheticSource
from ad_core.errors import UserError
from ad_core.types import Placement, Sample

SIDE = 32
CONTENT = (0, 8, SIDE, 24)  # letterboxed: 8 mirrored rows above and below


class Images:
    """Noise by index; index 1 is flat, and the last cannot be read."""

    image_shape = (SIDE, SIDE, 1)

    def __init__(self, *, letterboxed=False, count=6):
        self.letterboxed = letterboxed
        self.records = tuple(
            Record(f"{i}.png", 0, "good", f"part {i // 2}", "train", has_mask=False)
            for i in range(count)
        )

    def read(self, index):
        if index == len(self.records) - 1:
            raise UserError(f"{index}.png cannot be read")
        image = np.random.default_rng(index).uniform(-1, 1, self.image_shape).astype(np.float32)
        image = np.zeros_like(image) if index == 1 else image
        box = CONTENT if self.letterboxed else (0, 0, SIDE, SIDE)
        if self.letterboxed:
            image[:8], image[24:] = image[8:16][::-1], image[16:24][::-1]
        size = box[2] - box[0], box[3] - box[1]
        return Sample(image, None, Placement(*size, (SIDE, SIDE), (0, 0, *size), box), 0.0)

    def read_mask(self, index):
        return None


def made(source=None, *, count=12, kinds=tuple(KINDS), seed=0, normals=(0, 2, 3, 4)):
    return SyntheticSource(
        source or Images(), np.array(normals, int), count=count, kinds=kinds, seed=seed
    )


def test_each_normal_and_each_kind_comes_equally_often():
    source = made(count=20)
    assert set(Counter(source.bases.tolist()).values()) == {5}
    assert Counter(source.kinds) == dict.fromkeys(KINDS, 4)
    assert len(made(count=3).bases) == 3


def test_image_is_its_normal_but_for_a_defect_and_the_same_each_time():
    source, images = made(), Images()
    for index in range(12):
        first, again = source.read(index), source.read(index)
        np.testing.assert_array_equal(first.image, again.image)
        changed = first.image != images.read(source.bases[index]).image
        assert 0 < changed.mean() < 0.5 and first.mask is None


def test_another_seed_draws_other_defects():
    one = made(normals=(0,), kinds=("scratch",)).read(0).image
    other = made(normals=(0,), kinds=("scratch",), seed=1).read(0).image
    assert (one != other).any()


def test_record_has_the_group_of_its_normal_and_its_kind_as_defect():
    source = made()
    for index, base in enumerate(source.bases):
        record = source.record(index)
        assert record.group == Images().records[base].group
        assert record.defect == source.kinds[index] and record.label == 1
    assert len({source.record(index).path for index in range(12)}) == 12


def test_beyond_the_content_a_letterboxed_image_mirrors_its_defect():
    source = made(Images(letterboxed=True))
    for index in range(12):
        image = source.read(index).image
        np.testing.assert_array_equal(image[:8], image[8:16][::-1])
        np.testing.assert_array_equal(image[24:], image[16:24][::-1])
        again = mirror(jnp.asarray(image[None]), jnp.asarray([CONTENT], jnp.int32))
        np.testing.assert_array_equal(image, again[0])


def test_image_that_cannot_be_read_or_has_nothing_to_change_is_a_row_with_an_error():
    source = made(normals=(1, 5), kinds=("missing",), count=4)
    (reading,) = eval_batches(source, np.arange(4), batch_size=4, workers=0)
    assert not np.asarray(reading.batch.valid).any()
    told = " ".join(reading.errors.values())
    assert len(reading.errors) == 4 and "cannot be read" in told and "nothing to change" in told


def test_normal_version_fills_the_missing_part_alone_and_a_letterbox_mirrors_it():
    source = made(Images(letterboxed=True), kinds=("missing",), count=4)
    dark = np.full((SIDE, SIDE, 1), -1.0, np.float32)
    dark[::2] = 0.0
    again = source.with_normal_versions({0: dark})
    before, after = source.read(0).image, again.read(0).image
    normal = Images(letterboxed=True).read(source.bases[0]).image
    changed = after != before
    assert changed.any() and (before != normal)[changed].all()
    np.testing.assert_array_equal(after[:8], after[8:16][::-1])
    np.testing.assert_array_equal(again.read(1).image, source.read(1).image)


@pytest.mark.parametrize("kinds", [("dent",), ()])
def test_unknown_kinds_are_refused_before_anything_is_read(kinds):
    with pytest.raises(UserError, match="count=0 makes no defects"):
        made(kinds=kinds)


def test_no_normal_image_makes_no_defect():
    assert made(normals=()).bases.size == 0
