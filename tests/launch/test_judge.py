"""`Detector.judge`: images of a program, as score.py would judge their files."""

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ad_core.errors import UserError
from ad_core.scoring import load_detector
from ad_core.scoring.detector import Detector
from ad_core.scoring.engines.local import score_files
from ad_core.scoring.files import save_detector
from ad_core.scoring.verdict import Verdicts


@pytest.fixture(scope="module")
def detector(workdir):
    return load_detector(workdir / "detector", batch_size=8)


def letterboxed(detector, folder):
    """The same detector, for images of any shape; what it scores is beside the point."""
    config = detector.parts.config.copy_and_resolve_references()
    with config.unlocked():
        config.data.resize = "letterbox"
    save_detector(folder, detector.parts._replace(config=config), versions={})
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Grey, colour and 16 bits, of three shapes: folder, and the values by name."""
    root, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    values = {
        "colour.png": rng.integers(0, 256, (50, 71, 3), dtype=np.uint8),
        "deep.png": rng.integers(0, 65536, (64, 20), dtype=np.uint16),
        "grey.png": rng.integers(0, 256, (32, 32), dtype=np.uint8),
    }
    for name, array in values.items():
        Image.fromarray(array).save(root / name)
    return root, values


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_arrays_pillow_and_paths_get_the_scores_of_score_py_to_the_last_digit(
    workdir, detector, files, tmp_path, resize
):
    root, values = files
    folder = workdir / "detector"
    if resize == "letterbox":
        folder = letterboxed(detector, tmp_path / "detector")
    score_files(folder, root, tmp_path / "out", batch_size=8)
    rows = pq.read_table(tmp_path / "out" / "scores.parquet").to_pylist()
    expected = [(row["score"], row["decision"], row["clipped"]) for row in rows]
    judging = load_detector(folder, batch_size=8)

    def told(verdicts):
        return [(verdict.score, verdict.decision, verdict.clipped) for verdict in verdicts]

    paths = [root / name for name in values]
    assert told(judging.judge(paths)) == expected
    assert told(judging.judge(list(values.values()))) == expected
    assert told(judging.judge([Image.open(path) for path in paths])) == expected
    alone = [judging.judge(array) for array in values.values()]
    assert [len(verdicts) for verdicts in alone] == [1, 1, 1]
    assert [one for verdicts in alone for one in told(verdicts)] == expected
    regions = [str(verdict.regions) for verdict in judging.judge(paths)]
    assert [region.replace("'", '"') for region in regions] == [row["regions"] for row in rows]


def test_one_image_is_measured_by_one_program_without_padding(workdir):
    judging = load_detector(workdir / "detector", batch_size=8)
    for side in (20, 32, 50):
        judging.judge(np.zeros((side, side), np.uint8))
    assert judging.measurer.compilations() == 1


def test_what_cannot_be_read_is_a_verdict_to_inspect(detector, files):
    root, values = files
    given = [values["grey.png"], root / "gone.png", values["grey.png"] / 7.0, None]
    verdicts = detector.judge(given)
    assert [verdict.status for verdict in verdicts] == ["ok", "error", "error", "error"]
    assert [verdict.decision for verdict in verdicts[1:]] == ["inspect"] * 3
    assert all(verdict.score is None and verdict.error for verdict in verdicts[1:])
    assert verdicts[1].path == str(root / "gone.png")
    assert detector.judge([]) == []
    (alone,) = detector.judge(root / "gone.png")
    assert alone.decision == "inspect"


def test_reasons_push_towards_the_verdict_that_they_stand_beside(detector, files):
    for verdict in detector.judge(list(files[1].values()), explain="all"):
        sign = 1 if verdict.decision == "inspect" else -1
        pushes = [sign * reason.push for reason in verdict.reasons]
        assert pushes == sorted(pushes, reverse=True) and all(push > 0 for push in pushes)


def test_an_image_clipped_beyond_the_normals_is_inspected_and_says_so(detector, files, tmp_path):
    config = detector.parts.config.copy_and_resolve_references()
    with config.unlocked():
        config.data.value_range = (0.0, 200.0)
    always = {rule: t for rule, t in detector.parts.thresholds.items()}
    rule = detector.parts.rule
    always[rule] = always[rule].__class__(**{**vars(always[rule]), "value": 1e9})
    parts = detector.parts._replace(config=config, thresholds=always, clipped=0.1)
    save_detector(tmp_path / "detector", parts, versions={})
    lenient = load_detector(tmp_path / "detector", batch_size=8)
    assert lenient.clipped == 0.1
    values = np.full((32, 32), 200, np.uint8)
    values[:2] = 255  # 2 of 32 rows
    few, many = values, values.copy()
    many[:8] = 255
    normal, clipped = lenient.judge([few, many])
    assert (normal.decision, normal.clipped) == ("normal", 2 / 32)
    assert (clipped.decision, clipped.clipped) == ("inspect", 8 / 32)
    assert clipped.score == normal.score
    assert clipped.reasons[0].name == "clipped"
    assert str(clipped.reasons[0]).startswith("values lie beyond the range that the detector knows")
    assert all(reason.push > 0 for reason in clipped.reasons[1:])
    Image.fromarray(many).save(tmp_path / "many.png")
    Image.fromarray(few).save(tmp_path / "few.png")
    (tmp_path / "lot.csv").write_text("path\nfew.png\nmany.png\n")
    summary = score_files(tmp_path / "detector", tmp_path / "lot.csv", tmp_path / "out")
    told = {"images": 2, "beyond": 1, "largest": 0.25, "normals": 0.1}
    assert summary["clipped"] == told
    rows = pq.read_table(tmp_path / "out" / "scores.parquet").to_pylist()
    assert [row["decision"] for row in rows] == ["normal", "inspect"]
    assert [row["clipped"] for row in rows] == [2 / 32, 8 / 32]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 32, 32, 1), np.uint8), r"\(of uint8\) must be floats in \[-1, 1\]"),
        (np.zeros((1, 32, 32, 1), np.int64), r"\(of int64\) must be floats"),
        (np.full((1, 32, 32, 1), 1.001), r"from 1\.001 to 1\.001\) must lie in \[-1, 1\]"),
        (np.full((1, 32, 32, 1), -np.inf), r"must lie in \[-1, 1\]; `judge` takes"),
        (np.zeros((1, 20, 20, 1)), r"shape \(1, 20, 20, 1\)\) must be .* `judge` takes images of"),
    ],
)
def test_score_refuses_what_is_not_as_the_network_takes_it(detector, images, message):
    with pytest.raises(UserError, match=message):
        detector.score(images)


def test_a_value_that_is_no_number_has_no_score(detector):
    images = np.zeros((2, 32, 32, 1), np.float32)
    images[1, 3, 4] = np.nan
    scores = detector.score(images)
    assert np.isfinite(scores.score).tolist() == [True, False]
    assert scores.decision[1] == "inspect"


def test_a_notebook_shows_picture_map_and_words(detector, files):
    root, values = files
    verdicts = detector.judge([values["grey.png"], root / "<b>.png"], explain="all")
    assert isinstance(verdicts, Verdicts)
    shown, failed = (verdict._repr_html_() for verdict in verdicts)
    assert shown.count("data:image/png;base64,") == 1 and verdicts[0].decision in shown
    assert all(words in shown for words in str(verdicts[0].reasons[0]).split(" (")[:1])
    assert "&lt;b&gt;.png" in failed and "<b>.png" not in failed and "<img" not in failed
    assert verdicts._repr_html_() == shown + failed
    lines = str(verdicts[0]).splitlines()
    assert lines[0].startswith(f"image 0: {verdicts[0].decision}, score ")
    assert len(lines) == 1 + len(verdicts[0].reasons)
    assert len(repr(verdicts[0])) < 120 and "array" not in repr(verdicts)


def test_a_library_keeps_the_programs_that_it_compiles(workdir):
    assert jax.config.jax_compilation_cache_dir
    assert isinstance(load_detector(workdir / "detector"), Detector)
