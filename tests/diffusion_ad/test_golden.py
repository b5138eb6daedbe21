"""The U-Net and DDIM against their twins in PyTorch (benchmarks/torch_diffusion.py).

tests/golden/diffusion_torch.npz: PyTorch 2.13.0 on CPU in float64, seed 0, by
`python benchmarks/torch_diffusion.py --golden=tests/golden/diffusion_torch.npz`. It holds weights,
three noisy images with their times, the output, all gradients of its mean squared error, and what
DDIM makes of the images in three steps that stop at times 180, 90 and 0.
"""

from pathlib import Path

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffusion_ad.sampler import Steps, denoise
from diffusion_ad.schedule import PREDICTIONS, make_schedule
from diffusion_ad.unet import UNet
from tests.quick import compiled

GOLDEN = Path(__file__).parents[1] / "golden" / "diffusion_torch.npz"
NETWORK = UNet(width=2, multipliers=(1, 4), blocks=1, attention=(1,))


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return {
            name: x.astype(np.float32) if x.dtype == np.float16 else x for name, x in file.items()
        }


def pieces(golden, row):
    """The long row as the tree of the network's parameters."""
    given = jnp.asarray(golden["x"]), jnp.asarray(golden["time"])
    shapes = {"network": jax.eval_shape(NETWORK.init, jax.random.key(0), *given)}
    flat = flax.traverse_util.flatten_dict(shapes, sep="/")
    names = str(golden["names"]).split()
    assert set(names) == set(flat)
    parts = np.split(row, np.cumsum([flat[name].size for name in names])[:-1])
    found = {n: jnp.asarray(x.reshape(flat[n].shape)) for n, x in zip(names, parts, strict=True)}
    return flax.traverse_util.unflatten_dict(found, sep="/")["network"]


@pytest.fixture(scope="module")
def weights(golden):
    return pieces(golden, golden["weights"])


def test_output_and_every_gradient_agree_with_pytorch(golden, weights):
    x, time, target = (jnp.asarray(golden[name]) for name in ("x", "time", "target"))

    def loss(params):
        output = NETWORK.apply(params, x, time)
        return jnp.mean(jnp.square(output - target)), output

    gradient, output = compiled(jax.grad(loss, has_aux=True))(weights)
    assert np.abs(golden["output"]).mean() > 0.3
    np.testing.assert_allclose(output, golden["output"], atol=2e-5)  # float32 against float64
    expected = pieces(golden, golden["gradients"])
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5 * largest), gradient, expected
    )


def test_ddim_through_the_network_agrees_with_pytorch(golden, weights):
    schedule = make_schedule("cosine", 1000)
    before, after = np.array([250, 180, 90], np.int32), np.array([180, 90, 0])
    factors = (
        schedule.signal[before],
        schedule.spread[before],
        schedule.signal[after],
        schedule.spread[after],
        np.zeros(3),
    )
    steps = Steps(before, *(x.astype(np.float32) for x in factors))
    kind = PREDICTIONS["velocity"]

    def predict(x, signal, spread, time):
        signal, spread = signal[:, None, None, None], spread[:, None, None, None]
        return kind.clean(x, NETWORK.apply(weights, x, time), signal, spread)

    def unused(key):
        raise AssertionError("DDIM draws no noise")

    x, keys = jnp.asarray(golden["x"]), jax.random.split(jax.random.key(0), 3)
    found = compiled(lambda x: denoise(predict, steps, x, keys, draw=unused, limit=1.0))(x)
    assert np.abs(golden["drawn"]).max() == 1.0 and np.abs(golden["drawn"]).mean() < 0.95
    np.testing.assert_allclose(found, golden["drawn"], atol=1e-4)
