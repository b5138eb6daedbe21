"""What every backbone keeps to: those of ad_core.backbones, a new one is found by itself.

Weights that come from a user's file are drawn at random here (FILES).
"""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.backbones import (
    Backbone,
    load_backbone,
    network_of,
    portable,
    read_saved,
    resnet,
    save_backbone,
    vgg16,
    vit,
)
from ad_core.runtime.registry import known_modules, resolve
from tests.quick import drawn
from tests.saved_detector import save_detector_of
from tests.small_config import small_config
from vqgan_ad import vqgan

NAMES = [name for path in known_modules("load") for name in resolve(path, "load").NAMES]
GOLDEN = Path(__file__).parents[2] / "golden" / "inception_torchvision.npz"
CLOSE = {"rtol": 1e-3, "atol": 1e-3}  # float32 through some twenty convolutions, values near 1


def narrow_vgg16(rng):
    """Few channels: the code takes the widths from the arrays."""
    arrays, inside = {}, 3
    for number in (n for block in vgg16.BLOCKS for n in block):
        arrays[f"features.{number}.weight"] = rng.normal(0, 0.2, (4, inside, 3, 3))
        arrays[f"features.{number}.bias"] = rng.normal(0, 0.1, 4)
        inside = 4
    return arrays


def inception(rng):
    """Kernels, norms and deviations of torchvision's shapes."""
    with np.load(GOLDEN) as file:
        shapes = dict(zip(file["names"].tolist(), file["shapes"], strict=True))
    arrays = {}
    for name, padded in shapes.items():
        x = rng.standard_normal(tuple(padded[padded > 0]))
        kernel = name.endswith("conv.weight")
        arrays[name] = x * np.sqrt(2 / np.prod(x.shape[1:])) if kernel else 0.1 * x
        if name.endswith(("bn.weight", "running_var")):
            arrays[name] = 1 + 0.1 * np.tanh(x)
    return arrays


def of_resnet(name, rng):
    """Kernels, norms and deviations of torchvision's shapes."""
    arrays = {}
    for place in resnet.places(name):
        scale = np.float32(np.sqrt(2 / np.prod(place.shape[1:])))
        arrays[f"{place.convolution}.weight"] = scale * rng.standard_normal(place.shape, "f")
        for part in ("weight", "bias", "running_mean", "running_var"):
            x = 0.1 * rng.standard_normal(place.shape[:1], "f")
            arrays[f"{place.norm}.{part}"] = x if part in ("bias", "running_mean") else 1 + x
    return arrays


def of_dinov2(name, rng):
    """Arrays of DINOv2's shapes."""
    arrays = {}
    for key, shape in vit.shapes(name).items():
        x = rng.standard_normal(shape, "f")
        norm = key.endswith((".gamma", "norm.weight", "norm1.weight", "norm2.weight"))
        arrays[key] = 1 + 0.1 * x if norm else x * np.float32(np.prod(shape[1:]) ** -0.5)
    return arrays


FILES = {
    "vgg16": narrow_vgg16,
    "inception": inception,
    **{name: functools.partial(of_resnet, name) for name in resnet.NAMES},
    **{name: functools.partial(of_dinov2, name) for name in vit.NAMES},
}


def trained_vqgan(folder):
    """A detector with an encoder as it begins."""
    config = small_config(reconstructor={"width": 4, "disc_width": 4, "disc_layers": 1})
    save_detector_of(folder, config, drawn(vqgan.make(config), (32, 32, 1)))


FOLDERS = {"vqgan": trained_vqgan}  # of detectors
# Weights of 90 to 340 MB, which each test here would copy.
LARGE = ("wide_resnet50_2", "dinov2_vits14", "dinov2_vitb14")
PARAMS = [pytest.param(n, marks=pytest.mark.slow) if n in LARGE else n for n in NAMES]


class Case(NamedTuple):
    """A backbone, the first half of its levels, four images and what these levels show of them."""

    spec: str
    backbone: Backbone
    levels: tuple[str, ...]
    images: np.ndarray
    found: dict[str, np.ndarray]


