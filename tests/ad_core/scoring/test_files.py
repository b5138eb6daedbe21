"""What a detector's folder keeps of a method."""

import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.backbones import read_saved, save_backbone
from ad_core.decision import fit_threshold
from ad_core.errors import UserError
from ad_core.scoring.files import _read_part, _write_part, load_parts, save_decided, scoring_hash
from ad_core.scoring.part import Part
from ad_core.statistics import Context, compute
from ad_core.types import TrainState, View
from tests.baselines_ad import toy_backbone
from tests.quick import drawn
from tests.saved_detector import save_detector_of
from tests.small_config import small_config
from vqgan_ad import vqgan


def test_features_are_compared_alike_after_saving(tmp_path):
    context = Context(backbone=toy_backbone.load("toy"), residual_levels=jnp.arange(3.0))
    state = TrainState(jnp.zeros((), jnp.int32), {"w": jnp.ones(2)}, (), {})
    _write_part(tmp_path / "one", Part("one", small_config(), state, context, ("deep_distance",)))
    save_backbone(context.backbone, tmp_path / "backbones")
    again = _read_part(tmp_path / "one", read_saved(tmp_path / "backbones")).context
    assert again.backbone.sha256 == context.backbone.sha256
    x = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 1)), jnp.float32)
    names = ("deep_distance", "deep_toy_fid", "deep_distance_head_max")
    before, after = (compute(names, x, View(x[::-1]), each) for each in (context, again))
    for name in names:
        assert float(before[name].min()) > 0
        np.testing.assert_array_equal(before[name], after[name])


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("MANIFEST.json", "detector.json", "threshold.json")
    }


def test_detector_that_decides_otherwise_is_a_new_folder_that_scores_alike(tmp_path):
    config = small_config(method="vqgan_ad.vqgan", data={"image_size": 32, "channels": 1})
    state = drawn(vqgan.make(config), (32, 32, 1))
    old, new = tmp_path / "detector", tmp_path / "detector 2"
    save_detector_of(old, config, state)
    parts = load_parts(old)
    lower = fit_threshold("zfn", np.array([0.0, 1.5]), np.array([0, 1]))
    changed = parts._replace(thresholds={"zfn": lower}, facts={"reason": "the line said so"})
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    save_decided(new, old, changed)
    assert {path: path.read_bytes() for path in old.rglob("*") if path.is_file()} == before
    again = load_parts(new)
    assert (again.thresholds, again.facts) == (changed.thresholds, changed.facts)
    assert digests(new) == digests(old) and len(digests(old)) > 3
    assert scoring_hash(new) == scoring_hash(old)
    with pytest.raises(UserError, match="never overwritten"):
        save_decided(new, old, changed)


def test_scoring_hash_tells_detectors_apart(tmp_path):
    config = small_config(method="vqgan_ad.vqgan", data={"image_size": 32, "channels": 1})
    for name, seed in (("one", 0), ("other", 1)):
        save_detector_of(tmp_path / name, config, drawn(vqgan.make(config), (32, 32, 1), seed=seed))
    assert scoring_hash(tmp_path / "one") != scoring_hash(tmp_path / "other")
