import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.errors import UserError
from ad_core.training.guard import check_skipped, guarded
from ad_core.types import Batch, Reconstructor, TrainState


def echo():
    """The image's values become parameter and optimiser's state, gradient's norm, and loss."""

    def init(key, image_shape):
        return TrainState(jnp.int32(0), {"w": jnp.ones(())}, jnp.zeros(()), {"seen": jnp.int32(0)})

    def train_step(state, batch, key):
        assert set(state.extra) == {"seen"}
        w, norm, loss = batch.image[:, 0, 0, 0]
        extra = {"seen": state.extra["seen"] + 1}
        new = TrainState(state.step + 1, {"w": w}, w, extra)
        return new, {"loss": loss, "gradient_norm": norm}

    return Reconstructor(init, train_step, lambda state, image, key: None)


def play(*rows):
    model = guarded(echo())
    state = model.init(jax.random.key(0), (1, 1, 1))
    step = jax.jit(model.train_step)
    counts = []
    for row in rows:
        image = jnp.asarray(row, jnp.float32).reshape(3, 1, 1, 1)
        index = jnp.arange(3)
        batch = Batch(image, index * 0, index >= 0, index)
        state, metrics = step(state, batch, jax.random.key(0))
        counts.append((int(metrics["skipped"]), int(metrics["skipped_in_a_row"])))
    return state, counts


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
@pytest.mark.parametrize("place", [1, 2], ids=["gradient", "loss"])
def test_a_loss_or_a_gradient_that_is_not_finite_is_skipped(bad, place):
    row = [7.0, 8.0, 9.0]
    row[place] = bad
    state, counts = play([2.0, 3.0, 4.0], row)
    assert counts == [(0, 0), (1, 1)]
    assert (float(state.params["w"]), float(state.opt_state)) == (2.0, 2.0)
    assert int(state.extra["seen"]) == 1 and int(state.step) == 2


def test_the_row_of_skipped_steps_ends_with_a_good_one_and_the_count_stays():
    nan, good = [jnp.nan] * 3, [1.0] * 3
    _, counts = play(nan, nan, good, nan)
    assert counts == [(1, 1), (2, 2), (2, 0), (3, 1)]


def test_the_diagnosis_names_the_losses_and_the_mends():
    metrics = {"loss": np.nan, "commitment": np.inf, "fine": 1.0, "skipped_in_a_row": 20.0}
    check_skipped(metrics, step=99, max_skipped=21)
    with pytest.raises(UserError, match=r"step 99: 20 .*not finite: loss, commitment\).*float32"):
        check_skipped(metrics, step=99, max_skipped=20)
