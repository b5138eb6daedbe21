import pytest

from ad_core.data.shape import check_divisible_sides, check_square, image_shape, sides
from ad_core.errors import UserError
from ad_core.runtime.config import differences, from_json, to_json
from ad_core.runtime.defaults import defaults
from tests.small_config import small_config


def data_of(size):
    data = defaults("cpu").data
    data.image_size = size
    return data


@pytest.mark.parametrize(
    ("stated", "shape"),
    [(64, (64, 64)), ("64", (64, 64)), ("64,96", (64, 96)), ((64, 96), (64, 96)), ([8, 9], (8, 9))],
)
def test_a_size_is_a_square_or_height_and_width(stated, shape):
    assert sides(stated) == shape
    assert image_shape(data_of(stated)) == (*shape, 1)
    assert image_shape(data_of(stated).to_dict()) == (*shape, 1)


@pytest.mark.parametrize("stated", [0, -4, "x", "64,", "", (1, 2, 3), (), (64, 0), None, 64.5])
def test_what_is_no_size_is_refused_with_its_value(stated):
    with pytest.raises(UserError, match=r"`data\.image_size` \(=.*\) must be the side of a square"):
        sides(stated)


def test_a_size_survives_the_configuration():
    config = small_config()
    config.data.image_size = (64, 96)
    again = from_json(to_json(config))
    assert image_shape(again.data) == (64, 96, 1) and differences(config, again) == {}


def test_each_side_is_checked_and_the_message_has_the_size_as_it_was_written():
    check_divisible_sides(data_of((64, 96)), 32, "a test")
    for size, written in ((66, "66"), ((64, 90), "64,90"), ("90,64", "90,64")):
        with pytest.raises(UserError, match=rf"\(={written}\) must be divisible by 4, a test\."):
            check_divisible_sides(data_of(size), 4, "a test")
    check_square(data_of("32,32"), "a test")
    with pytest.raises(
        UserError, match=r"`data\.image_size` \(=32,64\) must be a square: a test\."
    ):
        check_square(data_of((32, 64)), "a test")
