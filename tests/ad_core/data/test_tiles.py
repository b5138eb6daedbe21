import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.data.tiles import (
    Tiling,
    check_tiling,
    cut,
    join,
    make_grid,
    make_line,
    make_tiling,
    reduce,
    shows,
    weights,
)
from ad_core.errors import UserError

LAYOUTS = [  # of every kind: even, uneven, no overlap, more than half, smaller than a tile
    (Tiling(8, 2), (20, 14)),
    (Tiling(8, 4, margin=2), (21, 13)),
    (Tiling(8, 0), (17, 8)),
    (Tiling(8, 6, margin=1), (15, 24)),
    (Tiling(12, 5, blend="linear"), (9, 30)),
    (Tiling(8, 4, blend="nearest"), (20, 20)),
]


def images(size, count=2, channels=3):
    return np.random.default_rng(0).normal(size=(count, *size, channels)).astype(np.float32)


def test_a_line_of_twenty_pixels_has_the_tiles_that_a_hand_draws():
    line = make_line(20, Tiling(8, 2))
    assert (line.count, line.step, line.padded) == (3, 6, 20)
    assert line.starts().tolist() == [0, 6, 12]
    assert make_line(21, Tiling(8, 2)).count == 4
    assert make_line(5, Tiling(8, 2)).count == 1


@pytest.mark.parametrize(("tiling", "size"), LAYOUTS)
def test_tiles_are_slices_of_the_image_and_its_mirror_image(tiling, size):
    image, grid = images(size), make_grid(size, tiling)
    tiles = np.asarray(jax.jit(lambda x: cut(x, grid))(image))
    beyond = [(0, line.padded - line.side) for line in grid]
    wide = np.pad(image, [(0, 0), *beyond, (0, 0)], mode="symmetric")
    assert tiles.shape[1] == grid.count == len(grid.boxes())
    for number, (left, top, right, bottom) in enumerate(grid.boxes()):
        np.testing.assert_array_equal(tiles[:, number], wide[:, top:bottom, left:right])


@pytest.mark.parametrize(("tiling", "size"), LAYOUTS)
def test_tiles_that_say_the_same_join_to_the_image(tiling, size):
    image, grid = images(size), make_grid(size, tiling)
    sides = [weights(line, tiling, positions=tiling.tile) for line in grid]
    whole = jax.jit(lambda x: join(cut(x, grid), grid, *sides))(image)
    np.testing.assert_allclose(whole, image, rtol=0, atol=1e-6)  # float32 weights


@pytest.mark.parametrize(("tiling", "size"), LAYOUTS)
@pytest.mark.parametrize("positions", [1, 2, 4])
def test_weights_sum_to_one_at_every_place(tiling, size, positions):
    for side in size:
        line = make_line(side, tiling)
        if not line.divides(positions):
            continue
        own = weights(line, tiling, positions=positions)
        place = line.scaled(positions).starts()[:, None] + np.arange(positions)
        np.testing.assert_allclose(np.bincount(place.ravel(), own.ravel()), 1, atol=1e-6)


def test_weights_are_the_raised_cosine_beside_margins_that_count_nothing():
    own = weights(make_line(12, Tiling(8, 4, margin=1)), Tiling(8, 4, margin=1), positions=8)
    ramp = (1 - np.cos(np.pi * np.array([0.25, 0.75]))) / 2
    np.testing.assert_allclose(own[1], [0, *ramp, 1, 1, 1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(own[0], [1, 1, 1, 1, 1, *ramp[::-1], 0], atol=1e-6)


def test_of_blend_nearest_every_place_has_one_tile():
    line, tiling = make_line(20, Tiling(8, 4)), Tiling(8, 4, blend="nearest")
    own = weights(line, tiling, positions=8)
    assert set(np.unique(own)) == {0.0, 1.0}
    assert own[1].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]


def test_an_image_is_reduced_by_means_of_squares():
    image = jnp.arange(12.0).reshape(1, 3, 4, 1)
    np.testing.assert_allclose(reduce(image, 2)[0, ..., 0], [[2.5, 4.5], [8.5, 10.5]])


def test_a_tile_counts_that_shows_some_of_the_content():
    grid = make_grid((20, 20), Tiling(8, 2))
    shown = shows(grid, jnp.array([[0, 0, 6, 7], [0, 0, 20, 20]]))
    assert np.flatnonzero(shown[0]).tolist() == [0, 3]  # one across, two down
    assert shown[1].all()


SECTION = {
    "tile": 64, "overlap": None, "margin": 0, "scales": (1,), "blend": "cosine", "batch": 8,
    "top": 0.05,
}  # fmt: skip


def test_no_tile_is_no_tiling_and_the_overlap_is_a_quarter():
    assert make_tiling(SECTION | {"tile": 0}) is None
    assert make_tiling(SECTION) == Tiling(64, 16)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tile": 4}, "`tiling.tile` .=4. must be 8 pixels or more"),
        ({"overlap": 64}, "`tiling.overlap` .=64. must lie between 0 and `tiling.tile` .=64."),
        ({"margin": 9}, "`tiling.margin` .=9. must lie .* half of .* .=16.: .* raise the overlap"),
        ({"scales": (2, 1)}, "`tiling.scales` .=2,1. must be whole numbers from 1 that rise"),
        ({"blend": "sharp"}, "`tiling.blend` .=sharp. must be one of cosine, linear, nearest"),
        ({"batch": 0}, "`tiling.batch` .=0. must be 1 or more"),
        ({"top": 0.0}, "`tiling.top` .=0.0. must lie above 0"),
    ],
)
def test_a_setting_out_of_range_is_refused(values, message):
    with pytest.raises(UserError, match=message):
        check_tiling(make_tiling(SECTION | values))
