"""Programs of a detector that the next process finds: which they are, and when they are others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from ad_core.scoring import load_detector, measuring
from ad_core.scoring.detector import Detector
from ad_core.scoring.files import load_parts
from ad_core.scoring.part import Part
from ad_core.statistics import Context
from ad_core.types import TrainState
from tests.saved_detector import save_detector_of
from tests.small_config import small_config

NOTHING = TrainState(jnp.zeros((), jnp.int32), {}, (), {})
IMAGES = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 1)).astype(np.float32)


def config_of(method="baselines_ad.blur", **settings):
    return small_config(
        method=method, reconstructor=settings, data={"image_size": 32, "channels": 1}
    )


@pytest.fixture
def traced(monkeypatch, tmp_path):
    """How often statistics were traced, in a list."""
    monkeypatch.setenv("ZFN_CACHE", str(tmp_path / "cache"))
    times, compute = [], measuring.compute

    def counted(*given, **named):
        times.append(1)
        return compute(*given, **named)

    monkeypatch.setattr(measuring, "compute", counted)
    return times


def scores_of(detector):
    """As in a process of its own."""
    jax.clear_caches()
    return detector.score(IMAGES)


def test_a_detector_on_disk_is_traced_once_and_scores_the_same_bits(traced, tmp_path):
    save_detector_of(tmp_path / "detector", config_of(), NOTHING, name="blur")
    first = scores_of(load_detector(tmp_path / "detector"))
    assert len(traced) == 1
    again = scores_of(load_detector(tmp_path / "detector"))
    assert len(traced) == 1
    parts = load_parts(tmp_path / "detector")
    alone = [part._replace(origin="") for part in parts.methods]
    plain = scores_of(Detector(parts._replace(methods=tuple(alone))))
    assert len(traced) == 2
    for one in (again, plain):
        for name in ("statistics", "anomaly_map", "drawn", "score"):
            np.testing.assert_array_equal(getattr(first, name), getattr(one, name))


def test_what_was_changed_since_it_was_read_is_traced_anew(traced, tmp_path):
    save_detector_of(tmp_path / "detector", config_of(), NOTHING, name="blur")
    parts = load_parts(tmp_path / "detector")
    before = scores_of(Detector(parts))
    config = ConfigDict(parts.methods[0].config.to_dict())
    config.reconstructor.sigma = 4 * config.reconstructor.sigma
    config.lock()
    changed = parts._replace(methods=(parts.methods[0]._replace(config=config),))
    after = scores_of(Detector(changed))
    assert len(traced) == 2
    assert (before.statistics != after.statistics).all()


def test_programs_are_kept_of_this_projects_methods_and_backbones_alone():
    def identity(config, origin="a hash"):
        return Part("one", config, NOTHING, Context(), ("loss",), origin).identity

    known = config_of("baselines_ad.padim", backbone="efficientnet_lite0")
    assert identity(known) and identity(config_of())
    assert identity(known) != identity(known, origin="another")
    other = config_of("baselines_ad.padim", backbone="efficientnet_lite2")
    assert identity(known) != identity(other)
    assert identity(known, origin="") == ""
    assert identity(config_of("tests.toys.flat")) == ""
    toy = config_of("baselines_ad.padim", backbone="tests.baselines_ad.toy_backbone:toy")
    assert identity(toy) == ""
