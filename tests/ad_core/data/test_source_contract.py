"""What every source keeps to, however its images are kept."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from ad_core.data.batches import eval_batches
from ad_core.data.formats.resizing import MIRRORING, RESIZES, box_to_file, mask_to_network
from ad_core.data.formats.stored import FileSet
from ad_core.data.layouts.files import FileSource
from ad_core.data.layouts.listing import list_images
from ad_core.data.layouts.tfds import open_images
from ad_core.data.phantoms.worlds import KINDS
from ad_core.data.source import DataSource, Source, open_source
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults

NORMAL, MASKED, BARE = (0, 1, 2), (3, 4), (5,)  # by the number of an image; BARE have no mask
FILES = ("any_depth", "class_folders", "folder", "manifest", "tfds", "to_score", "tfds_to_score")
SOURCES = (*FILES, *sorted(KINDS))
LOW_HIGH = (50, 200)


def pixels(number):
    """10 x (12 + n) grey values, n of them below the range and 2 n above it."""
    stored = np.random.default_rng(number).integers(*LOW_HIGH, (10, 12 + number), np.uint8, True)
    stored.ravel()[:number] = LOW_HIGH[0] - 1
    stored.ravel()[::-1][: 2 * number] = LOW_HIGH[1] + 1
    return stored


def mask_of(number):
    mask = np.zeros((10, 12 + number), bool)
    mask[2:5, 3 : 6 + number] = True
    return mask


def save(path, stored):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stored).save(path)


def write(root, image, mask):
    """Every image, and the masks there are, at the paths that `image` and `mask` give."""
    for number in (*NORMAL, *MASKED, *BARE):
        save(root / image(number), pixels(number))
    for number in MASKED:
        save(root / mask(number), np.uint8(mask_of(number) * 255))


def folder(root):
    place = lambda n: f"train/good/{n}.png" if n in NORMAL else f"test/hole/{n}.png"  # noqa: E731
    write(root, place, lambda n: f"ground_truth/hole/{n}_mask.png")
    return {"root": str(root)}


def class_folders(root):
    place = lambda n: f"{'no' if n in NORMAL else 'yes'}/{n}.png"  # noqa: E731
    write(root, place, lambda n: f"yes/{n}_mask.png")
    return {"root": str(root), "normal_classes": ("no",)}


def any_depth(root):
    place = lambda n: f"a/{'no' if n in NORMAL else 'yes'}/{n}/{n}.png"  # noqa: E731
    write(root, place, lambda n: f"a/yes/{n}/{n}_mask.png")
    return {"root": str(root), "normal_classes": ("NO",)}


def manifest(root):
    write(root, lambda n: f"{n}.png", lambda n: f"masks/{n}.png")
    rows = [f"{n}.png,0," for n in NORMAL] + [f"{n}.png,1,masks/{n}.png" for n in MASKED]
    rows += [f"{n}.png,1," for n in BARE]
    (root / "list.csv").write_text("\n".join(["path,label,mask", *rows, ""]))
    return {"root": str(root / "list.csv")}


def png(stored):
    stream = io.BytesIO()
    Image.fromarray(stored).save(stream, "PNG")
    return io.BytesIO(stream.getvalue())


class Plates(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """The same images in records."""

    VERSION = tfds.core.Version("1.0.0")
    code_path = None

    def _info(self):
        features = {name: tfds.features.Image(shape=(None, None, 1)) for name in ("image", "mask")}
        features["has_mask"] = tfds.features.Scalar(np.bool_)
        features["label"] = tfds.features.ClassLabel(names=["normal", "hole"])
        features["path"] = tfds.features.Text()
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for number in (*NORMAL, *MASKED, *BARE):
            example = {"image": png(pixels(number)), "label": int(number not in NORMAL)}
            example["mask"] = png(np.uint8(mask_of(number) * 255))
            yield number, example | {"has_mask": number in MASKED, "path": f"{number}.png"}


def plates(root):
    Plates(data_dir=root, file_format="array_record").download_and_prepare()
    return {"root": str(root), "source": "tfds:plates", "normal_classes": ("normal",)}


LAYOUTS = {
    "any_depth": any_depth,
    "class_folders": class_folders,
    "folder": folder,
    "manifest": manifest,
    "tfds": plates,
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Layout -> the keys of config.data by which it is opened."""
    return {
        name: {"source": f"ad_core.data.layouts.{name}"} | layout(tmp_path_factory.mktemp(name))
        for name, layout in LAYOUTS.items()
    }


