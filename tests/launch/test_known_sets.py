import json

import pytest

from tests import known_trees

SETS = {
    "retina_oct": "retina_oct.py:cpu",
    "brain_mri": "brain_mri.py:cpu",
    "breast_ultrasound": "breast_ultrasound.py:cpu",
    "mvtec_ad": "mvtec.py:bottle,cpu",
}


@pytest.fixture(params=SETS)
def recipe(request, job_arguments, tmp_path):
    """(name, root of a copy in miniature, command line of a tiny job on it)."""
    name = request.param
    root = getattr(known_trees, name)(tmp_path / "copy")
    path = job_arguments[0].replace("retina_oct.py:phantom,cpu", SETS[name])
    return name, root, (path, *job_arguments[1:], "--config.data.channels=1")


@pytest.mark.slow
def test_two_steps_from_a_copy_and_from_tfds_are_the_same(launch, recipe, tmp_path):
    name, root, argv = recipe
    argv = (*argv, "--config.train.steps=2", "--until=train")
    assert launch("train", *argv, f"--config.data.root={root}", f"--workdir={tmp_path}/one") == 0
    of, top = (f"{name}/{root.name}", root.parent) if name == "mvtec_ad" else (name, root)
    data_dir = tmp_path / "tfds"
    assert launch("build_tfds", f"--set={of}", f"--root={top}", f"--data_dir={data_dir}") == 0
    packed = (f"--config.data.source=tfds:{of}", f"--config.data.root={data_dir}")
    assert launch("train", *argv, *packed, f"--workdir={tmp_path}/two") == 0
    losses = [
        [
            {key: value for key, value in json.loads(line).items() if "loss" in key}
            for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()
        ]
        for run in ("one", "two")
    ]
    assert len(losses[0]) == 2 and losses[0][0] and losses[0] == losses[1]
