import jax
import jax.numpy as jnp
import numpy as np

from ad_core.runtime.keys import image_keys


def words(image):
    """The keys as integers [b, 2]."""
    return np.asarray(jax.random.key_data(image_keys(jnp.asarray(image))))


def images(count=6, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (count, 5, 7, 3)).astype(np.float32)


def test_equal_images_have_equal_keys_in_any_row_and_batch():
    image = images()
    whole = words(image)
    np.testing.assert_array_equal(words(image[::-1])[::-1], whole)
    np.testing.assert_array_equal(np.concatenate([words(one[None]) for one in image]), whole)
    keys = jax.jit(image_keys)(jnp.asarray(image))
    np.testing.assert_array_equal(jax.random.key_data(keys), whole)


def test_any_change_of_an_image_changes_its_key():
    """One bit of one value, a value moved elsewhere, two values exchanged."""
    image = images(1)
    bit = image.copy()
    bit[0, 2, 3, 1] = np.nextafter(bit[0, 2, 3, 1], np.float32(2))
    moved, turned = np.roll(image, 1, axis=2), image[:, ::-1]
    exchanged = image.copy()
    exchanged[0, 0, 0, 0], exchanged[0, 4, 6, 2] = image[0, 4, 6, 2], image[0, 0, 0, 0]
    found = {tuple(words(one)[0]) for one in (image, bit, moved, turned, exchanged)}
    assert len(found) == 5


def test_keys_of_many_images_differ_in_every_bit():
    """No two of 4,096 flat images collide, and each bit is set in about half of the keys."""
    flat = np.linspace(-1, 1, 4096, dtype=np.float32)
    found = words(np.broadcast_to(flat[:, None, None, None], (4096, 4, 4, 1)))
    assert len(np.unique(found, axis=0)) == 4096
    bits = np.unpackbits(found.view(np.uint8), axis=1).mean(axis=0)
    assert 0.45 < bits.min() and bits.max() < 0.55
