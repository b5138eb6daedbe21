import json

import numpy as np
import pytest
from PIL import Image

from ad_core.reporting import build
from ad_core.runtime.workdir import Workdir

CURVES = {"a": ("loss", "kl", "never_written"), "b": ("loss",)}


@pytest.fixture
def trained(tmp_path):
    """Methods -> a workdir in which each was trained, its number in its values and pictures."""

    def train(*methods):
        workdir = Workdir(tmp_path)
        for number, method in enumerate(methods):
            folder = workdir.training(method, several=len(methods) > 1)
            (folder / "samples").mkdir(parents=True)
            rows = [{"step": 1, "loss": number}, {"step": 2, "loss": None, "kl": number}]
            (folder / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
            for step in (5, 10):
                picture = np.full((2, 4), 100 * number + step, np.uint8)
                Image.fromarray(picture).save(folder / f"samples/step_{step:06d}.png")
        return workdir

    return train


def test_curves_and_newest_samples_of_one_method_stand_without_its_name(trained):
    workdir, curves = trained("a"), {"a": CURVES["a"]}
    assert build._curves(workdir, curves) == {"loss": ([1.0], [0.0]), "kl": ([2.0], [0.0])}
    ((caption, picture),) = build._samples(workdir, curves)
    assert caption == "image left, normal version right, step 000010"
    assert picture.shape == (2, 4, 3) and (picture == 10).all()


def test_several_methods_show_their_curves_and_samples_by_name(trained):
    workdir = trained("a", "b")
    found = build._curves(workdir, CURVES)
    assert list(found) == ["a: loss", "a: kl", "b: loss"] and found["b: loss"] == ([1.0], [1.0])
    samples = build._samples(workdir, CURVES)
    assert [(caption[:8], picture[0, 0, 0]) for caption, picture in samples] == [
        ("a: image", 10),
        ("b: image", 110),
    ]
