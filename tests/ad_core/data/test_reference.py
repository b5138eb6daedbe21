"""Images that are brought to lie as a reference when they are read, or are refused."""

import numpy as np
import pytest
from PIL import Image

from ad_core.data.formats.image import check_settings, read_image
from ad_core.data.reference_files import settle_reference
from ad_core.data.registration import likeness
from ad_core.errors import UserError
from ad_core.runtime.inference import Begun
from ad_core.scoring.measuring import Measured, Measurer, begin_all
from tests.ad_core.data.test_registration import SIZE, moved, part
from tests.small_config import small_config

OPTIONS = {"channels": 1, "max_pixels": 10**6, "max_bytes": 10**6, "min_side": 8}


def write(path, image):
    pixels = np.rint((image + 1.2) * 100).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.fixture
def reference(tmp_path):
    named = write(tmp_path / "reference.png", part())
    data = small_config(data={"reference": named, "image_size": SIZE, "resize": "letterbox"}).data
    return settle_reference(data)


def read(path, reference, *, resize="letterbox", size=SIZE, **options):
    return read_image(path, size=size, resize=resize, reference=reference, **OPTIONS, **options)


def test_a_configuration_carries_the_reference(reference, tmp_path):
    data = small_config(data={"reference": reference, "resize": "letterbox"}).data
    assert reference.startswith("png:") and settle_reference(data) == reference
    with pytest.raises(UserError, match="`data.reference` .=nowhere. must name the file"):
        settle_reference(small_config(data={"reference": "nowhere"}).data)


def test_a_part_that_lies_anyhow_is_read_as_the_reference_lies(reference, tmp_path):
    plain = read(write(tmp_path / "a.png", part()), "")
    path = write(tmp_path / "b.png", moved(part(), 25, 4, -6))
    sample = read(path, reference)
    assert likeness(sample.image[..., 0], plain.image[..., 0]) > 0.95
    back = sample.motion.undo(sample.image)[..., 0]
    assert likeness(back[20:-20, 25:-25], read(path, "").image[20:-20, 25:-25, 0]) > 0.95


def test_the_motion_of_a_larger_image_is_larger(reference, tmp_path):
    path = write(tmp_path / "b.png", moved(part(), 0, 4, -6))
    motion = read(path, reference, size=(192, 256)).motion
    assert (motion.down, motion.right) == pytest.approx((-8, 12), abs=0.3)


def test_an_image_that_is_not_like_the_reference_is_refused_by_name(reference, tmp_path):
    noise = np.random.default_rng(0).normal(size=SIZE)
    with pytest.raises(UserError, match="b.png: is not registered: an image is not like"):
        read(write(tmp_path / "b.png", noise), reference)


def test_sides_that_are_scaled_apart_allow_no_turn(reference, tmp_path):
    path = write(tmp_path / "b.png", part()[:, :100])
    with pytest.raises(UserError, match="sides are scaled apart, .* `data.turned=False`"):
        read(path, reference, resize="stretch")


def test_a_region_is_one_of_the_reference(reference, tmp_path):
    region = '{"width": 128, "height": 96, "inspect": [[[40, 30], [80, 30], [80, 60], [40, 60]]]}'
    plain = read(write(tmp_path / "a.png", part()), "").image
    sample = read(write(tmp_path / "b.png", moved(part(), 90, 0, 0)), reference, region=region)
    assert (sample.image[:28] == 0).all() and (sample.image[32:58, 42:78] != 0).any()
    assert np.abs(sample.image - plain)[34:56, 44:76].mean() < 0.1


def test_reference_and_own_size_exclude_each_other():
    data = small_config(data={"reference": "x", "resize": "own_size"}).data.to_dict()
    with pytest.raises(UserError, match="use letterbox or stretch"):
        check_settings(data)


def test_maps_and_normal_versions_lie_as_the_file_does(reference, tmp_path):
    """Of a measurer that shows the image itself."""
    path = write(tmp_path / "b.png", moved(part(), 40, 3, 5))
    samples = [read(path, reference), read(path, "")]
    images = np.stack([sample.image for sample in samples])

    def begin(image, content):
        maps = np.moveaxis(image, -1, 1)
        measured = Measured(np.zeros((len(image), 1), np.float32), maps, image)
        return Begun(lambda: measured, lambda: None)

    measurer = Measurer(2, begin, lambda *given: None, lambda: 0, lambda known: measurer)
    found = begin_all(measurer, images, None, samples).result()
    middle = slice(20, -20), slice(25, -25)
    assert likeness(found.anomaly_map[0][middle], images[1, ..., 0][middle]) > 0.95
    assert likeness(found.drawn[0, ..., 0][middle], images[1, ..., 0][middle]) > 0.95
    np.testing.assert_array_equal(found.anomaly_map[1], images[1, ..., 0])
