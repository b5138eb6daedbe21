import jax
import jax.numpy as jnp
import numpy as np

from cyclegan_ad import pool


def numbered(first, count):
    return jnp.arange(first, first + count, dtype=jnp.float32).reshape(-1, 1, 1, 1)


def by_hand(kept, size, images, key):
    """The recipe's pool, image by image, on lists; with the draws that `exchange` makes."""
    swap_key, place_key = jax.random.split(key)
    swaps = jax.random.bernoulli(swap_key, 0.5, (len(images),))
    places = jax.random.randint(place_key, (len(images),), 0, size)
    shown = []
    for image, swap, place in zip(images, swaps.tolist(), places.tolist(), strict=True):
        if len(kept) < size:
            kept.append(image)
            shown.append(image)
        elif swap:
            shown.append(kept[place])
            kept[place] = image
        else:
            shown.append(image)
    return shown


def test_pool_does_what_the_recipe_does_image_by_image(key):
    state, kept = pool.start(5, (1, 1, 1)), []
    exchange = jax.jit(pool.exchange)
    for turn in range(12):
        images, own = numbered(1 + 3 * turn, 3), jax.random.fold_in(key, turn)
        state, shown = exchange(state, images, own)
        assert shown.ravel().tolist() == by_hand(kept, 5, images.ravel().tolist(), own)
        assert state.images.ravel().tolist() == kept + [0.0] * (5 - len(kept))
        assert int(state.count) == len(kept)
    assert exchange._cache_size() == 1


def test_a_full_pool_shows_an_old_image_half_of_the_time(key):
    state, _ = pool.exchange(pool.start(10, (1, 1, 1)), numbered(0, 10), key)
    images = numbered(1000, 400)
    _, shown = pool.exchange(state, images, jax.random.key(1))
    changed = np.asarray(shown != images).sum()
    # 200 expected; five standard deviations of the binomial are 50.
    assert abs(changed - 200) < 50


def test_without_a_pool_every_image_comes_back(key):
    state, shown = pool.exchange(pool.start(0, (1, 1, 1)), numbered(3, 4), key)
    assert shown.ravel().tolist() == [3, 4, 5, 6] and state.images.shape == (0, 1, 1, 1)
