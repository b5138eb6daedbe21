"""The figure of localisation, drawn from rows made by hand."""

import numpy as np
import pytest

from ad_core.reporting.localisation_figure import _BELOW, _GAP, _LEFT, _LINE, localisation_figure
from ad_core.reporting.localisation_rows import Heat, Row
from ad_core.scoring.localisation import MapScale
from ad_core.scoring.pictures import colour, overlay, to_rgb
from ad_core.scoring.verdict import COLOURS

SIDE = 64
SCALE = MapScale(low=0.0, high=2.0, level=1.0)
MAP = np.linspace(0.0, 2.0, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)


def row(method="a", *, heat=MAP, **changes):
    image = np.full((SIDE, SIDE, 1), 0.2, np.float32)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[3:9, 5:20] = True
    given = {
        "method": method,
        "name": "test/scratch/a_long_name_of_a_file_000123.png",
        "image": image,
        "drawn": -image,
        "residual": Heat(heat, "|image - normal version|", SCALE, False),
        "features": Heat(heat[::-1], "padim.distance", SCALE, True),
        "anomaly": heat,
        "scale": SCALE,
        "mask": mask,
        "decision": "inspect",
        "score": 0.9,
        "threshold": 0.5,
        "abnormal": True,
    }
    return Row(**{**given, **changes})


def panel(picture, column, number=0, block=0, rows=1):
    """A panel of a picture whose panels have SIDE pixels a side and whose blocks have `rows`."""
    height = 2 * _LINE + rows * (SIDE + _BELOW) + 5 * _LINE
    top = _GAP + block * height + 2 * _LINE + number * (SIDE + _BELOW)
    left = _LEFT + column * (SIDE + _GAP)
    return picture[top : top + SIDE, left : left + SIDE]


def test_the_panels_of_a_row_are_the_very_pictures():
    one = row()
    picture = localisation_figure([one], side_px=SIDE)
    mask = np.where(one.mask, 255, 0)[..., None] + np.zeros(3, int)
    wanted = [
        to_rgb(one.image), to_rgb(one.drawn), *map(colour, map(SCALE.position, (MAP, MAP[::-1]))),
        mask, overlay(one.image, MAP, SCALE),
    ]  # fmt: skip
    for column, expected in enumerate(wanted):
        np.testing.assert_array_equal(panel(picture, column), expected)


def test_rows_and_methods_stand_one_below_the_other_on_one_scale():
    faint = np.full((SIDE, SIDE), 1.0, np.float32)
    rows = [row(), row(heat=faint), row("b"), row("b", heat=faint)]
    picture = localisation_figure(rows, side_px=SIDE)
    for block in (0, 1):
        first = panel(picture, 2, 0, block, rows=2)
        second = panel(picture, 2, 1, block, rows=2)
        np.testing.assert_array_equal(first, colour(SCALE.position(MAP)))
        np.testing.assert_array_equal(second, colour(SCALE.position(faint)))


@pytest.mark.parametrize(("decision", "abnormal"), [("inspect", False), ("normal", True)])
def test_the_frame_of_a_verdict_has_the_decisions_colour_and_an_error_is_told(decision, abnormal):
    wrong = localisation_figure([row(decision=decision, abnormal=abnormal)], side_px=SIDE)
    right = localisation_figure([row(decision=decision, abnormal=not abnormal)], side_px=SIDE)
    unknown = localisation_figure([row(decision=decision, abnormal=None)], side_px=SIDE)
    rgb = np.frombuffer(bytes.fromhex(COLOURS[decision][1:]), np.uint8)
    top, left = _GAP + 2 * _LINE, _LEFT + 5 * (SIDE + _GAP)
    np.testing.assert_array_equal(wrong[top - 2, left : left + SIDE], np.tile(rgb, (SIDE, 1)))
    words = slice(top + SIDE + 16, top + SIDE + _BELOW)  # the second line below the panel
    assert (wrong[words, left:] != 255).any()
    assert (right[words, left:] == 255).all() and (unknown[words, left:] == 255).all()


def test_what_a_method_lacks_is_an_empty_panel():
    bare = row(drawn=None, residual=None, features=None, mask=None, score=None)
    picture = localisation_figure([bare], side_px=SIDE)
    for column in (1, 2, 3, 4):
        inside = panel(picture, column)[2:-2, 2:-2]
        assert (inside == 255).mean() > 0.9 and (inside < 200).any()  # the word "none"


def test_images_that_are_no_squares_and_larger_than_a_panel_keep_their_shape():
    image = np.zeros((128, 256, 3), np.float32)
    heat = np.ones((128, 256), np.float32)
    wide = row(heat=heat, image=image, drawn=None, mask=None)
    picture = localisation_figure([wide], side_px=SIDE)
    top, left = _GAP + 2 * _LINE, _LEFT + 2 * (SIDE + _GAP)
    np.testing.assert_array_equal(
        picture[top : top + 32, left : left + SIDE], np.tile(colour(np.array(0.5)), (32, SIDE, 1))
    )
    assert (picture[top + 33, left : left + SIDE] == 255).all()
