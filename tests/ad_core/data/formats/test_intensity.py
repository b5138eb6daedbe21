import numpy as np
import pytest
import tifffile

from ad_core.data.formats.intensity import MARGIN, fix_range, is_robust, robust_range
from ad_core.data.layouts.files import FileSource
from ad_core.errors import UserError
from ad_core.runtime.config import defaults, from_json, to_json
from tests.small_config import small_config


def source(root, images, **values):
    data = defaults("cpu").data
    data.update({"image_size": 8, **values})
    for number, image in enumerate(images):
        tifffile.imwrite(root / f"{number}.tif", image)
    return FileSource(root, [f"{number}.tif" for number in range(len(images))], data)


def test_the_range_is_numpys_quantiles_and_a_margin(tmp_path):
    images = np.random.default_rng(0).normal(1000, 200, (5, 40, 50)).astype(np.float32)
    flat = images.astype(np.float64).ravel()
    low, high = np.quantile(flat, (0.005, 0.995), method="inverted_cdf")
    margin = MARGIN * (high - low)
    found = robust_range(source(tmp_path, images), range(5))
    np.testing.assert_allclose(found, (low - margin, high + margin), rtol=1e-9)


def test_outliers_hardly_move_it_and_other_images_do_not_at_all(tmp_path):
    images = np.random.default_rng(0).uniform(0, 100, (6, 60, 60)).astype(np.float32)
    plain = robust_range(source(tmp_path, images), (0, 1, 2, 3))
    images[0, 0, 0], images[1, 5, 5] = 1e9, -1e9
    images[4:] = 5e6
    moved = robust_range(source(tmp_path, images), (0, 1, 2, 3))
    np.testing.assert_allclose(moved, plain, atol=1.0)


def test_small_images_count_as_much_as_large_ones(tmp_path):
    large, small = np.full((90, 90), 10, np.uint16), np.full((9, 9), 30, np.uint16)
    large[0, 0] = 11
    low, high = robust_range(source(tmp_path, [large, small, small]), (0, 1, 2))
    assert (low, high) == pytest.approx((10 - 2, 30 + 2))


def test_large_images_are_sampled_and_the_same_each_time(tmp_path):
    images = np.random.default_rng(1).uniform(0, 1000, (2, 300, 300)).astype(np.float32)
    files = source(tmp_path, images)
    found = robust_range(files, np.arange(2))
    assert found == robust_range(files, [0, 1])
    np.testing.assert_allclose(found, (5 - 99, 995 + 99), atol=3)


def test_flat_images_and_sources_without_files_are_refused(tmp_path):
    with pytest.raises(UserError, match="value 7 alone"):
        robust_range(source(tmp_path, np.full((2, 9, 9), 7, np.float32)), [0, 1])
    with pytest.raises(UserError, match="needs a source of files"):
        robust_range(object(), [0])


def test_until_it_is_fixed_each_image_has_its_own(tmp_path):
    images = np.linspace(-3, 9, 64, dtype=np.float32).reshape(1, 8, 8)
    files = source(tmp_path, [images[0], np.full((8, 8), 2, np.float32)], value_range=("robust",))
    np.testing.assert_allclose(files.read(0).image[..., 0], (images[0] + 3) / 6 - 1, atol=1e-6)
    assert (files.read(1).image == -1).all()
    low, high = fix_range(files, [0])
    np.testing.assert_allclose((low, high), (-3 - 1.2, 9 + 1.2), atol=0.2)
    np.testing.assert_allclose(files.read(1).image, np.interp(2, [low, high], [-1, 1]), atol=1e-6)


def test_the_word_and_the_numbers_survive_the_configuration():
    config = small_config()
    assert not is_robust(config.data)
    config.data.value_range = ("robust",)
    assert is_robust(from_json(to_json(config)).data)
    config.data.value_range = (1.25, 77.123456789)
    again = from_json(to_json(config))
    assert again.data.value_range == (1.25, 77.123456789) and not is_robust(again.data)
