"""What every backbone has: one loader, one hash, one place in a detector."""

import hashlib
import json
import sys
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.backbones import (
    Level,
    Network,
    digest,
    load_backbone,
    network_of,
    read_saved,
    save_backbone,
    with_weights,
)
from ad_core.errors import UserError

WEIGHTS = {"first": {"w": np.array([2.0], "f")}, "second": {"w": np.array([[3.0, -1.0]], "f")}}


@pytest.fixture
def toys(monkeypatch):
    """A module of another package: the image times 2, then its mean over 2 x 2 times (3, -1)."""
    module = ModuleType("toys.backbones")

    def network(name):
        def first(params, x):
            return x * params["first"]["w"].reshape(1, 1, 1, 1)

        def second(params, x):
            b, h, w, _ = x.shape
            blocks = x.reshape(b, h // 2, 2, w // 2, 2).mean(axis=(2, 4))
            return blocks[..., None] * params["second"]["w"].reshape(1, 1, 1, 2)

        levels = (Level("first", 1, first), Level("second", 2, second))
        return Network(name, "toys.backbones", lambda x: x + 1.0, levels, "free", "made up")

    networks = {name: network(name) for name in ("toy", "other")}
    module.NAMES, module.network = tuple(networks), networks.get
    module.load = lambda spec: with_weights(networks[spec.split(":")[0]], WEIGHTS)
    monkeypatch.setitem(sys.modules, "toys.backbones", module)
    return module


def test_a_backbone_of_another_module_is_loaded_by_its_path(toys):
    backbone = load_backbone("toys.backbones:toy")
    image = jnp.array([[-1.0, 0.0], [0.0, 1.0]]).reshape(1, 2, 2, 1)
    found = backbone.stages(backbone.params, image)
    np.testing.assert_array_equal(found["first"].reshape(4), [0, 2, 2, 4])
    np.testing.assert_array_equal(found["second"].reshape(2), [6, -2])
    facts = (backbone.name, backbone.strides, backbone.licence, backbone.origin)
    assert facts == ("toy", {"first": 1, "second": 2}, "free", "made up")
    assert network_of("toys.backbones:toy:FILE") == backbone.network
    second = backbone.stages(backbone.params, found["first"], start="first")
    np.testing.assert_array_equal(second["second"], found["second"])


def test_the_hash_is_that_of_names_shapes_and_bytes(toys):
    expected = hashlib.sha256()
    expected.update(b"first/w <f4 (1,)\n" + np.array([2], "<f4").tobytes())
    expected.update(b"second/w <f4 (1, 2)\n" + np.array([3, -1], "<f4").tobytes())
    assert load_backbone("toys.backbones:toy").sha256 == expected.hexdigest()
    assert digest(dict(reversed(WEIGHTS.items()))) == expected.hexdigest()
    turned = WEIGHTS | {"second": {"w": WEIGHTS["second"]["w"].T}}
    assert digest(turned) != expected.hexdigest()


def test_a_compiled_program_serves_every_loading_of_a_backbone(toys):
    traced = []

    @jax.jit
    def features(backbone, x):
        traced.append(x.shape)
        return backbone.stages(backbone.params, x)

    for _ in range(2):
        features(load_backbone("toys.backbones:toy"), jnp.zeros((1, 2, 2, 1)))
    assert len(traced) == 1


def test_saved_backbones_come_back_all_of_them(toys, tmp_path):
    written = {n: load_backbone(f"toys.backbones:{n}") for n in ("toy", "other")}
    for backbone in written.values():
        save_backbone(backbone, tmp_path / "backbones")
        save_backbone(backbone, tmp_path / "backbones")  # for two of its users
    found = read_saved(tmp_path / "backbones")
    assert set(found) == {"toy", "other"}
    for name, backbone in found.items():
        assert backbone.network == written[name].network
        assert backbone.sha256 == written[name].sha256
        jax.tree.map(np.testing.assert_array_equal, backbone.params, WEIGHTS)
    assert read_saved(tmp_path / "none") == {}


def test_weights_that_are_not_the_described_ones_are_refused(toys, tmp_path):
    save_backbone(load_backbone("toys.backbones:toy"), tmp_path)
    weights = tmp_path / "toy.npz"
    np.savez(weights, **{"first/w": np.array([2.5], "f"), "second/w": WEIGHTS["second"]["w"]})
    with pytest.raises(UserError, match=r"toy\.npz were changed or damaged"):
        read_saved(tmp_path)
    np.savez(weights, **{"first/w": np.array([{}])}, allow_pickle=True)
    with pytest.raises(UserError, match=r"toy\.npz cannot be read"):
        read_saved(tmp_path)
    weights.unlink()
    with pytest.raises(UserError, match=r"toy\.npz cannot be read"):
        read_saved(tmp_path)


def test_two_weights_of_one_network_do_not_share_a_folder(toys, tmp_path):
    backbone = load_backbone("toys.backbones:toy")
    save_backbone(backbone, tmp_path)
    changed = jax.tree.map(lambda x: x + 1, WEIGHTS)
    with pytest.raises(UserError, match="already holds other weights of toy"):
        save_backbone(with_weights(backbone.network, changed), tmp_path)
    np.testing.assert_array_equal(read_saved(tmp_path)["toy"].params["first"]["w"], [2.0])
    assert json.loads((tmp_path / "toy.json").read_text())["sha256"] == backbone.sha256


def test_what_a_network_has_not_is_refused(toys):
    backbone = load_backbone("toys.backbones:toy")
    x = jnp.zeros((1, 2, 2, 1))
    with pytest.raises(UserError, match="Unknown level 'third' of toy; known: first, second"):
        backbone.stages(backbone.params, x, levels=("third",))
    with pytest.raises(UserError, match="must come after `start`"):
        backbone.stages(backbone.params, x, levels=("first",), start="first")
    with pytest.raises(UserError, match="must come after `start`"):
        backbone.stages(backbone.params, x, start="second")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("inception_v9", "Unknown backbone 'inception_v9'; known: .*inception, resnet18, .*vgg16"),
        ("weights.npz", "Unknown backbone 'weights.npz'"),
        ("inception", "inception needs its weights: inception:FILE"),
        ("no.such.module:toy", "Unknown module 'no.such.module'; known: .*ad_core.backbones.vgg16"),
    ],
)
def test_a_name_that_is_no_backbone_is_refused_with_those_that_are(
    spec, message, tmp_path, monkeypatch
):
    monkeypatch.setenv("ZFN_CACHE", str(tmp_path))  # holds no weights of other tests
    with pytest.raises(UserError, match=message):
        load_backbone(spec)


def test_a_file_alone_is_the_familys():
    assert network_of("/x/weights.v3.npz", family="inception").name == "inception"
    assert network_of("", family="vgg16").name == "vgg16"
    assert network_of("inception:x.npz", family="vgg16").name == "inception"
    with pytest.raises(UserError, match=r"Weights of vgg16 \(=none.npz\): no such file"):
        load_backbone("none.npz", family="vgg16")


def test_levels_need_the_weights_up_to_the_last_of_them_and_no_others(toys):
    backbone = load_backbone("toys.backbones:toy")
    assert set(backbone.network.part(backbone.params, ["first"])) == {"first"}
    assert set(backbone.network.part(backbone.params, ["second"])) == {"first", "second"}
    with pytest.raises(UserError, match="Unknown level 'third'"):
        backbone.network.part(backbone.params, ["third"])
