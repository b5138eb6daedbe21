"""What a detector's folder keeps of a method."""

import jax.numpy as jnp
import numpy as np

from ad_core.backbones import read_saved, save_backbone
from ad_core.scoring.files import _read_part, _write_part
from ad_core.scoring.part import Part
from ad_core.statistics import Context, compute
from ad_core.types import TrainState, View
from tests.baselines_ad import toy_backbone
from tests.small_config import small_config


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
