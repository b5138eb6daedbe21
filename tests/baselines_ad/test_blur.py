"""The blur as a method: SciPy's filter, and nothing that it has learnt."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy.ndimage import gaussian_filter

from ad_core.errors import UserError
from ad_core.runtime.config import complete
from ad_core.runtime.registry import resolve
from ad_core.types import Batch


def method_of(**settings):
    config = complete(
        ConfigDict(
            {
                "method": "baselines_ad.blur",
                "data": {"image_size": 32, "channels": 3},
                "reconstructor": settings,
            }
        )
    )
    return resolve(config.method).make(config)


def test_the_normal_version_is_scipys_gaussian_filter_of_each_channel():
    method = method_of(sigma=0.0625)
    image = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
    view = method.view(None, jax.numpy.asarray(image), jax.random.split(jax.random.key(0), 2))
    expected = gaussian_filter(
        image.astype(np.float64), (0, 2.0, 2.0, 0), mode="reflect", truncate=4
    )
    np.testing.assert_allclose(view.image, expected, atol=1e-5)  # float32 sums


def test_it_learns_nothing_and_wants_images_all_the_same():
    learn = method_of().learn
    image = np.zeros((2, 32, 32, 3), np.float32)
    batch = Batch(image, np.zeros(2, int), np.array([True, False]), np.array([0, -1]))
    assert learn.fit([batch], jax.random.key(0)).params == {}
    with pytest.raises(UserError, match="No normal image"):
        learn.fit([], jax.random.key(0))


def test_no_image_is_read_again_for_what_is_learnt_without_a_fold():
    def batches():
        raise AssertionError("A blur has nothing to learn from an image.")

    fit_parts, key = method_of().learn.fit_parts, jax.random.key(0)
    states = list(fit_parts(batches, ~np.eye(3, dtype=bool), key))
    assert [state.params for state in states] == [{}] * 3
    with pytest.raises(UserError, match="No normal image"):
        list(fit_parts(batches, np.zeros((1, 3), bool), key))


def test_a_blur_without_width_is_refused():
    with pytest.raises(UserError, match="sigma.*0.0"):
        method_of(sigma=0.0)
