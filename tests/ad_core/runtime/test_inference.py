import threading
from concurrent.futures import CancelledError

import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.runtime.inference import make_inference


def spread(learnt, images):
    """A product that sums over many columns, and what belongs to each image."""
    image, content = images
    return {"sum": (image @ learnt["w"]).sum(axis=1), "content": content}


LEARNT = {"w": jnp.asarray(np.random.default_rng(0).normal(size=(301, 7)), jnp.float32)}


def images_of(count):
    rng = np.random.default_rng(1)
    return rng.normal(size=(count, 301)).astype(np.float32), np.arange(count, dtype=np.int32)


@pytest.mark.parametrize("one_by_one", [True, False])
@pytest.mark.parametrize("count", [0, 1, 5, 8])
def test_each_image_has_its_own_result_of_one_program(one_by_one, count):
    inference = make_inference(spread, batch_size=8, one_by_one=one_by_one)
    image, content = images_of(8)
    found = inference.begin(LEARNT, (image[:count], content[:count])).result()
    expected = (image.astype(np.float64) @ np.asarray(LEARNT["w"], np.float64)).sum(axis=1)
    np.testing.assert_allclose(found["sum"], expected[:count], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found["content"], content[:count])
    alone = [inference.begin(LEARNT, (image[[n]], content[[n]])).result() for n in range(count)]
    np.testing.assert_array_equal([one["sum"][0] for one in alone], found["sum"])
    assert inference.compilations() == 1


def test_a_batch_is_a_multiple_of_the_devices():
    assert make_inference(spread, batch_size=9, one_by_one=False).batch_size == 16


def test_many_threads_compile_one_program():
    inference, found = make_inference(spread, batch_size=8, one_by_one=True), []
    begin = threading.Barrier(4)

    def call():
        begin.wait()
        found.append(inference.begin(LEARNT, images_of(8)).result()["sum"])

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inference.compilations() == 1
    for one in found[1:]:
        np.testing.assert_array_equal(one, found[0])


def test_what_was_cancelled_is_not_computed():
    inference = make_inference(spread, batch_size=200, one_by_one=True)
    begun = inference.begin(LEARNT, images_of(200))
    begun.cancel()
    with pytest.raises(CancelledError):
        begun.result()
