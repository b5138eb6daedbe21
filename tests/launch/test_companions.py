"""Statistics of other detectors beside a detector's own: `statistics.also`."""

import shutil

import jax
import numpy as np
import pytest

from ad_core.data.source import open_source
from ad_core.decision.table import read_table
from ad_core.errors import UserError
from ad_core.runtime.config import from_json
from ad_core.scoring.companions import load_companions
from ad_core.scoring.files import load_detector, load_parts
from ad_core.scoring.part import column_names


def config_of(workdir, **changes):
    """That of the finished run, with its own detector as a companion."""
    config = from_json((workdir / "config.json").read_text())
    config.statistics.also = (str(workdir / "detector"),)
    config.update_from_flattened_dict(changes)
    return config


def test_names_tell_the_method_and_count_what_repeats(workdir):
    (part,) = load_parts(workdir / "detector").methods
    names, own = column_names((part, part, part)), part.statistics
    assert names[: len(own)] == own
    assert names[len(own) : 2 * len(own)] == tuple(f"vqgan2.{name}" for name in own)
    assert names[2 * len(own) :] == tuple(f"vqgan3.{name}" for name in own)
    assert column_names(()) == ()


def test_a_companion_of_the_same_images_is_taken(workdir):
    changes = {"data.workers": 3, "reconstructor.width": 8, "train.steps": 9}
    config = config_of(workdir, **changes, **{"data.calibration.folds": 20})
    (part,) = load_companions(config)
    assert part.statistics == load_parts(workdir / "detector").names


@pytest.mark.parametrize(
    "key, value",
    [
        ("seed", 1),
        ("data.image_size", 64),
        ("data.protocol", "cyclegan_ad"),
        ("data.calibration.normal", 0.3),
        ("data.phantom.seed", 5),
    ],
)
def test_a_companion_that_may_have_seen_what_judges_is_refused(workdir, key, value):
    with pytest.raises(UserError, match=f"was trained with {key} = .* and here it is {value}"):
        load_companions(config_of(workdir, **{key: value}))


def test_a_companion_that_is_not_there_is_refused(workdir, tmp_path):
    config = config_of(workdir)
    config.statistics.also = (str(tmp_path / "none"),)
    with pytest.raises(UserError, match="no detector there"):
        load_companions(config)


@pytest.mark.slow
def test_two_methods_make_one_self_contained_detector(launch, workdir, job_arguments, tmp_path):
    other = shutil.copytree(workdir / "detector", tmp_path / "vqgan" / "detector")
    run = tmp_path / "both"
    argv = (*job_arguments, f"--config.statistics.also={other}", "--config.reconstructor.width=6")
    assert launch("train", *argv, f"--workdir={run}") == 0
    shutil.rmtree(tmp_path / "vqgan")
    assert launch("calibrate", f"--workdir={run}", "--config.decision.rule=accuracy") == 0

    # The same images in the same order: the companion measures what it measured alone.
    both, alone = (read_table(x / "statistics" / "test.parquet") for x in (run, workdir))
    assert both.path == alone.path
    k = len(alone.names)
    assert both.names[-k:] == tuple(f"vqgan2.{name}" for name in alone.names)
    np.testing.assert_allclose(both.values[:, -k:], alone.values, rtol=1e-4, atol=1e-5)
    assert not np.allclose(both.values[:, :-k], alone.values, rtol=1e-2)

    detector = load_detector(run / "detector", batch_size=8)
    source = open_source(detector.parts.config.data)
    paths = [record.path for record in source.records]
    images = np.stack([source.read(paths.index(path)).image for path in both.path[:5]])
    scores = detector.score(images)
    np.testing.assert_allclose(scores.statistics, both.values[:5], rtol=1e-4, atol=1e-5)
    assert np.isfinite(scores.score).all()
    assert jax.tree.leaves(detector.parts.methods[1].state.params)

    (run / "detector" / "vqgan2" / "context.npz").write_bytes(b"")
    with pytest.raises(UserError, match="was changed or damaged"):
        load_detector(run / "detector")
