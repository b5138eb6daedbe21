import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cyclegan_ad.variation import KINDS, vary


@pytest.fixture
def image():
    return jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (16, 8, 8, 3)), jnp.float32)


def test_no_kind_changes_nothing(image, key):
    assert vary(image, key, ()) is image


def test_shift_moves_an_image_by_up_to_an_eighth(image, key):
    shifted = np.asarray(vary(image, key, ("shift",)))
    moves = set()
    for before, after in zip(np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0))), shifted, strict=True):
        found = [
            (y, x)
            for y in range(3)
            for x in range(3)
            if np.array_equal(before[y : y + 8, x : x + 8], after)
        ]
        assert len(found) == 1
        moves.add(found[0])
    assert len(moves) > 4


def test_hole_leaves_out_at_most_half_of_each_side(image, key):
    gone = np.asarray(vary(image, key, ("hole",)) == 0.0).all(axis=3)
    rows, columns = gone.any(axis=2).sum(axis=1), gone.any(axis=1).sum(axis=1)
    assert (gone.sum(axis=(1, 2)) == rows * columns).all()
    assert rows.max() == columns.max() == 4 and rows.min() >= 2
    assert len({tile.tobytes() for tile in gone}) > 8


def test_colour_keeps_the_order_of_pixels_of_a_grey_image(key):
    grey = jnp.linspace(-1, 1, 16).reshape(1, 4, 4, 1)
    varied = np.stack([vary(grey, k, ("colour",)) for k in jax.random.split(key, 8)])
    ranges = np.ptp(varied, axis=(1, 2, 3, 4))
    assert (np.diff(varied.reshape(8, 16), axis=1) > 0).all()
    assert 1.0 <= ranges.min() < ranges.max() <= 3.0
    assert np.abs(varied.mean((1, 2, 3, 4))).max() <= 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_pass_through(image, key, kind):
    gradient = jax.grad(lambda x: jnp.sum(jnp.square(vary(x, key, (kind,)))))(image)
    assert bool(jnp.isfinite(gradient).all()) and float(jnp.abs(gradient).max()) > 0.1


def test_an_images_draw_depends_on_its_place_alone(image, key):
    kinds = tuple(KINDS)
    other = image.at[1:].set(0.5)
    np.testing.assert_array_equal(vary(image, key, kinds)[0], vary(other, key, kinds)[0])
