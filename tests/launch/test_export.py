"""launch/export.py on a workdir: the calibration images are found, the program decides the same."""

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from ad_core.exporting.formats import FORMATS  # noqa: E402
from ad_core.scoring.files import load_detector  # noqa: E402


@pytest.fixture(scope="module")
def exported(launch, workdir, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "exported"
    detector = workdir / "detector"
    assert launch("export", f"--detector={detector}", f"--output={output}") == 0
    return output


@pytest.mark.slow
def test_a_workdir_knows_its_calibration_images(exported, workdir):
    parity = json.loads((exported / "parity.json").read_text())
    results = json.loads((workdir / "results.json").read_text())
    assert parity["golden"] == "calibration images" and parity["flipped_decisions"] == 0
    assert parity["images"]["real"] == sum(results["counts"]["calibration"].values())


@pytest.mark.slow
def test_the_program_decides_as_the_detector_on_new_images(exported, workdir):
    run = FORMATS["onnx"].load(exported)
    images = np.random.default_rng(0).integers(0, 256, (12, 40, 33), np.uint8)
    verdicts = load_detector(workdir / "detector", batch_size=1).judge(list(images), explain=False)
    for image, verdict in zip(images, verdicts, strict=True):
        found = run(np.repeat(image[..., None], 3, axis=2))
        assert found.inspect == (verdict.decision == "inspect")


def test_a_detector_away_from_its_workdir_needs_images(launch, workdir, tmp_path, capsys):
    shutil.copytree(workdir / "detector", tmp_path / "alone" / "detector")
    given = f"--detector={tmp_path}/alone/detector"
    assert launch("export", given, f"--output={tmp_path}/out") == 2
    assert "--images=PATH" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_flags_that_are_missing_are_named(launch, capsys):
    assert launch("export") == 2
    assert "`--detector` is missing" in capsys.readouterr().err
