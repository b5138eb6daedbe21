import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from ad_core.data import near_duplicates
from ad_core.data.near_duplicates import (
    components,
    fingerprint,
    fingerprints,
    group_near_duplicates,
    merge_groups,
    near_pairs,
)
from ad_core.data.source import Record, open_source
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults
from tests.samples import whole


def scene(seed, side=64):
    field = gaussian_filter(np.random.default_rng(seed).standard_normal((side, side)), 5)
    field -= field.min()
    return (2 * field / field.max() - 1).astype(np.float32)[:, :, None]


def differing(a, b):
    return int(np.bitwise_count(fingerprint(a) ^ fingerprint(b)))


def as_jpeg(image, quality):
    stream = io.BytesIO()
    Image.fromarray(np.uint8((image[..., 0] + 1) * 127.5)).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream), np.float32)[:, :, None] / 127.5 - 1


def brute_force(hashes, distance):
    bits = np.array([[(int(h) >> k) & 1 for k in range(64)] for h in hashes])
    near = (bits[:, None] != bits[None]).sum(-1) <= distance
    return {(i, j) for i in range(len(hashes)) for j in range(i) if near[i, j]}


@pytest.fixture
def hashes():
    """Random ones, with some a few bits away from others, and two equal."""
    rng = np.random.default_rng(0)
    found = rng.integers(0, 2**64, 90, dtype=np.uint64)
    flips = np.uint64(1) << rng.integers(0, 64, (4, 30), dtype=np.uint64)
    found[60:] = found[:30] ^ np.bitwise_or.reduce(flips)
    found[59] = found[58]
    return found


def test_copies_have_near_hashes_and_other_scenes_have_not():
    image = scene(1)
    darker, noisy = 0.6 * image - 0.2, image + 0.02 * scene(2)
    for copy in (image, darker, noisy, as_jpeg(image, 40), np.repeat(image, 3, axis=-1)):
        assert differing(image, copy) <= 4
    others = [differing(image, scene(seed)) for seed in range(2, 40)]
    assert min(others) > 12 and 28 < np.mean(others) < 36
    assert differing(image, image[:, ::-1]) > 12


def test_flat_images_have_one_hash():
    flat = [fingerprint(np.full((64, 64, 1), v, np.float32)) for v in (-1, -0.3, 0.7)]
    assert len({int(h) & ~(1 << 63) for h in flat}) == 1


@pytest.mark.parametrize("block", [(128, 4096), (8, 16), (16, 16)])
@pytest.mark.parametrize("distance", [0, 3, 30])
def test_pairs_are_those_of_brute_force(hashes, monkeypatch, block, distance):
    monkeypatch.setattr(near_duplicates, "BLOCK", block)
    found = [tuple(pair) for pairs in near_pairs(hashes, distance) for pair in pairs.tolist()]
    assert len(found) == len(set(found))
    assert {(j, i) for i, j in found} == brute_force(hashes, distance)


def test_components_join_chains_and_nothing_else(hashes):
    label = components(hashes, 4)
    parent = list(range(len(hashes)))

    def top(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for i, j in brute_force(hashes, 4):
        parent[top(i)] = top(j)
    expected = [top(i) for i in range(len(hashes))]
    for i in range(len(hashes)):
        assert [x == label[i] for x in label] == [x == expected[i] for x in expected]


def test_a_chain_of_near_hashes_is_one_component():
    chain = np.array([0, 1, 3, 7, 15, 31, 7 * 2**40], np.uint64)
    assert len(set(components(chain, 1).tolist())) == 2
    assert len(set(components(chain, 0).tolist())) == 7


def test_groups_that_share_a_component_become_one():
    groups = ["a", "b", "b", "c", "d", "d", "e"]
    component = np.array([0, 0, 1, 2, 2, 3, 4])
    assert merge_groups(groups, component) == ["a", "a", "a", "c", "c", "c", "e"]
    assert merge_groups([], np.array([], int)) == []


class Pictures:
    def __init__(self, images, groups):
        self.images = images
        self.records = tuple(
            Record(f"{i}.png", 0, "good", group, "", True) for i, group in enumerate(groups)
        )

    def read(self, index):
        if self.images[index] is None:
            raise UserError(f"{index}.png: is damaged")
        return whole(self.images[index])


def test_near_duplicates_of_a_source_share_a_group_and_damaged_images_keep_theirs():
    copy = as_jpeg(scene(1), 50)
    images = [scene(1), scene(2), None, copy, scene(3), None, scene(4)]
    source = Pictures(images, ["p", "q", "r", "s", "s", "t", "q"])
    group_near_duplicates(source, 4, workers=2)
    assert [r.group for r in source.records] == ["p", "q", "r", "p", "p", "t", "q"]


def test_hashes_do_not_depend_on_threads_and_errors_are_told():
    images = [scene(i) if i % 5 else None for i in range(70)]
    source = Pictures(images, ["g"] * 70)
    one, errors = fingerprints(lambda index: source.read(index).image, 70, workers=1)
    many, again = fingerprints(lambda index: source.read(index).image, 70, workers=4)
    np.testing.assert_array_equal(one, many)
    assert errors == again == {i: f"{i}.png: is damaged" for i in range(0, 70, 5)}


@pytest.mark.parametrize("distance", [-1, 17])
def test_a_distance_out_of_range_is_refused(distance):
    with pytest.raises(UserError, match=rf"`data\.near_duplicates` \(={distance}\)"):
        group_near_duplicates(Pictures([scene(1)], ["a"]), distance, workers=1)


def test_it_is_an_option_of_any_source(tmp_path):
    (tmp_path / "train/good").mkdir(parents=True)
    for name, seed in (("a", 1), ("b", 2), ("c", 1)):
        picture = Image.fromarray(np.uint8((scene(seed)[..., 0] + 1) * 127.5))
        picture.save(tmp_path / f"train/good/{name}.jpg", quality=60 if name == "c" else 95)
    data = defaults("cpu").data
    data.root = str(tmp_path)
    assert len({r.group for r in open_source(data).records}) == 3
    data.near_duplicates = 4
    groups = [r.group for r in open_source(data).records]
    assert groups == ["train/good/a.jpg", "train/good/b.jpg", "train/good/a.jpg"]
