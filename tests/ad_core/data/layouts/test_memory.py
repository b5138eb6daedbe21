"""Images that a program holds as a source, against the same images read from their files."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from ad_core.data.formats.intensity import settle_range
from ad_core.data.formats.stored import FileSet
from ad_core.data.layouts.files import FileSource
from ad_core.data.layouts.memory import MemorySource
from ad_core.data.source import DataSource, open_source
from ad_core.errors import UserError
from tests.small_config import small_config

COUNT = 6


def settings(**data):
    return small_config(data={"image_size": 16, "channels": 1, **data}).data


def pixels(number):
    noise = np.random.default_rng(number // 2 * 2).integers(0, 256, (20, 24 + number))
    return noise.astype(np.uint8)


@pytest.fixture
def paths(tmp_path):
    for number in range(COUNT):
        Image.fromarray(pixels(number)).save(tmp_path / f"{number}.png")
    return [tmp_path / f"{number}.png" for number in range(COUNT)]


def given_as(kind, paths):
    if kind == "arrays":
        return [pixels(number) for number in range(COUNT)]
    return [Image.open(path) for path in paths] if kind == "Pillow's" else list(map(str, paths))


def source_of(images, data, *, groups=None):
    return MemorySource(images, [0] * (COUNT - 1) + [1], data, groups=groups)


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "centre_crop"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("value_range", [None, (20, 200), ("robust",)])
@pytest.mark.parametrize("kind", ["arrays", "Pillow's", "paths"])
def test_an_image_is_what_its_file_is(paths, kind, value_range, channels, resize):
    data = settings(resize=resize, channels=channels, value_range=value_range)
    files = FileSource(paths[0].parent, [path.name for path in paths], data)
    source = source_of(given_as(kind, paths), data)
    assert isinstance(source, DataSource) and isinstance(source, FileSet)
    assert source.image_shape == files.image_shape and source.letterboxed == files.letterboxed
    ranges = [settle_range(one, data, range(COUNT - 1)) for one in (source, files)]
    assert ranges[0] == ranges[1]
    with ThreadPoolExecutor(4) as pool:
        samples = list(pool.map(source.read, [*range(COUNT), *range(COUNT)]))
    for index, sample in enumerate(samples):
        expected = files.read(index % COUNT)
        np.testing.assert_array_equal(sample.image, expected.image)
        assert (sample.placement, sample.clipped) == (expected.placement, expected.clipped)
    for index in range(COUNT):
        np.testing.assert_array_equal(source.stored(index).values, pixels(index))
        np.testing.assert_array_equal(source.view(index, 9), files.view(index, 9))


def test_all_images_train_and_a_normal_one_has_an_empty_mask():
    source = source_of(given_as("arrays", []), settings())
    assert [record.label for record in source.records] == [0] * (COUNT - 1) + [1]
    assert {record.folder for record in source.records} == {"train"}
    assert [record.path for record in source.records] == [f"image {n}" for n in range(COUNT)]
    assert not source.read(0).mask.any() and source.read(0).mask.shape == (20, 24)
    assert source.read(COUNT - 1).mask is None and source.read_mask(COUNT - 1) is None


def test_groups_are_given_or_told_by_paths_and_always_by_files(paths):
    own = source_of(given_as("arrays", paths), settings())
    assert len({record.group for record in own.records}) == COUNT
    named = source_of(given_as("arrays", paths), settings(), groups=list("aabbcc"))
    assert [record.group for record in named.records] == list("aabbcc")
    told = source_of(paths, settings(group_pattern=r"([^/]+)/\d\.png"))
    assert {record.group for record in told.records} == {paths[0].parent.name}
    with Image.open(paths[0]) as opened:
        twice = source_of([paths[0], str(paths[0]), opened, *paths[3:]], settings())
    assert len({record.group for record in twice.records}) == 4


def test_images_that_look_alike_become_one_group_where_that_is_wished():
    data = settings(near_duplicates=0)
    alike = [pixels(0), pixels(0).copy(), *given_as("arrays", [])[2:]]
    source = open_source(data, lambda data: source_of(alike, data))
    groups = [record.group for record in source.records]
    assert groups[0] == groups[1] and groups[0] not in groups[2:]


def test_values_that_no_type_bounds_take_the_range_of_the_normals():
    floats = [pixels(number) * 10.0 - 1000 for number in range(COUNT)]
    data = settings()
    source = source_of(floats, data)
    assert source.view(0, 99).min() == -1, "each by itself until a range is fixed"
    low, high = settle_range(source, data, range(COUNT - 1))
    assert low < -950 and 1500 < high
    assert source.view(0, 99).min() > -1 and source.read(0).clipped == 0


def test_an_image_that_is_none_is_named(tmp_path):
    given = [None, np.full((20, 20), np.nan), str(tmp_path / "gone.png"), *map(pixels, range(3))]
    source = source_of(given, settings())
    for index, message in enumerate(["image 0: is NoneType", "image 1: holds", "gone.png: cannot"]):
        with pytest.raises(UserError, match=message):
            source.read(index)
