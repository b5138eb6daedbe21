"""The head on local features: its steps by PyTorch, its optimum by SciPy, what it finds.

tests/golden/multiple_instance.npz: PyTorch 2.13.0 (CPU, float64), by
`python benchmarks/torch_multiple_instance.py --golden=FILE`: heads of two parts of
drawn bags after one and after 20 steps of Adam at a falling rate.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from ad_core.errors import UserError
from ad_core.metrics import auroc
from ad_core.runtime.keys import image_keys
from baselines_ad import multiple_instance
from baselines_ad.instances import FLOOR, Descent, highest_mean, learn_heads
from tests.baselines_ad.test_fine_tuned import batches_of, labelled, quarters
from tests.baselines_ad.test_methods import TOY
from tests.small_config import small_config

GOLDEN = Path(__file__).parents[1] / "golden" / "multiple_instance.npz"
OWN = {"backbone": TOY, "levels": ("stem", "stage5"), "least_images": 8}


def method_of(**own):
    data = {"channels": 1, "image_size": 32, "augment": "none"}
    config = small_config(
        method="baselines_ad.multiple_instance", reconstructor={**OWN, **own}, data=data
    )
    return multiple_instance.make(config)


def fitted(parts=None, *, count=40, seed=0, **own):
    method, (images, labels) = method_of(**own), labelled(count, seed)
    key = jax.random.key(3)
    if parts is None:
        return method, [method.learn.fit(batches_of(images, labels), key)]
    return method, list(method.learn.fit_parts(lambda: batches_of(images, labels), parts, key))


def seen(method, state, images):
    return method.view(state, jnp.asarray(images), image_keys(jnp.asarray(images)))


def bags(count=60, positions=9, width=4, seed=0):
    """Images whose label shows at one of their positions alone, in one direction."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, positions, width)).astype(np.float32)
    labels = np.arange(count) % 2
    for row in np.flatnonzero(labels):
        x[row, rng.integers(positions), 1] += 4.0
    return x, labels.astype(np.int32)


def test_the_mean_of_the_highest_is_that_of_a_sorted_row():
    scores = np.random.default_rng(0).normal(size=(3, 5, 40)).astype(np.float32)
    expected = np.sort(scores, axis=-1)[..., -3:].mean(axis=-1)  # ceil(0.07 * 40) = 3
    np.testing.assert_allclose(highest_mean(jnp.asarray(scores), 0.07), expected, rtol=1e-6)


def test_learning_ends_where_scipy_ends():
    """With all positions in the mean the loss is convex, and any solver comes to the same heads."""
    x, labels = bags()
    part = np.arange(len(x)) >= 12
    heads = learn_heads(x, labels, part[None], Descent(steps=3000, lr=0.03, penalty=0.05, top=1.0))
    own = x[part].reshape(-1, x.shape[-1]).astype(np.float64)
    scale = np.sqrt(own.var(axis=0) + FLOOR * own.var(axis=0).mean())
    z, y = ((x[part] - own.mean(axis=0)) / scale).mean(axis=1), labels[part]
    share = np.where(y == 1, 0.5 / y.sum(), 0.5 / (1 - y).sum())

    def loss(v):
        logits = z @ v[1:] + v[0]
        each = np.logaddexp(0.0, np.where(y == 1, -logits, logits))
        return float(share @ each + 0.05 * v[1:] @ v[1:])

    best = minimize(loss, np.zeros(1 + x.shape[-1]), tol=1e-12).x
    np.testing.assert_allclose(heads.weight[:, 0] * scale, best[1:], atol=2e-3)
    assert heads.bias[0] == pytest.approx(best[0] - own.mean(axis=0) @ (best[1:] / scale), abs=2e-3)


