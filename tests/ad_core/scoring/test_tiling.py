"""A method on tiles: it says of a whole image what it would say of the image itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from ad_core.data.tiles import Tiling, make_grid
from ad_core.errors import UserError
from ad_core.runtime.config import complete
from ad_core.runtime.keys import image_keys
from ad_core.runtime.registry import resolve
from ad_core.scoring.files import load_method
from ad_core.scoring.localisation import blur
from ad_core.scoring.part import view_shapes
from ad_core.scoring.tiling import least_region, make_method, seen_size, tile_batches, tiled
from ad_core.training.cross_fit import fit_parts
from ad_core.types import Batch, Method, OnePass, Steps, TrainState, View
from tests.quick import compiled
from tests.saved_detector import save_detector_of

SIZE = (75, 62)
STATE = TrainState(jnp.int32(0), {}, (), {})


def fit(batches, key):
    return TrainState(jnp.int32(1), {}, (), {})


def local_view(state, image, keys):
    """Nothing but neighbours within 4 px: blurred, and its residual by 4 x 4 pixels."""
    drawn = jnp.stack([blur(x, sigma_px=1.0) for x in jnp.moveaxis(image, -1, 0)], axis=-1)
    residual = jnp.abs(image - drawn).mean(axis=-1)
    b, h, w = residual.shape
    coarse = residual.reshape(b, h // 4, 4, w // 4, 4).mean(axis=(2, 4))
    number = jax.random.key_data(keys)[:, 1].astype(jnp.float32)
    losses = {"worst": residual.max(axis=(1, 2)), "key": number}
    return View(drawn, {"fine": residual, "coarse": coarse}, losses, anomaly="fine")


LOCAL = Method(OnePass(fit), local_view, losses=("worst",), maps=("fine", "coarse"))


def images(count=2, size=SIZE, channels=3):
    rng = np.random.default_rng(1)
    return rng.uniform(-1, 1, (count, *size, channels)).astype(np.float32)


def look(method, image, content=None):
    keys = image_keys(jnp.asarray(image))
    call = compiled(lambda x: method.view_within(STATE, x, keys, content))
    return jax.device_get(call(image))


@pytest.mark.parametrize(("overlap", "blend"), [(8, "nearest"), (12, "cosine"), (20, "linear")])
def test_tiles_of_a_local_method_say_what_it_says_of_the_whole_image(overlap, blend):
    """The reach of 4 px is the margin; images of 76 x 64 have a map of whole cells."""
    image = images(size=(76, 64))
    method = tiled(LOCAL, Tiling(32, overlap, 4, blend=blend, batch=3), size=(76, 64))
    whole = jax.device_get(local_view(STATE, jnp.asarray(image), image_keys(jnp.asarray(image))))
    seen = look(method, image)
    np.testing.assert_allclose(seen.image, whole.image, rtol=0, atol=1e-6)
    np.testing.assert_allclose(seen.maps["fine"], whole.maps["fine"], rtol=0, atol=1e-6)


def test_a_map_keeps_its_resolution_where_cells_lie_on_one_lattice():
    image = images(size=(76, 64))
    method = tiled(LOCAL, Tiling(32, 16, 8), size=(76, 64))
    whole = local_view(STATE, jnp.asarray(image), image_keys(jnp.asarray(image)))
    seen = look(method, image)
    assert seen.maps["coarse"].shape == (2, 19, 16)
    np.testing.assert_allclose(seen.maps["coarse"], whole.maps["coarse"], rtol=0, atol=1e-6)


def test_a_map_off_the_lattice_becomes_one_of_pixels():
    assert look(tiled(LOCAL, Tiling(32, 10), size=SIZE), images()).maps["coarse"].shape[1:] == SIZE


def test_losses_are_pooled_over_the_tiles_and_the_worst_tile_is_told():
    image, tiling = images(), Tiling(32, 8, batch=5, top=0.4)
    seen = look(tiled(LOCAL, tiling, size=SIZE), image)
    grid = make_grid(SIZE, tiling)
    tiles = seen.maps["worst_tiles"]
    assert tiles.shape == (2, 3, 3)
    flat = np.sort(tiles.reshape(2, -1), axis=1)
    np.testing.assert_allclose(seen.losses["worst_tile_max"], flat[:, -1], rtol=1e-6)
    np.testing.assert_allclose(seen.losses["worst_tile_top"], flat[:, -4:].mean(1), rtol=1e-6)
    np.testing.assert_allclose(seen.losses["worst_tile_mean"], flat.mean(1), rtol=1e-6)
    image[0] = 0.0
    image[0, 45, 55] = 1.0  # in one tile alone
    tiles = look(tiled(LOCAL, tiling, size=SIZE), image).maps["worst_tiles"][0]
    left, top, right, bottom = grid.boxes()[tiles.argmax()]
    assert left <= 55 < right and top <= 45 < bottom
    assert np.count_nonzero(tiles > 0.9 * tiles.max()) == 1


def test_tiles_beside_the_content_count_nothing():
    image, tiling = images(), Tiling(32, 8)
    image[0, :, 30:] *= 0.1
    image[1, 40:] = 0.0
    method, content = tiled(LOCAL, tiling, size=SIZE), jnp.array([[0, 0, 20, 75], [0, 0, 62, 20]])
    seen, tiles = look(method, image, content), look(method, image).maps["worst_tiles"]
    np.testing.assert_allclose(
        seen.losses["worst_tile_mean"], [tiles[0, :, 0].mean(), tiles[1, 0].mean()], rtol=1e-6
    )
    np.testing.assert_allclose(seen.losses["worst_tile_max"][0], tiles[0, :, 0].max(), rtol=1e-6)


def test_every_tile_has_a_key_of_its_image_and_its_number():
    image = images()
    image[1] = image[0]
    image = np.concatenate([image, images(1)[:, ::-1]])
    keys = look(tiled(LOCAL, Tiling(32, 8), size=SIZE), image).maps["key_tiles"]
    assert len(np.unique(keys[0])) == keys[0].size
    np.testing.assert_array_equal(keys[0], keys[1])
    assert (keys[0] != keys[2]).all()


def test_neither_batch_nor_calls_change_what_is_said_of_an_image():
    image, tiling = images(3), Tiling(32, 8, batch=4)
    together = look(tiled(LOCAL, tiling, size=SIZE), image)
    alone = look(tiled(LOCAL, tiling._replace(batch=7), size=SIZE), image[1:2])
    same = jax.tree.map(lambda x: x[1:2], together)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), alone, same)


def test_codes_are_of_one_tile_and_never_a_mean():
    def view(state, image, keys):
        numbers = jnp.round(50 * jnp.abs(image[..., 0].mean(axis=(1, 2)) * 100))
        return View(maps={"codes": numbers[:, None, None] + jnp.zeros((1, 8, 8))})

    method = tiled(Method(OnePass(fit), view, maps=("codes",)), Tiling(32, 16), size=(64, 64))
    image = images(1, (64, 64))
    codes = look(method, image).maps["codes"][0]
    grid, whole = make_grid((64, 64), Tiling(32, 16)), image[0, ..., 0]
    own = {round(50 * abs(whole[t:b, x:r].mean() * 100)) for x, t, r, b in grid.boxes()}
    assert codes.shape == (16, 16) and set(codes.ravel().tolist()) <= own and len(own) == 9


def test_a_reduced_image_has_losses_of_its_own_and_half_of_the_map():
    def view(state, image, keys):
        level = image.mean(axis=(1, 2, 3))
        return View(maps={"level": level[:, None, None] + 0 * image[..., 0]}, losses={"n": level})

    image = np.zeros((1, 64, 64, 1), np.float32)
    image[0, :32, :32] = 1.0
    method = Method(OnePass(fit), view, losses=("n",), maps=("level",))
    seen = look(tiled(method, Tiling(32, 0, scales=(1, 2)), size=(64, 64)), image)
    np.testing.assert_allclose(seen.losses["n_tile_max"], 1.0)
    np.testing.assert_allclose(seen.losses["n_by_2_tile_max"], 0.25)
    np.testing.assert_allclose(seen.maps["level"][0, ::32, ::32], [[0.625, 0.125], [0.125, 0.125]])
    assert tiled(method, Tiling(32, 0, scales=(1, 2)), size=(64, 64)).losses[:4] == (
        "n_tile_max", "n_tile_top", "n_tile_mean", "n_by_2_tile_max",
    )  # fmt: skip


def test_pooled_features_are_means_and_maxima_over_tiles():
    def view(state, image, keys):
        return View(features={"level": image.mean(axis=(1, 2))})

    image = np.zeros((1, 64, 32, 2), np.float32)
    image[0, :32, :, 1] = 0.5
    method = tiled(Method(OnePass(fit), view), Tiling(32, 0), size=(64, 32))
    np.testing.assert_allclose(look(method, image).features["level"], [[0, 0.25, 0, 0.5]])


def batch_of(image, valid):
    count = len(image)
    return Batch(image, np.arange(count) % 2, np.array(valid), np.arange(count))


def test_all_tiles_of_valid_images_teach_in_order_and_batches_are_full():
    image, tiling = images(3), Tiling(32, 8, batch=4)
    grids = {1: make_grid(SIZE, tiling)}
    given = [batch_of(image, [True, False, True])]
    found = list(tile_batches(given, tiling=tiling, grids=grids))
    assert [len(batch.image) for batch in found] == [4] * 5
    valid = np.concatenate([batch.valid for batch in found])
    assert valid.sum() == 18 and valid[:18].all()
    index = np.concatenate([batch.index for batch in found])
    assert index.tolist() == [0] * 9 + [2] * 9 + [-1] * 2
    np.testing.assert_array_equal(found[0].image[1], image[0, :32, 24:56])


def config_of(method, **tiling):
    return complete(
        ConfigDict(
            {
                "method": method,
                "size": "cpu",
                "data": {"image_size": (48, 64)},
                "tiling": {"tile": 32, "overlap": 16, **tiling},
            }
        )
    )


def test_a_part_of_the_images_teaches_all_their_tiles_and_no_other():
    config = config_of("tests.toys.recalling")
    method = make_method(config)
    image = images(3, (48, 64), 1)
    given = [batch_of(image, [True] * 3)]
    (state,) = fit_parts(method.learn, lambda: given, np.array([[True, False, True]]), seed=0)
    known = state.params["images"]
    # Two tiles down and three across, of each of two images.
    np.testing.assert_array_equal(known[7], image[2, :32, 16:48])
    assert (state.params["label"] >= 0).sum() == 12


def test_a_remembered_image_is_normal_and_another_is_not():
    method = make_method(config_of("tests.toys.recalling"))
    image = images(2, (48, 64), 1)
    state = method.learn.fit([batch_of(image[:1], [True])], jax.random.key(0))
    view = compiled(lambda x: method.view(state, x, image_keys(x)))(image)
    assert view.losses["distance_tile_max"][0] == 0 and view.losses["distance_tile_mean"][1] > 0.3


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("baselines_ad.padim", "learns what is usual at each place of an image"),
        ("baselines_ad.fine_tuned", "most tiles of an abnormal image are normal"),
    ],
)
def test_a_method_that_tiles_would_make_wrong_is_refused_with_the_reason(method, message):
    config = config_of("tests.toys.flat")
    values = config.to_dict() | {"reconstructor": resolve(method).defaults("cpu").to_dict()}
    config = ConfigDict(values | {"method": method})
    with pytest.raises(UserError, match=message):
        make_method(config)


def test_without_tiles_a_method_is_what_its_family_makes():
    method = make_method(config_of("tests.toys.flat", tile=0))
    assert method.view_within is None and method.losses == ()


def test_a_vqgan_of_tiles_begins_and_sees_at_their_sizes():
    config = config_of("vqgan_ad.vqgan", tile=32, overlap=16, margin=4)
    method = make_method(config)
    assert isinstance(method.learn, Steps)
    state = jax.eval_shape(lambda: method.learn.init(jax.random.key(0), (48, 64, 1)))
    view = view_shapes(method, config, state)
    assert view.image is not None and view.image.shape == (1, 48, 64, 1)
    assert view.maps["codes"].shape == (1, 12, 16)  # by 4 pixels, on one lattice
    assert tuple(view.losses)[:3] == tuple(
        f"reconstruction_tile_{pooling}" for pooling in ("max", "top", "mean")
    )


def test_a_saved_detector_sees_by_tiles_what_it_saw(tmp_path):
    config = config_of("tests.toys.recalling", scales=(1, 2))
    config.statistics.names = ("mse",)
    method = make_method(config)
    state = method.learn.fit([batch_of(images(2, (48, 64), 1), [True] * 2)], jax.random.key(0))
    save_detector_of(tmp_path / "d", config, state, name="recalling")
    again, learnt = load_method(tmp_path / "d")
    image = images(3, (48, 64), 1)
    pair = [
        compiled(lambda x, m=m, s=s: m.view(s, x, image_keys(x)))(image)
        for m, s in ((method, state), (again, learnt))
    ]
    jax.tree.map(np.testing.assert_array_equal, *pair)
    assert "distance_by_2_tile_top" in pair[0].losses


def test_blur_and_regions_are_measured_by_the_tile():
    config = config_of("tests.toys.flat")
    assert seen_size(config) == (32, 32)
    assert least_region(config) == pytest.approx(0.0005 * 32 * 32 / (48 * 64))