@pytest.fixture
def opened(written):
    """(name of a source, overrides of config.data) -> the source, opened anew each time."""

    def open_one(name, **options):
        data = defaults("cpu").data
        data.update({"image_size": 16, "value_range": LOW_HIGH} | options)
        if name in KINDS:
            data.update({"source": "ad_core.data.phantoms.worlds", "value_range": None})
            data.phantom.update({"kind": name, "normal": 3, "abnormal": 8})
            return open_source(data)
        data.update(written[{"to_score": "folder", "tfds_to_score": "tfds"}.get(name, name)])
        if name == "to_score":
            paths = [p for p in list_images(data.root) if not p.startswith("ground_truth")]
            return FileSource(data.root, paths, data)
        if name == "tfds_to_score":
            return open_images(f"tfds:{data.root}/plates", data)
        return open_source(data)

    return open_one


def count(source):
    return len(source.records) if isinstance(source, DataSource) else len(source)


def numbers(source):
    """Which of the images of `pixels` each one of a source of files is."""
    return [int(Path(path).stem) for path in source.paths]


def assert_same(one, other):
    assert one.image.dtype == other.image.dtype == np.float32
    np.testing.assert_array_equal(one.image, other.image)
    assert (one.mask is None) == (other.mask is None)
    if one.mask is not None:
        np.testing.assert_array_equal(one.mask, other.mask)
    assert (one.placement, one.clipped) == (other.placement, other.clipped)


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_offers_what_its_kind_must(opened, name):
    source = opened(name)
    assert isinstance(source, Source)
    assert isinstance(source, DataSource) == (not name.endswith("to_score"))
    assert isinstance(source, FileSet) == (name in FILES)
    assert source.letterboxed is False
    if name in FILES:
        assert opened(name, resize="letterbox").letterboxed is True
        for index, number in enumerate(numbers(source)):
            np.testing.assert_array_equal(source.stored(index).values, pixels(number))
            assert source.view(index, 6).shape == (round(6 * 10 / (12 + number)), 6, 1)


@pytest.mark.parametrize("name", SOURCES)
def test_an_image_has_the_same_bits_in_any_order_and_thread(opened, name):
    source = opened(name)
    indices = range(count(source))
    first = [source.read(index) for index in indices]
    for index in reversed(indices):
        assert_same(source.read(index), first[index])
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(opened(name).read, [*indices, *indices]))
    for one, other in zip([*first, *first], threaded, strict=True):
        assert_same(one, other)
    assert len({sample.image.tobytes() for sample in first}) == len(first)
    if name in KINDS:
        assert {record.defect for record in source.records} == {"good", *KINDS[name].defects}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", SOURCES)
def test_a_sample_has_the_shape_type_and_range_of_its_source(opened, name, channels):
    source = opened(name, channels=channels)
    assert source.image_shape == (16, 16, channels)
    for index in range(count(source)):
        image, mask, placement, clipped, *_ = source.read(index)
        assert image.shape == source.image_shape and image.dtype == np.float32
        assert image.min() >= -1 and image.max() <= 1 and image.max() > image.min()
        assert placement.size == source.image_shape[:2]
        assert 0 <= clipped <= 1 and isinstance(clipped, float)
        if mask is not None:
            assert mask.shape == (placement.height, placement.width) and mask.dtype == bool


