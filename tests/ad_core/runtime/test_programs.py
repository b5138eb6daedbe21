import stat

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.runtime import programs
from ad_core.runtime.programs import is_own, kept


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZFN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "programs"


class Traced:
    """A function of what a measurer is given, which counts how often it is traced."""

    def __init__(self, factor=2.0):
        self.factor, self.times = factor, 0

    def __call__(self, learnt, images):
        self.times += 1
        image, content = images
        product = jnp.tanh(image @ learnt["w"]) * self.factor
        noise = jax.random.normal(learnt["key"], (3,))[None]
        return product + noise, content, None


def given(rows=2, seed=0):
    rng = np.random.default_rng(seed)
    learnt = {"w": rng.normal(size=(40, 3)).astype(np.float32), "key": jax.random.key(3)}
    return learnt, (rng.normal(size=(rows, 40)).astype(np.float32), None)


def run(function, identity, arguments):
    """As a process of its own: nothing that JAX has traced is left."""
    jax.clear_caches()
    return jax.jit(kept(function, identity))(*arguments)


def test_the_next_process_traces_nothing_and_has_the_same_bits(cache):
    first, second, plain = Traced(), Traced(), Traced()
    found = [run(one, "a", given()) for one in (first, second)]
    assert (first.times, second.times) == (1, 0)
    expected = run(plain, "", given())
    assert plain.times == 1
    for result in found:
        assert result[1] is None and result[2] is None
        np.testing.assert_array_equal(result[0], expected[0])
    other = given(seed=1)  # of the same shapes: the values are data
    np.testing.assert_array_equal(run(Traced(), "a", other)[0], run(Traced(), "", other)[0])
    assert len(list(cache.iterdir())) == 1
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_another_setting_of_jax_is_another_program(cache):
    run(Traced(), "a", given())
    with jax.default_matmul_precision("float32"):
        run(Traced(), "a", given())
    assert len(list(cache.iterdir())) == 2
    with jax.numpy_dtype_promotion("standard"):  # the tests run under "strict"
        run(Traced(), "a", given())
    assert len(list(cache.iterdir())) == 3


def test_another_identity_shape_code_or_version_is_another_program(cache, monkeypatch):
    run(Traced(), "a", given())
    assert np.asarray(run(Traced(3.0), "b", given())[0]).shape == (2, 3)
    for change in (
        lambda: run(Traced(), "a", given(rows=3)),
        lambda: monkeypatch.setattr(programs, "_code", lambda: "other"),
        lambda: monkeypatch.setattr(programs.metadata, "version", lambda name: "9"),
    ):
        before = len(list(cache.iterdir()))
        change()
        run(Traced(), "a", given())
        assert len(list(cache.iterdir())) == before + 1


def test_a_file_that_is_damaged_is_made_anew(cache):
    run(Traced(), "a", given())
    [path] = cache.iterdir()
    whole = path.read_bytes()
    for content in (b"", whole[:-9], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(content)
        again = Traced()
        np.testing.assert_array_equal(run(again, "a", given())[0], run(Traced(), "", given())[0])
        assert again.times == 1 and path.read_bytes() == whole


def test_without_a_place_it_is_traced_as_ever(cache):
    cache.parent.mkdir()
    cache.write_text("a file where the folder would be")
    for _ in range(2):
        one = Traced()
        np.testing.assert_array_equal(run(one, "a", given())[0], run(Traced(), "", given())[0])
        assert one.times


def test_what_cannot_be_exported_is_traced_as_ever(cache):
    def asks_the_host(learnt, images):
        shape = jax.ShapeDtypeStruct(images[0].shape, np.float32)
        return jax.pure_callback(lambda x: x + 1, shape, images[0])

    learnt, images = given()
    np.testing.assert_array_equal(run(asks_the_host, "a", (learnt, images)), images[0] + 1)
    assert not cache.exists() or not list(cache.iterdir())


def test_only_the_code_of_this_project_is_known_by_its_hash():
    assert is_own(["baselines_ad.padim", "ad_core.backbones.efficientnet_lite"])
    assert not is_own(["baselines_ad.padim", "tests.toys.flat"])
    assert not is_own(["mine_ad.method"])
