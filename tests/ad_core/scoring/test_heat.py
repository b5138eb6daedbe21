"""Raw heat maps: grey values from which a map's own values are read again."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ad_core.scoring.heat import HOTTEST, HeatScale
from ad_core.scoring.localisation import MapScale
from ad_core.scoring.pictures import write_png

SCALE = MapScale(low=2.0, high=6.0, level=4.0)


def test_grey_values_of_a_hand_drawn_map():
    heat = HeatScale.of(SCALE)
    # From 2 - 4 to 6 + 6 * 4: 32 in 65535 steps.
    assert heat == pytest.approx((-2.0, 32 / 65535, 4.0))
    drawn = np.array([[-2.0, 30.0], [14.0, 2.0], [-9.0, 99.0]])
    np.testing.assert_array_equal(heat.grey(drawn), [[0, 65535], [32768, 8192], [0, 65535]])


@given(st.floats(-2, 30))
def test_a_value_comes_back_to_half_a_step(value):
    heat = HeatScale.of(SCALE)
    back = heat.values(heat.grey(np.array([[value]])))
    assert abs(back[0, 0] - value) <= heat.step / 2 * (1 + 1e-9)


def test_what_is_not_a_number_is_hottest():
    grey = HeatScale.of(SCALE).grey(np.array([[np.nan, np.inf, -np.inf]]))
    np.testing.assert_array_equal(grey, [[HOTTEST, HOTTEST, 0]])


def test_a_picture_and_the_summary_alone_give_the_values_back(tmp_path):
    heat = HeatScale.of(SCALE)
    drawn = np.linspace(0, 20, 24).reshape(4, 6)
    write_png(tmp_path / "a.heat.png", heat.grey(drawn))
    told = json.loads(json.dumps(heat.to_dict(longest_px=2048)))
    with Image.open(tmp_path / "a.heat.png") as image:
        assert image.mode == "I;16"
        grey = np.asarray(image)
    assert told["value"] == "zero + step * grey"
    found = told["zero"] + told["step"] * grey
    np.testing.assert_allclose(found, drawn, atol=told["step"] / 2)
    np.testing.assert_array_equal(found > told["level"], drawn > SCALE.level)
