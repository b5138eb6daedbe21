"""The program in C of examples/, built and run beside the detector itself."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from ad_core.exporting.formats import FORMATS
from ad_core.exporting.program import make_program
from ad_core.scoring.detector import Detector
from tests.tiny_detector import draw_images, tiny_parts

SOURCE = Path(__file__).parents[3] / "examples" / "score.c"
COMPILER = shutil.which("cc") or shutil.which("gcc")


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The compiled example."""
    found = importlib.util.find_spec("openvino")
    if COMPILER is None or found is None or found.origin is None:
        pytest.skip("needs a C compiler and openvino")
    home = Path(found.origin).parent
    (library,) = (home / "libs").glob("libopenvino_c.so*")
    output = tmp_path_factory.mktemp("example") / "score"
    options = [f"-I{home}/include", f"-L{home}/libs", f"-l:{library.name}"]
    options += [f"-Wl,-rpath,{home}/libs", "-Wall", "-o", str(output)]
    told = subprocess.run([COMPILER, str(SOURCE), *options], capture_output=True, text=True)
    assert told.returncode == 0 and not told.stderr, told.stderr
    return output


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_the_example_in_c_scores_and_decides_as_the_detector(program, name, tmp_path):
    if not importlib.util.find_spec("onnx"):
        pytest.skip("needs onnx")
    parts = tiny_parts()
    threshold = parts.thresholds["zfn"].value - 1e-6
    FORMATS[name].write(make_program(parts, threshold=threshold), tmp_path)
    images = draw_images()[1][:2]
    verdicts = Detector(parts, batch_size=1).judge(images, explain=False)
    for image, verdict in zip(images, verdicts, strict=True):
        Image.fromarray(image).save(tmp_path / "part.ppm")
        model = tmp_path / FORMATS[name].files[0]
        command = [str(program), str(model), str(tmp_path / "part.ppm")]
        told = subprocess.run(command, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        score, decision = told.stdout.split()
        assert float(score) == pytest.approx(verdict.score, rel=1e-5)  # OpenVINO: float32
        assert decision == verdict.decision
    assert {verdict.decision for verdict in verdicts} == {"inspect", "normal"}


def test_the_example_refuses_what_is_no_picture(program, tmp_path):
    (tmp_path / "part.ppm").write_text("no picture")
    told = subprocess.run([str(program), "model.onnx", str(tmp_path / "part.ppm")])
    assert told.returncode == 2
