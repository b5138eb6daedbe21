"""The whole export: what is written, and that a program which decides otherwise leaves nothing."""

import json

import numpy as np
import pytest
from PIL import Image

from ad_core.errors import UserError
from ad_core.exporting import export as exporting
from ad_core.exporting.export import PARITY, PROGRAM, export
from ad_core.exporting.formats import FORMATS
from ad_core.exporting.golden import MADE, REAL, golden_set
from ad_core.exporting.reading import rule_of
from ad_core.runtime import sealed
from ad_core.scoring.detector import Detector
from ad_core.scoring.files import load_detector, save_detector
from tests.tiny_detector import COUNT, draw_images, save_images, tiny_parts

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny") / "detector"
    save_detector(folder, tiny_parts(), versions={})
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return save_images(tmp_path_factory.mktemp("set") / "images", draw_images()[1])


@pytest.fixture(scope="module")
def exported(detector, images, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "exported"
    return output, export(detector, output, format="onnx", images=images)


def test_an_export_is_sealed_with_its_proof(exported):
    output, parity = exported
    sealed.verify_folder(output)
    assert json.loads((output / PARITY).read_text()) == parity
    assert parity["images"][REAL] == COUNT and parity["images"][MADE] > 60
    assert parity["flipped_decisions"] == 0
    assert parity["largest_score_difference"] <= parity["allowed_score_difference"]
    line = parity["threshold"]
    assert 0 <= line["detector"] - line["program"] < 1e-3 * abs(line["detector"]) + 1e-5


def test_the_description_tells_how_pixels_are_read(exported, detector):
    told = json.loads((exported[0] / PROGRAM).read_text())
    pixels = told["input"]["pixels"]
    assert (pixels["height"], pixels["width"], pixels["channels"]) == (16, 24, 3)
    assert (pixels["low"], pixels["high"], pixels["resize"]) == (0, 255, "stretch")
    assert told["files"] == ["detector.onnx"]
    assert told["threshold"] == exported[1]["threshold"]["program"]


def test_decisions_are_those_of_the_detector_on_images_that_nobody_compared(exported, detector):
    run = FORMATS["onnx"].load(exported[0])
    judged = load_detector(detector, batch_size=8)
    others = [image for seed in (5, 6) for image in draw_images(seed=seed, height=37)[1]]
    verdicts = judged.judge(others, explain=False)
    decisions = [run(image).inspect for image in others]
    assert decisions == [verdict.decision == "inspect" for verdict in verdicts]
    assert 0 < sum(decisions) < len(decisions)


def planted(monkeypatch, **changes):
    """Makes the written program another one: of other parts, or with another threshold."""
    make = exporting.make_program

    def other(parts, *, threshold):
        return make(changes.get("parts", parts), threshold=changes.get("threshold", threshold))

    monkeypatch.setattr(exporting, "make_program", other)


def test_perturbed_weights_leave_nothing(detector, images, tmp_path, monkeypatch):
    parts = tiny_parts()
    memory = parts.methods[0].state.params["memory"]
    wrong = {"memory": memory | {"mean": memory["mean"] + 0.02}}
    state = parts.methods[0].state._replace(params=wrong)
    planted(monkeypatch, parts=parts._replace(methods=(parts.methods[0]._replace(state=state),)))
    with pytest.raises(UserError, match="is not its detector"):
        export(detector, tmp_path / "out", format="onnx", images=images)
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_threshold_leaves_nothing(detector, images, tmp_path, monkeypatch):
    planted(monkeypatch, threshold=tiny_parts().thresholds["zfn"].value + 1.0)
    with pytest.raises(UserError, match="says normal of .* and the detector inspect"):
        export(detector, tmp_path / "out", format="onnx", images=images)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_export_does_not_outlive_one_that_failed(
    detector, images, exported, tmp_path, monkeypatch
):
    output = tmp_path / "out"
    sealed.write_folder(output, lambda folder: (folder / PROGRAM).write_text("{}"))
    planted(monkeypatch, threshold=1e9)
    with pytest.raises(UserError, match="is not its detector"):
        export(detector, output, format="onnx", images=images)
    assert not output.exists()


def test_a_folder_of_something_else_is_left_alone(detector, images, tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(UserError, match="no earlier export"):
        export(detector, tmp_path, format="onnx", images=images)
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_without_images_there_is_no_proof(detector, tmp_path):
    with pytest.raises(UserError, match="no workdir.*--images=PATH"):
        export(detector, tmp_path / "out", format="onnx")


def test_images_of_16_bits_are_no_proof_and_are_counted(detector, images, tmp_path):
    only = tmp_path / "deep"
    only.mkdir()
    Image.fromarray(np.full((20, 20), 4000, np.uint16)).save(only / "deep.png")
    data = tiny_parts().config.data
    rule = rule_of(data, clipped=1.0)
    with pytest.raises(UserError, match="None of the images of .* holds 8-bit values"):
        list(golden_set(detector, data, rule, only).each())
    (only / "plain.png").write_bytes((images / "000.png").read_bytes())
    golden = golden_set(detector, data, rule, only)
    assert [one.kind for one in golden.each()].count(REAL) == 1
    assert golden.left_out == {"not plain 8 bits": 1}


def test_golden_images_are_the_same_each_time(detector, images):
    parts = tiny_parts()
    golden = golden_set(
        detector, parts.config.data, rule_of(parts.config.data, clipped=1.0), images
    )
    first, second = list(golden.each()), list(golden.each())
    for one, two in zip(first, second, strict=True):
        assert one.name == two.name and one.kind == two.kind
        np.testing.assert_array_equal(one.values, two.values)
    scores = [verdict.score for verdict in Detector(parts).judge([one.values for one in first])]
    line = parts.thresholds["zfn"].value
    assert min(abs(score - line) for score in scores) < 0.1 * np.ptp(scores[:COUNT])


def test_an_unknown_format_is_refused(detector, tmp_path):
    with pytest.raises(UserError, match="must be one of stablehlo, onnx, openvino"):
        export(detector, tmp_path / "out", format="tflite")
