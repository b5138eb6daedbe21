import numpy as np
import pytest

from ad_core.reporting.gallery import HIGHEST, SHOWN, Gallery
from ad_core.reporting.panels import Drawn, Panel

KINDS = {
    "misses": (True, False),
    "hits": (True, True),
    "false_alarms": (False, True),
    "passed": (False, False),
}


def _offer(gallery, scores, *, abnormal, inspected):
    """Offers images 0, 1, ...; returns the rows whose pictures were drawn."""
    drawn = []

    def draw(row):
        drawn.append(row)
        return Drawn((Panel("image", np.full((1, 1, 3), row, np.uint8)),), f"place {row}")

    for row, score in enumerate(scores):
        gallery.offer(
            row,
            score=score,
            abnormal=abnormal,
            inspected=inspected,
            draw=lambda row=row: draw(row),
        )
    return drawn


@pytest.mark.parametrize("kind", KINDS)
def test_the_most_telling_images_of_each_kind_are_kept(kind):
    abnormal, inspected = KINDS[kind]
    gallery, scores = Gallery(), np.random.default_rng(0).permutation(20) / 20
    _offer(gallery, scores.tolist(), abnormal=abnormal, inspected=inspected)
    expected = np.argsort(-scores if HIGHEST[kind] else scores)[:SHOWN]
    shown = gallery.shown(kind)
    assert [one.row for one in shown] == expected.tolist()
    assert [one.drawn.panels[0].picture[0, 0, 0] for one in shown] == expected.tolist()
    assert [one.drawn.places for one in shown] == [f"place {row}" for row in expected]
    assert not any(gallery.shown(other) for other in KINDS if other != kind)


def test_a_picture_that_is_not_kept_is_not_drawn():
    scores = np.linspace(1, 0, 50).tolist()
    assert _offer(Gallery(), scores, abnormal=False, inspected=True) == list(range(SHOWN))


def test_an_image_without_a_score_is_not_shown():
    gallery = Gallery()
    assert _offer(gallery, [float("nan"), float("inf")], abnormal=True, inspected=True) == []
    assert not gallery.shown("hits")
