"""The default detector and each method of the poster as ONNX: they decide as their detector."""

import numpy as np
import pytest

from ad_core.exporting.formats import FORMATS
from ad_core.exporting.parity import lowered
from ad_core.exporting.program import make_program
from ad_core.scoring.detector import Detector
from tests.tiny_detector import draw_images, tiny_parts

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

DISC = {"disc_width": 4, "disc_layers": 1}
METHODS = {  # the default detector, then the poster's, in small networks
    "baselines_ad.padim,baselines_ad.features,baselines_ad.multiple_instance": None,
    "baselines_ad.padim": None,
    "baselines_ad.patchcore": None,
    "baselines_ad.multiple_instance": {"least_images": 2},
    "baselines_ad.ganomaly": {"width": 4, "latent": 4},
    "vqgan_ad.vqgan": {"width": 4, "multipliers": (1, 2), "blocks": 1, "latent": 4, "codes": 8}
    | DISC,
    "cyclegan_ad.cyclegan": {"width": 4, "blocks": 1, "pool": 4} | DISC,
}


QUICK = ("baselines_ad.padim", "baselines_ad.ganomaly")


def _params():
    slow = pytest.mark.slow
    return [pytest.param(name, marks=[] if name in QUICK else [slow]) for name in METHODS]


@pytest.mark.parametrize("method", _params())
def test_a_program_of_a_method_decides_as_its_detector(method, tmp_path):
    parts = tiny_parts(method=method, settings=METHODS[method], steps=0, image_size=32)
    program = make_program(parts, threshold=lowered(parts.thresholds["zfn"].value, 1e-3))
    FORMATS["onnx"].write(program, tmp_path)
    run = FORMATS["onnx"].load(tmp_path)
    images = draw_images()[1][:8]
    verdicts = Detector(parts, batch_size=1).judge(list(images), explain=False)
    scale = np.ptp([verdict.map for verdict in verdicts])
    for image, verdict in zip(images, verdicts, strict=True):
        found = run(image)
        # The detector's networks may compute in bfloat16, a program's in float32.
        assert found.score == pytest.approx(verdict.score, rel=1e-2, abs=1e-2)
        assert found.inspect == (verdict.decision == "inspect")
        assert np.abs(found.map - verdict.map).max() < 0.02 * scale
    assert len({verdict.decision for verdict in verdicts}) == 2
