"""CycleGAN through the real loop, its batches and its checkpoints."""

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from ad_core.data.batches import train_batches
from ad_core.data.source import Record
from ad_core.errors import UserError
from ad_core.runtime.config import complete
from ad_core.runtime.stop import Stop, Stopped
from ad_core.stages.job import prepare
from ad_core.training.loop import train
from cyclegan_ad import cyclegan
from tests.samples import whole


class Noise:
    """Five normal and three abnormal images of noise."""

    records = tuple(Record(f"{i}.png", int(i > 4), "x", f"{i}", "", False) for i in range(8))

    image_shape, letterboxed = (16, 16, 1), False

    def read(self, index):
        rng = np.random.default_rng(index)
        image = rng.uniform(-1, 1, self.image_shape).astype(np.float32)
        return whole(image)

    def read_mask(self, index):
        return None


class StopAt(Stop):
    """As if a signal came while `step` was computed."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def __bool__(self):
        self.left -= 1
        if self.left == 0:
            self.signal = 15
        return super().__bool__()


def config_of(**train_section):
    networks = {"width": 2, "blocks": 0, "disc_width": 2, "disc_layers": 1, "pool": 8}
    return complete(
        ConfigDict(
            {
                "method": "cyclegan_ad.cyclegan",
                "data": {"image_size": 16, "augment": "nine_versions"},
                "train": {"batch_size": 4, "steps": 7, "epochs": 3, **train_section},
                "reconstructor": {**networks, "ema": 0.9, "disc_augment": ("colour",)},
            }
        )
    )


def run(workdir, stop=None):
    config = config_of()
    batches = train_batches(
        Noise(), np.arange(8), batch_size=4, seed=0, augment="nine_versions", workers=1, pairs=True
    )
    workdir.mkdir(exist_ok=True)
    state = train(
        cyclegan.make(config),
        config,
        batches,
        workdir=workdir,
        stop=stop,
        devices=jax.devices()[:1],
    )
    return jax.device_get(state)


@pytest.mark.slow
def test_a_run_cut_with_half_full_pools_ends_in_the_same_bits(tmp_path):
    whole = run(tmp_path / "whole")
    with pytest.raises(Stopped):
        run(tmp_path / "cut", StopAt(2))
    resumed = run(tmp_path / "cut")
    # Two steps of two pairs: the pools of 8 were half full; at the end they have swapped images.
    assert int(resumed.step) == 7
    assert {int(pool.count) for pool in resumed.extra["pool"].values()} == {8}
    flat, tree = jax.tree.flatten(whole)
    again, other = jax.tree.flatten(resumed)
    assert tree == other
    for one, two in zip(flat, again, strict=True):
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)


def folder_of(root, *, abnormal):
    rng = np.random.default_rng(0)
    for number in range(12):
        for name in ("good", *(["dent"] if abnormal else [])):
            path = root / ("train" if number % 2 else "test") / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (16, 16), np.uint8)).save(path)
    return root


def job_of(tmp_path, *, abnormal, **data):
    config = config_of(epochs=4)
    config.data.root = str(folder_of(tmp_path / "images", abnormal=abnormal))
    for key, value in data.items():
        config.update_from_flattened_dict({f"data.{key}": value})
    return prepare(config, tmp_path / "run", Stop())


def test_a_run_without_abnormal_training_images_is_refused_with_what_to_use(tmp_path):
    message = "no abnormal image in train.*learns from both classes.*`--config.method` that"
    with pytest.raises(UserError, match=message):
        job_of(tmp_path, abnormal=False)
    # The default leaves all abnormal images to calibration.
    with pytest.raises(UserError, match="calibration.abnormal` below 1"):
        job_of(tmp_path, abnormal=True)
    assert not (tmp_path / "run").exists()


def test_epochs_set_the_number_of_steps(tmp_path):
    shares = {"calibration.normal": 0.5, "calibration.abnormal": 0.34}
    job = job_of(tmp_path, abnormal=True, **shares)
    labels = [job.source.records[i].label for i in job.splits["train"]]
    assert (labels.count(0), labels.count(1)) == (3, 4)
    # 4 pairs in 9 versions, 2 pairs a step.
    assert (job.config.train.epoch_steps, job.config.train.steps) == (18, 4 * 18)