@pytest.fixture(scope="module", params=PARAMS)
def case(request, tmp_path_factory):
    name, spec = request.param, request.param
    if name in FILES:
        path = tmp_path_factory.mktemp("weights") / f"{name}.npz"
        arrays = FILES[name](np.random.default_rng(0))
        np.savez(path, **{key: x.astype(np.float32) for key, x in arrays.items()})
        spec = f"{name}:{path}"
    if name in FOLDERS:
        folder = tmp_path_factory.mktemp(name) / "detector"
        FOLDERS[name](folder)
        spec = f"{name}:{folder}"
    backbone = load_backbone(spec)
    levels = tuple(backbone.strides)[: len(backbone.strides) // 2]
    images = np.random.default_rng(1).uniform(-1, 1, (4, 32, 32, 1)).astype(np.float32)
    return Case(spec, backbone, levels, images, look(backbone, images, levels))


def look(backbone, images, levels):
    return jax.device_get(run(backbone, jnp.asarray(images), levels))


def run_plain(backbone, image, levels):
    return backbone.stages(backbone.params, image, levels=levels)


run = jax.jit(run_plain, static_argnames="levels")


def assert_close(got, wanted):
    assert set(got) == set(wanted)
    for level in wanted:
        np.testing.assert_allclose(got[level], wanted[level], **CLOSE, err_msg=level)


def test_the_known_backbones_are_looked_at():
    assert {
        "efficientnet_lite0",
        "inception",
        "resnet18",
        "vgg16",
        "vqgan",
        "dinov2_vits14",
    } <= set(NAMES)


def test_a_level_is_finite_float32_and_has_a_row_an_image(case):
    assert set(case.found) == set(case.levels)
    for x in case.found.values():
        assert x.dtype == np.float32 and x.ndim == 4 and len(x) == 4
        assert np.isfinite(x).all() and np.ptp(x, axis=0).max() > 1e-3  # images differ
    strides = list(case.backbone.strides.values())
    assert strides == sorted(strides)


def test_levels_lie_over_the_image_where_the_network_says_so(case):
    backbone = case.backbone
    image = jax.ShapeDtypeStruct((1, 64, 96, 1), np.float32)
    found = jax.eval_shape(lambda x: backbone.stages(backbone.params, x), image)
    over = all(
        x.shape[1:3] == (64 // backbone.strides[level], 96 // backbone.strides[level])
        for level, x in found.items()
    )
    assert backbone.network.over_image == over


def test_a_compiled_call_equals_a_plain_one(case):
    levels = case.levels[:2]
    plain = run_plain(case.backbone, jnp.asarray(case.images), levels)
    assert_close(jax.device_get(plain), {level: case.found[level] for level in levels})


def test_batch_size_padding_and_place_change_nothing(case):
    turned = look(case.backbone, case.images[::-1], case.levels)
    assert_close({level: x[::-1] for level, x in turned.items()}, case.found)
    padded = case.images.copy()
    padded[2:] = 0.9
    found = look(case.backbone, padded, case.levels)
    assert_close({n: x[:2] for n, x in found.items()}, {n: x[:2] for n, x in case.found.items()})
    alone = look(case.backbone, case.images[1:2], case.levels)
    assert_close(alone, {level: x[1:2] for level, x in case.found.items()})


def test_a_run_that_goes_on_from_a_level_ends_where_a_whole_one_ends(case):
    first, last = case.levels[0], case.levels[-1]
    going = jax.jit(lambda b, x: b.stages(b.params, x, levels=(last,), start=first))
    carried = jax.jit(lambda b, x: b.stages(b.params, x, levels=(first,), whole=True))
    found = going(case.backbone, carried(case.backbone, jnp.asarray(case.images))[first])
    assert_close(jax.device_get(found), {last: case.found[last]})


def test_a_saved_backbone_is_the_one_that_was_loaded(case, tmp_path):
    save_backbone(case.backbone, tmp_path)
    again = read_saved(tmp_path)[case.backbone.name]
    assert again.network == case.backbone.network == network_of(portable(case.spec))
    assert again.facts == case.backbone.facts
    found = look(again, case.images, case.levels)
    for level, x in case.found.items():
        np.testing.assert_array_equal(found[level], x)


def test_it_tells_its_licence_and_its_origin(case):
    assert case.backbone.licence and case.backbone.origin
