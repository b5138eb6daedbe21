"""Inception-v3 against torchvision's.

tests/golden/inception_torchvision.npz: torchvision 0.24.1's Inception3 on PyTorch 2.13.0, CPU,
float64, by `python benchmarks/torch_inception.py --golden=tests/golden/inception_torchvision.npz`:
names and shapes of its weights, which are drawn anew here, and the features of two images.
"""

from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.backbones import load_backbone, read_saved, save_backbone
from ad_core.errors import UserError
from ad_core.statistics import Context, compute
from ad_core.types import View

GOLDEN = Path(__file__).parents[2] / "golden" / "inception_torchvision.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def weights(golden):
    """As torch_inception.py drew them."""
    rng = np.random.default_rng(0)
    drawn = {}
    for name, padded in zip(golden["names"].tolist(), golden["shapes"], strict=True):
        shape = tuple(padded[padded > 0])
        x = rng.standard_normal(shape)
        if name.endswith("conv.weight"):
            x *= np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith(("bn.weight", "running_var")):
            x = 1 + 0.3 * np.tanh(x)
        else:
            x *= 0.1
        drawn[name] = x.astype(np.float32)
    return drawn


@pytest.fixture(scope="module")
def backbone(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception.npz"
    np.savez(path, **weights)
    return load_backbone(f"inception:{path}")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).uniform(-1, 1, (2, 64, 64, 1)).astype(np.float32)


def test_features_and_fid_equal_torchvisions(golden, backbone, images):
    found = jax.jit(lambda b, x: b.stages(b.params, x, levels=("Mixed_7c",)))(backbone, images)
    found = found["Mixed_7c"].mean(axis=(1, 2))
    scale = golden["features"].std()
    np.testing.assert_allclose(found, golden["features"], rtol=1e-3, atol=1e-4 * scale)
    x, y = golden["features"]
    expected = np.sum((x - y) ** 2) + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    pair = View(jnp.asarray(images[1:]), {}, {})
    context = Context(backbone=backbone)
    got = jax.jit(compute, static_argnums=0)("fid", images[:1], pair, context)
    np.testing.assert_allclose(got["fid"], [expected], rtol=1e-3)


def test_folded_weights_survive_their_file(backbone, tmp_path):
    save_backbone(backbone, tmp_path)
    flat = flax.traverse_util.flatten_dict(backbone.params, sep=".")
    np.savez(tmp_path / "folded.npz", **{name: np.asarray(x) for name, x in flat.items()})
    for again in (
        read_saved(tmp_path)["inception"],
        load_backbone(f"{tmp_path}/folded.npz", family="inception"),
    ):
        same = jax.tree.map(lambda a, b: bool((a == b).all()), again.params, backbone.params)
        assert all(jax.tree.leaves(same)) and len(jax.tree.leaves(same)) == 2 * 94
        assert again.sha256 == backbone.sha256


def test_weights_that_are_not_there_are_refused_with_the_mend(weights, tmp_path):
    with pytest.raises(UserError, match=r"Weights of inception .* no such file; write one"):
        load_backbone(f"inception:{tmp_path / 'none.npz'}")
    del weights["Mixed_7c.branch_pool.bn.running_var"]
    np.savez(tmp_path / "part.npz", **weights)
    with pytest.raises(UserError, match=r"lacks Mixed_7c.branch_pool.bn.running_var"):
        load_backbone(f"inception:{tmp_path / 'part.npz'}")
