import numpy as np
import pytest
import tifffile

from ad_core.data.formats.intensity import (
    MARGIN,
    fix_range,
    is_robust,
    robust_range,
    settle_range,
)
from ad_core.data.layouts.files import FileSource, LabelledFiles
from ad_core.data.source import Record
from ad_core.errors import UserError
from ad_core.runtime.config import from_json, to_json
from ad_core.runtime.defaults import defaults
from tests.ad_core.data.formats.test_dicom import save
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


def scans(root, values, headers, count=4):
    """A source of DICOM files of the same physical values under several headers."""
    data = defaults("cpu").data
    data.update({"image_size": 8})
    names = []
    for number in range(count):
        slope, intercept, header = headers[number % len(headers)]
        names.append(f"{number}.dcm")
        save(root / names[-1], np.uint16(np.round((values - intercept) / slope)), **header)
    records = [Record(name, 0, "good", name, "train", True) for name in names]
    return LabelledFiles(root, records, data, masks={}), data


WINDOW = {"WindowCenter": 1000, "WindowWidth": 2000}
HEADERS = [
    (1, 0, {}),
    (1, 0, {"BitsStored": 12, "HighBit": 11}),
    (1, 0, WINDOW),
    (0.5, 0, {"RescaleSlope": "0.5", "RescaleIntercept": "0"} | WINDOW),
    (2, -100, {"RescaleSlope": "2", "RescaleIntercept": "-100"}),
]


def test_one_value_is_one_grey_whatever_a_dicom_file_says_of_itself(tmp_path):
    values = 2.0 * np.arange(64).reshape(8, 8) * 16
    source, data = scans(tmp_path, values, HEADERS, count=5)
    low, high = settle_range(source, data, range(5))
    assert low < 0 and high > values.max()
    expected = np.interp(values, [low, high], [-1, 1])
    for index in range(5):
        sample = source.read(index)
        np.testing.assert_allclose(sample.image[..., 0], expected, atol=1e-5)
        assert sample.clipped == 0
    scored = FileSource(tmp_path, source.paths, data_with(data, value_range=(low, high)))
    np.testing.assert_array_equal(scored.read(3).image, source.read(3).image)


def data_with(data, **values):
    changed = defaults("cpu").data
    changed.update(data.to_dict() | values)
    return changed


def test_values_beyond_any_normal_are_counted(tmp_path):
    values = 2.0 * np.arange(64).reshape(8, 8) * 16
    source, data = scans(tmp_path, values, HEADERS[2:3], count=2)
    settle_range(source, data, [0])
    hot = np.uint16(values)
    hot[:2] = 4095
    save(tmp_path / "1.dcm", hot, **WINDOW)
    assert source.read(0).clipped == 0 and source.read(1).clipped == 16 / 64


def test_files_whose_type_states_a_range_keep_it_and_refuse_others(tmp_path):
    deep = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    files = source(tmp_path, [deep, deep.astype(np.uint8)])
    records = [Record(path, 0, "good", path, "train", True) for path in files.paths]
    data = defaults("cpu").data
    data.image_size = 8
    labelled = LabelledFiles(tmp_path, records, data, masks={})
    assert settle_range(labelled, data, range(2)) is None
    np.testing.assert_allclose(labelled.read(0).image[..., 0], deep / 32767.5 - 1, atol=1e-6)
    save(tmp_path / "0.tif", deep, **WINDOW)
    tifffile.imwrite(tmp_path / "1.tif", deep.astype(np.float32))
    for reader in (labelled, files):
        with pytest.raises(UserError, match=r"0\.tif: says by itself.*value_range"):
            reader.read(0)
        with pytest.raises(UserError, match=r"1\.tif: holds float"):
            reader.read(1)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_values_of_no_range_are_given_one_by_the_normals_that_train(tmp_path, dtype):
    images = np.random.default_rng(0).uniform(-500, 900, (3, 20, 20)).astype(dtype)
    files = source(tmp_path, images)
    records = [Record(path, 0, "good", path, "train", True) for path in files.paths]
    data = data_with(files_data := defaults("cpu").data, image_size=8)
    labelled = LabelledFiles(tmp_path, records, data, masks={})
    assert files_data.value_range is None
    assert settle_range(labelled, data, [0, 1]) == robust_range(labelled, [0, 1])
    (tmp_path / "0.tif").write_bytes(b"II*\0 damaged")
    assert settle_range(labelled, data, [0, 1]) == robust_range(labelled, [1])
    (tmp_path / "1.tif").write_bytes(b"II*\0 damaged")
    assert settle_range(labelled, data, [0, 1]) is None
    with pytest.raises(UserError, match="none of the normal images that train can be read"):
        robust_range(labelled, [0, 1])


def test_a_stated_range_stays(tmp_path):
    values = 2.0 * np.arange(64).reshape(8, 8)
    files, data = scans(tmp_path, values, HEADERS, count=2)
    data.value_range = (0, 500)
    assert settle_range(files, data, [0, 1]) == (0, 500)
