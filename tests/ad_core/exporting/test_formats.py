"""The formats: one detector, the same verdicts by each of them, here and in a new process."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ad_core.errors import UserError
from ad_core.exporting import libraries
from ad_core.exporting.formats import FORMATS
from ad_core.exporting.parity import lowered
from ad_core.exporting.program import make_program
from ad_core.scoring.detector import Detector
from tests.tiny_detector import draw_images, tiny_parts

ROOT = Path(__file__).parents[3]
LIBRARIES = {"stablehlo": (), "onnx": ("onnx", "onnxruntime"), "openvino": ("onnx", "openvino")}
SIZES = [(41, 30), (24, 16), (50, 61)]  # width and height


def need(name):
    """Skips without the libraries of a format. Importing openvino itself would call home."""
    for library in LIBRARIES[name]:
        if not importlib.util.find_spec(library):
            pytest.skip(f"needs {library}")


def written(parts, name, folder):
    """The program, its threshold lowered: a calibration image lies on the detector's own."""
    threshold = lowered(parts.thresholds[parts.rule].value, 1e-4)
    FORMATS[name].write(make_program(parts, threshold=threshold), folder)
    return FORMATS[name].load(folder)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("classifier", "method", "names", "data"),
    [
        ("logistic_regression", "tests.toys.flat", ("default",), {"channels": 1}),
        # It draws a normal version, whose border is mirrored.
        pytest.param(
            *("one_class", "tests.toys.paired", ("mse", "loss_share"), {"resize": "letterbox"}),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_program_gives_the_verdicts_of_its_detector(
    name, classifier, method, names, data, tmp_path
):
    need(name)
    parts = tiny_parts(method=method, classifier=classifier, names=names, **data)
    run = written(parts, name, tmp_path)
    given = [Image.fromarray(image) for image in draw_images()[1][:5]]
    images = [np.array(image.resize(size)) for size in SIZES for image in given]
    verdicts = Detector(parts, batch_size=1).judge(images, explain=False)
    for image, verdict in zip(images, verdicts, strict=True):
        found = run(image)
        # A squared distance in standardised float32 columns; they differ in the last digit.
        assert found.score == pytest.approx(verdict.score, rel=1e-4, abs=1e-6)
        assert found.inspect == (verdict.decision == "inspect")
        assert found.map.dtype == np.float32
        np.testing.assert_allclose(found.map, verdict.map, rtol=1e-4, atol=1e-5)
    assert len({verdict.decision for verdict in verdicts}) == 2


def test_files_are_those_that_are_told(tmp_path):
    parts = tiny_parts()
    for name, format in FORMATS.items():
        need(name)
        folder = tmp_path / name
        folder.mkdir()
        format.write(make_program(parts, threshold=0.0), folder)
        assert sorted(path.name for path in folder.iterdir()) == sorted(format.files)


def test_a_program_of_jax_runs_in_a_new_process(tmp_path):
    parts = tiny_parts()
    run = written(parts, "stablehlo", tmp_path)
    image = draw_images()[1][0]
    np.save(tmp_path / "image.npy", image)
    code = (
        "import jax, numpy as np; from pathlib import Path\n"
        "from jax import export\n"
        f"folder = Path({str(tmp_path)!r}); x = np.load(folder / 'image.npy')\n"
        "for name in ('reading', 'judging'):\n"
        "    data = bytearray((folder / f'{name}.stablehlo').read_bytes())\n"
        "    with jax.enable_x64(True):\n"
        "        x = export.deserialize(data).call(*(x if isinstance(x, (list, tuple)) else [x]))\n"
        "print(repr(float(x[0])), int(x[1]))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert told.returncode == 0, told.stderr
    score, inspect = told.stdout.split()
    found = run(image)
    # Another process may have other flags for XLA, and round in another way.
    assert float(score) == pytest.approx(found.score, rel=1e-6) and int(inspect) == found.inspect


@pytest.mark.parametrize("name", FORMATS)
def test_an_image_without_a_finite_statistic_is_inspected(name, tmp_path):
    need(name)
    parts = tiny_parts()
    state = parts.methods[0].state
    # Divided by 0, every statistic is infinite.
    broken = {"memory": state.params["memory"] | {"spread": np.zeros((16, 24, 3), np.float32)}}
    part = parts.methods[0]._replace(state=state._replace(params=broken))
    found = written(parts._replace(methods=(part,)), name, tmp_path)(draw_images()[1][1])
    assert np.isnan(found.score) and found.inspect


def test_a_missing_library_is_named_with_its_mend(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="needs the library onnx, .* `make export`"):
        libraries.require("onnx")
