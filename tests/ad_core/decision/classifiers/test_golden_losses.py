"""Losses against LibAUC's, which share no code with them.

tests/golden/libauc.npz: LibAUC 2.0.1 and PyTorch 2.13.0 on CPU in float64, Python 3.11, by
`python benchmarks/libauc_losses.py --golden=tests/golden/libauc.npz`: 50 scores with the value
and the gradient of each loss. LibAUC's KL losses have values of their own (weights are held, not
their logarithm), so that there only the gradients are compared.
"""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.decision import losses

GOLDEN = Path(__file__).parents[3] / "golden" / "libauc.npz"
HARD = {
    "wmw_0.1": partial(losses.wmw, gamma=0.1),
    "wmw_0.5": partial(losses.wmw, gamma=0.5),
    "pauc_fpr": partial(losses.pauc_fpr, fpr_range=(0.0, 0.2), gamma=1.0),
    "two_way": partial(losses.two_way, fpr_range=(0.0, 0.25), tpr_range=(0.7, 1.0), gamma=1.0),
}
SOFT = {
    "pauc_kl": partial(losses.pauc_kl, temperature=0.5, gamma=1.0),
    "two_way_kl": partial(losses.two_way_kl, temperature=1.0, temperature_abnormal=0.1, gamma=1.0),
}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def found(golden):
    """Value and gradient of every loss, by one program."""
    every_loss = {name: jax.value_and_grad(loss) for name, loss in (HARD | SOFT).items()}
    compiled = jax.jit(lambda *given: {name: loss(*given) for name, loss in every_loss.items()})
    return compiled(jnp.float32(golden["scores"]), golden["labels"])


@pytest.mark.parametrize("name", HARD | SOFT)
def test_gradient_and_value_are_those_of_libauc(name, golden, found):
    value, gradient = found[name]
    largest = np.abs(golden[f"{name}_gradient"]).max()
    np.testing.assert_allclose(gradient, golden[f"{name}_gradient"], atol=2e-5 * largest)
    if name in HARD:
        assert float(value) == pytest.approx(golden[f"{name}_value"], rel=1e-5)


@pytest.mark.parametrize("name, share", [("bce", 1.0), ("focal", 2.0)])
def test_the_controls_are_those_of_libauc_on_logits(name, share, golden):
    labels = golden["labels"]
    logits = np.log(golden["scores"] / (1 - golden["scores"])).astype(np.float32)

    def loss(z):
        # LibAUC's focal loss halves both classes (alpha 0.5).
        return getattr(losses, name)(jax.nn.sigmoid(z), labels, balanced=False) / share

    value, gradient = jax.value_and_grad(loss)(jnp.asarray(logits))
    assert float(value) == pytest.approx(golden[f"{name}_value"], rel=1e-5)
    largest = np.abs(golden[f"{name}_gradient"]).max()
    np.testing.assert_allclose(gradient, golden[f"{name}_gradient"].ravel(), atol=2e-5 * largest)