@pytest.mark.parametrize("name", SOURCES)
def test_masks_are_those_of_the_files_and_a_normal_image_has_an_empty_one(opened, name):
    source = opened(name)
    for index in range(count(source)):
        mask = source.read(index).mask
        if not isinstance(source, DataSource):
            assert mask is None
            continue
        record, own = source.records[index], source.read_mask(index)
        if record.label == 0:
            assert not mask.any() and own is None
        elif record.has_mask:
            assert mask.any()
            np.testing.assert_array_equal(mask, own)
        else:
            assert mask is None and own is None
        if name in FILES:
            number = numbers(source)[index]
            assert (record.label == 0) == (number in NORMAL) and record.has_mask != (number in BARE)
            if number in MASKED:
                np.testing.assert_array_equal(mask, mask_of(number))


@pytest.mark.parametrize("name", FILES)
def test_the_clipped_share_is_that_of_the_values_beyond_the_range(opened, name):
    source = opened(name)
    for index, number in enumerate(numbers(source)):
        assert source.read(index).clipped == 3 * number / (10 * (12 + number))
    for low_high in (None, (0, 255)):
        source = opened(name, value_range=low_high)
        assert {source.read(index).clipped for index in range(count(source))} == {0.0}


@pytest.mark.parametrize("size", [16, (8, 12), (12, 8)])
@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("name", FILES)
def test_a_placement_tells_what_of_the_file_is_shown(opened, name, resize, size):
    source = opened(name, resize=resize, image_size=size)
    for index, number in enumerate(numbers(source)):
        sample = source.read(index)
        placement = sample.placement
        assert (placement.height, placement.width) == pixels(number).shape
        assert sample.image.shape[:2] == placement.size == source.image_shape[:2]
        assert box_to_file(placement.content, placement) == placement.shown
        if resize != "centre_crop":
            assert placement.shown == (0, 0, placement.width, placement.height)
        if resize not in MIRRORING:
            assert placement.content == (0, 0, placement.size[1], placement.size[0])
        if sample.mask is not None:
            assert mask_to_network(sample.mask, placement).shape == placement.size


@pytest.mark.parametrize("world", sorted(KINDS))
def test_a_phantom_is_shown_as_a_whole(opened, world):
    sample = opened(world).read(4)
    assert sample.placement == (16, 16, (16, 16), (0, 0, 16, 16), (0, 0, 16, 16), False)
    assert sample.clipped == 0


@pytest.mark.parametrize("name", SOURCES)
def test_batch_size_padding_and_workers_change_nothing(opened, name):
    resize = "letterbox" if name in FILES else "stretch"
    source = opened(name, resize=resize)
    indices = np.arange(count(source))[::-1]
    samples = [source.read(int(index)) for index in indices]
    for batch_size, workers in ((1, 0), (4, 2), (16, 1)):
        readings = list(eval_batches(source, indices, batch_size=batch_size, workers=workers))
        rows = [(reading, row) for reading in readings for row in range(batch_size)]
        for place, (reading, row) in enumerate(rows):
            batch, real = reading.batch, place < len(indices)
            assert batch.valid[row] == real == (reading.samples[row] is not None)
            assert batch.index[row] == (indices[place] if real else -1)
            assert (batch.content is not None) == (name in FILES)
            if not real:
                assert not batch.image[row].any()
                continue
            assert_same(reading.samples[row], samples[place])
            np.testing.assert_array_equal(batch.image[row], samples[place].image)
            if batch.content is not None:
                assert tuple(batch.content[row]) == samples[place].placement.content
            if isinstance(source, DataSource):
                assert batch.label[row] == source.records[indices[place]].label
        assert not any(reading.errors for reading in readings)


@pytest.mark.parametrize("name", ["any_depth", "class_folders", "folder", "manifest"])
def test_an_image_that_cannot_be_read_is_named_and_its_neighbours_are_read(opened, written, name):
    source = opened(name)
    index = numbers(source).index(2)
    path = source.root / source.paths[index]
    content = path.read_bytes()
    try:
        path.write_bytes(content[:40])
        with pytest.raises(UserError, match=r"2\.png: cannot be decoded"):
            source.read(index)
        everything = np.arange(count(source))
        (reading,) = eval_batches(source, everything, batch_size=6, workers=2)
    finally:
        path.write_bytes(content)
    assert list(reading.errors) == [index] and reading.samples[index] is None
    assert reading.batch.valid.sum() == 5 and not reading.batch.image[index].any()