@pytest.mark.parametrize("steps", [1, 20])
def test_heads_after_some_steps_are_those_of_pytorch(steps):
    """Drawn as benchmarks/torch_multiple_instance.py draws, which needs PyTorch."""
    rng = np.random.default_rng(27)
    x = (rng.normal(0, 1, (24, 20, 6)) * rng.uniform(0.1, 3, 6)).astype(np.float32)
    labels = np.arange(24) % 3 == 0
    x[labels, rng.integers(20, size=labels.sum())] += 2.0
    parts = np.stack([np.arange(24) < 24, np.arange(24) % 4 != 1])
    settings = Descent(steps=steps, lr=0.02, penalty=0.1, top=0.15)
    heads = learn_heads(x, labels.astype(np.int32), parts, settings)
    with np.load(GOLDEN) as golden:
        np.testing.assert_allclose(heads.weight, golden[f"weight/{steps}"], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(heads.bias, golden[f"bias/{steps}"], rtol=1e-4, atol=1e-5)


def test_one_position_that_differs_tells_what_a_mean_of_all_does_not():
    x, labels = bags(400, positions=100)
    unseen, kinds = bags(400, positions=100, seed=1)
    half = np.arange(400)[None] < 400

    def auc(top):
        heads = learn_heads(x, labels, half, Descent(steps=100, lr=0.01, penalty=0.1, top=top))
        return auroc(kinds, np.asarray(highest_mean(jnp.asarray(unseen @ heads.weight[:, 0]), top)))

    assert auc(0.01) > 0.9
    assert auc(1.0) < 0.7


def test_parts_learnt_together_are_those_learnt_alone_and_hang_on_no_other_image():
    x, labels = bags()
    parts, settings = quarters(len(x)), Descent(steps=50, lr=0.01, penalty=0.1, top=0.2)
    together = learn_heads(x, labels, parts, settings)
    changed = np.where(parts[1][:, None, None], x, 1e3).astype(np.float32)
    alone = learn_heads(changed, labels, parts[1:2], settings)
    np.testing.assert_allclose(together.weight[:, 1], alone.weight[:, 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(together.bias[1], alone.bias[0], rtol=1e-4, atol=1e-6)


def test_squares_of_unseen_images_are_found_and_their_place_is_the_highest():
    method, (state,) = fitted()
    images, labels = labelled(40, seed=5)
    view = seen(method, state, images)
    assert auroc(labels, np.asarray(view.losses["likeness"])) > 0.95
    where = np.asarray(view.maps["likeness"])
    bright = images[..., 0] > 0.85
    cells = bright.reshape(40, where.shape[1], -1, where.shape[2], 32 // where.shape[2])
    share = cells.mean(axis=(2, 4)).reshape(40, -1)
    highest = where.reshape(40, -1).argmax(axis=1)
    assert (share[np.arange(40), highest] > 0)[labels == 1].mean() > 0.8


def test_a_state_of_a_part_has_not_learnt_the_rest():
    parts = quarters()
    _, states = fitted(parts)
    (images, labels), changed = labelled(), labelled()[0]
    changed[~parts[2]] = changed[0]
    method = method_of()
    others = list(
        method.learn.fit_parts(lambda: batches_of(changed, labels), parts, jax.random.key(3))
    )
    for one, other, same in zip(states, others, (False, False, True, False), strict=True):
        weights = [np.asarray(x.params["head"]["weight"]) for x in (one, other)]
        assert np.allclose(*weights, rtol=1e-4, atol=1e-6) == same
    assert not np.array_equal(images, changed)


def test_the_same_images_and_key_give_the_same_bits():
    (_, (first,)), (_, (second,)) = fitted(), fitted()
    np.testing.assert_array_equal(first.params["head"]["weight"], second.params["head"]["weight"])


def test_too_few_images_of_a_class_teach_nothing(caplog):
    caplog.set_level("INFO")
    method, (state,) = fitted(least_images=30)
    images, _ = labelled(8, seed=5)
    assert (np.asarray(seen(method, state, images).losses["likeness"]) == 0).all()
    assert "20 normal and 20 abnormal images to learn from and needs 30 of each" in caplog.text


def test_a_class_with_more_images_than_there_is_room_for_is_drawn_from():
    _, (whole,) = fitted()
    _, (some,) = fitted(most_images=10)
    assert not np.array_equal(whole.params["head"]["weight"], some.params["head"]["weight"])


@pytest.mark.parametrize(
    ("name", "value"), [("top", 0.0), ("top", 1.5), ("penalty", -1.0), ("lr", 0.0), ("steps", 0)]
)
def test_a_setting_out_of_its_range_is_refused(name, value):
    with pytest.raises(UserError, match=f"reconstructor.{name}"):
        method_of(**{name: value})
