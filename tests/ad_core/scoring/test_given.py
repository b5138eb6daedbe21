import numpy as np
import pytest
import tifffile
from PIL import Image

from ad_core.data.formats.image import read_image
from ad_core.errors import UserError
from ad_core.scoring.given import read_all
from tests.small_config import small_config


def settings(**data):
    return small_config(data={"image_size": 16, "channels": 1, **data}).data


def noise(*shape, top=255, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, top + 1, shape).astype(dtype)


def images_of(given, data, **options):
    return [one.sample.image for one in read_all(given, data, **options)]


def from_file(path, data):
    names = ("channels", "value_range", "resize", "max_pixels", "max_bytes", "min_side")
    options = {name: data.to_dict()[name] for name in names}
    return read_image(path, size=data.image_size, **options).image


@pytest.mark.parametrize("resize", ["stretch", "letterbox", "centre_crop"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "values",
    [
        noise(40, 71),
        noise(40, 71, 3),
        noise(71, 40, 4),
        noise(40, 40, 2),
        noise(33, 20, top=65535, dtype=np.uint16),
    ],
    ids=["grey", "colour", "alpha", "grey with alpha", "16 bits"],
)
def test_an_array_and_pillows_image_are_read_as_their_file(tmp_path, values, channels, resize):
    data = settings(channels=channels, resize=resize)
    Image.fromarray(values).save(tmp_path / "x.png")
    expected = from_file(tmp_path / "x.png", data)
    with Image.open(tmp_path / "x.png") as opened:
        given = [tmp_path / "x.png", str(tmp_path / "x.png"), opened, values]
        for image in images_of(given, data):
            np.testing.assert_array_equal(image, expected)


def test_one_image_is_one_whatever_its_kind_and_four_axes_are_many():
    data = settings()
    for one in (noise(20, 20), noise(20, 20, 3), Image.fromarray(noise(20, 20)), "gone.png"):
        assert len(list(read_all(one, data))) == 1
    assert len(list(read_all(noise(5, 20, 20, 1), data))) == 5
    assert len(list(read_all((noise(20, 30), noise(30, 20)), data))) == 2
    assert [one.seen.path for one in read_all([noise(9, 9), noise(9, 9)], data)] == [
        "image 0",
        "image 1",
    ]


def test_a_photograph_is_turned_by_its_orientation(tmp_path):
    data = settings()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(24, 60)).save(tmp_path / "x.jpg", exif=exif)
    with Image.open(tmp_path / "x.jpg") as opened:
        np.testing.assert_array_equal(*images_of([tmp_path / "x.jpg", opened], data))


def test_the_pages_of_a_file_are_images_each(tmp_path):
    data = settings(page="all")
    tifffile.imwrite(tmp_path / "x.tif", noise(3, 20, 20), photometric="minisblack")
    found = list(read_all(tmp_path / "x.tif", data))
    assert [one.seen.path for one in found] == [f"{tmp_path / 'x.tif'}#{n}" for n in range(3)]
    page = next(read_all(f"{tmp_path / 'x.tif'}#1", data))
    np.testing.assert_array_equal(page.sample.image, found[1].sample.image)


def test_a_link_to_an_image_is_followed(tmp_path):
    (tmp_path / "far").mkdir()
    Image.fromarray(noise(20, 20)).save(tmp_path / "far" / "x.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "far" / "x.png")
    given = next(read_all(tmp_path / "link.png", settings()))
    assert given.sample is not None and given.seen.path == str(tmp_path / "link.png")


def test_floats_count_from_0_to_1_and_any_other_range_must_be_said():
    data, values = settings(), noise(20, 20)
    whole, share = images_of([values, values / 255], data)
    np.testing.assert_allclose(share, whole, atol=1e-6)
    signed = values / 127.5 - 1
    refused = next(read_all(signed, data))
    assert refused.sample is None and "floats count from 0 to 1" in refused.seen.error
    assert "value_range=(low, high)" in refused.seen.error
    (told,) = images_of(signed, data, value_range=(-1, 1))
    np.testing.assert_allclose(told, whole, atol=1e-6)
    assert "int64" in next(read_all(values.astype(np.int64), data)).seen.error


def test_a_detector_with_a_range_takes_arrays_in_its_unit():
    data = settings(value_range=(-1000.0, 1000.0))
    hounsfield = np.linspace(-1500, 1000, 400).reshape(20, 20)
    for values in (hounsfield, hounsfield.astype(np.int16)):
        given = next(read_all(values, data))
        assert given.sample.image.min() == -1 and given.sample.image.max() == pytest.approx(
            1, abs=0.1
        )
        assert given.seen.clipped == pytest.approx(0.2, abs=0.01)
    with pytest.raises(UserError, match="knows values from -1000.0,1000.0"):
        read_all(hounsfield, data, (0, 1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.full((20, 20), np.nan), "float64 from nan"),
        (np.full((20, 20, 5), 0, np.uint8), "has the shape (20, 20, 5)"),
        (np.zeros((3, 3), np.uint8), "a side below `data.min_side`"),
        (np.zeros((0, 9), np.uint8), "a side below `data.min_side`"),
        (None, "is NoneType, no image"),
        ({"a": 1}["a"], "has the shape ()"),
        ("nowhere.png", "cannot be read"),
        (Image.new("HSV", (20, 20)), "cannot be decoded"),
    ],
)
def test_what_cannot_be_read_is_told_and_costs_no_other_image(given, message):
    found = list(read_all([noise(20, 20), given, noise(20, 20)], settings()))
    assert [one.sample is None for one in found] == [False, True, False]
    assert message in found[1].seen.error and found[1].seen.placement is None


def test_colour_of_16_bits_that_pillow_would_halve_is_refused(tmp_path):
    values = noise(20, 20, 3, top=65535, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "x.tif", values, photometric="rgb")
    with Image.open(tmp_path / "x.tif") as opened:
        given = next(read_all(opened, settings(channels=3)))
    assert "16-bit colour" in given.seen.error
    assert next(read_all(tmp_path / "x.tif", settings(channels=3))).sample is not None


def test_a_range_that_is_none_is_refused_before_anything_is_read():
    with pytest.raises(UserError, match="low < high"):
        read_all(noise(20, 20), settings(), (1, 0))


def test_a_folder_is_no_image_and_says_what_to_give(tmp_path):
    (given,) = read_all(tmp_path, settings())
    assert given.sample is None
    assert "is a folder; give the paths of the images in it" in given.seen.error
