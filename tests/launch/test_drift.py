"""The look at a whole lot: summary and console of score.py, and `Detector.drift`."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ad_core.data.source import Record
from ad_core.decision.table import make_table
from ad_core.reporting.gallery import Gallery
from ad_core.runtime.stop import Stop, Stopped
from ad_core.scoring import load_detector
from ad_core.scoring.drift import COMPARED, drawn_places, group_names, normals_of
from ad_core.scoring.engines import local
from ad_core.scoring.engines.local import score_files
from ad_core.scoring.files import load_parts, save_detector
from ad_core.scoring.inputs import open_input
from ad_core.scoring.part import Part
from ad_core.stages.evaluate import Judged, _drift
from ad_core.stages.pixels import Pixels
from ad_core.types import Method, OnePass


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    """Images that look like no others: 24 of noise, the first of them damaged."""
    root, rng = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for number in range(24):
        values = rng.integers(0, 256, (40, 40), dtype=np.uint8)
        Image.fromarray(values).save(root / f"{number:02}.png")
    (root / "00.png").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def folder(workdir, tmp_path_factory):
    """A detector that knows 20 normal images, near those few that calibrated it."""
    parts = load_parts(workdir / "detector")
    rng = np.random.default_rng(1)
    rows = parts.reference[rng.integers(0, len(parts.reference), 20)]
    rows = (rows + rng.normal(0, 1e-3, rows.shape)).astype(np.float32)
    folder = tmp_path_factory.mktemp("known") / "detector"
    save_detector(folder, parts._replace(reference=rows, groups=np.arange(20)), versions={})
    return folder


@pytest.fixture(scope="module")
def detector(folder):
    return load_detector(folder, batch_size=8)


def of_earlier_version(detector, folder):
    save_detector(folder, detector.parts._replace(groups=None), versions={})
    return folder


def test_the_groups_of_normals_are_kept(workdir, detector):
    parts = load_parts(workdir / "detector")
    assert len(parts.groups) == len(parts.reference)
    np.testing.assert_array_equal(detector.parts.groups, np.arange(20))


def test_a_lot_of_noise_is_told_in_summary_and_console(
    folder, detector, noise, tmp_path, launch, capsys
):
    arguments = [f"--detector={folder}", f"--input={noise}", f"--output={tmp_path}"]
    assert launch("score", *arguments, "--batch_size=8") == 3
    told = json.loads((tmp_path / "summary.json").read_text())["drift"]
    assert told["drifted"] is True and told["p"] <= 0.01
    assert (told["images"], told["normals"]) == (23, 20)
    assert told["statement"].startswith("this lot does not look like the calibration images")
    assert f"warning: {told['statement']}\n" in capsys.readouterr().out
    # The same from Python: of what `judge` says, and of the statistics.
    verdicts = detector.judge([noise / f"{number:02}.png" for number in range(24)])
    assert verdicts[0].statistics is None
    table = np.stack([verdict.statistics for verdict in verdicts[1:]])
    for found in (detector.drift(verdicts), detector.drift(table)):
        assert found.drifted and found.p == pytest.approx(told["p"])


def test_the_look_changes_no_row_and_leaves_nothing_in_the_tables(
    folder, detector, noise, tmp_path
):
    score_files(folder, noise, tmp_path / "new", batch_size=8)
    old = of_earlier_version(detector, tmp_path / "detector")
    summary = score_files(old, noise, tmp_path / "old", batch_size=8)
    assert summary["drift"]["drifted"] is None
    assert "earlier version" in summary["drift"]["statement"]
    new, old = (pq.read_table(tmp_path / name / "scores.parquet") for name in ("new", "old"))
    assert new.equals(old)
    tables = [(tmp_path / name / "scores.csv").read_bytes() for name in ("new", "old")]
    assert tables[0] == tables[1]
    assert "values" not in new.column_names
    assert load_detector(tmp_path / "detector").drift(detector.parts.reference).drifted is None


def test_the_calibration_normals_look_like_themselves(detector):
    reference = detector.parts.reference
    found = detector.drift(reference)
    assert found.drifted is False and found.images == len(reference)
    few = detector.drift(reference, np.zeros(len(reference)))
    assert few.drifted is None and "too few to tell" in str(few)


def test_the_test_split_is_compared_by_its_normal_images(detector):
    def told(values, label, *, split="test", broken=()):
        records = [
            Record(f"{place}.png", one, "", f"part {place}", "test", False)
            for place, one in enumerate(label)
        ]
        errors = ["damaged" if place in broken else "" for place in range(len(label))]
        table = make_table(records, detector.names, values, errors)
        scores = np.zeros(len(label))
        return _drift(detector, Judged(split, table, scores, {}, Pixels(), Gallery()))

    like = detector.parts.reference
    unlike = like + np.float32(1e3)
    # What is abnormal, or could not be read, is not compared.
    mixed = np.concatenate([like, unlike, np.full((1, like.shape[1]), np.nan, np.float32)])
    found = told(mixed, [0] * 20 + [1] * 20 + [0], broken=[40])
    assert found["drifted"] is False and (found["images"], found["normals"]) == (20, 20)
    found = told(unlike, [0] * 20)
    beginning = "the test split, by its normal images, does not look like the calibration images"
    assert found["drifted"] is True and found["statement"].startswith(beginning)
    assert found["statement"].count(";") == 1  # one statistic is named
    assert told(like, [1] * 20) is None
    assert told(like, [0] * 20, split="pool") is None


def test_a_lot_that_was_cut_short_is_looked_at_once_it_is_whole(
    folder, noise, tmp_path, monkeypatch
):
    monkeypatch.setattr(local, "BLOCK", 8)
    whole = score_files(folder, noise, tmp_path / "whole", batch_size=8)["drift"]
    stop, seal = Stop(), local._seal

    def stopping(*given, **options):
        seal(*given, **options)
        stop.signal = 15

    monkeypatch.setattr(local, "_seal", stopping)
    with pytest.raises(Stopped):
        score_files(folder, noise, tmp_path / "cut", batch_size=8, stop=stop)
    cut = json.loads((tmp_path / "cut" / "summary.json").read_text())["drift"]
    assert cut["drifted"] is None and "not finished" in cut["statement"]
    monkeypatch.setattr(local, "_seal", seal)
    again = score_files(folder, noise, tmp_path / "cut", batch_size=8)
    assert again["resumed"] and again["drift"] == whole


def test_what_learns_in_one_pass_is_compared_towards_the_abnormal_end_alone(detector, monkeypatch):
    known = detector.normals
    assert known.names == detector.names and known.higher.all() and known.lower.all()
    part = detector.parts.methods[0]._replace(
        statistics=("loss_score", "ssim", "residual_mean", "deep_stem_0000")
    )
    values, group = np.zeros((12, 4)), np.arange(12)

    def compared(protocol="folders", **traits):
        method = Method(learn=OnePass(fit=lambda batches, key: None), view=None, **traits)
        monkeypatch.setattr(Part, "make", lambda self: method)
        found = normals_of([part], values, group, protocol=protocol)
        return found.higher.tolist(), found.lower.tolist()

    assert compared() == ([True, False, False, True], [False, True, False, True])
    assert compared("vqganodip") == ([True] * 4, [True] * 4)
    assert compared(learns_from_calibration=True) == ([False] * 4, [False] * 4)


def test_a_part_is_known_by_table_name_or_file(tmp_path, detector):
    for name in ("p1_a.png", "p1_b.png", "p2_a.png", "odd.png"):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / name)
    data = detector.parts.config.data.copy_and_resolve_references()
    with data.unlocked():
        data.group_pattern = r"(p\d)_"
    source = open_input(tmp_path, data)
    found = dict(zip(source.paths, group_names(source, range(4)), strict=True))
    assert found == {"p1_a.png": "p1", "p1_b.png": "p1", "p2_a.png": "p2", "odd.png": "odd.png"}
    table = tmp_path / "lot.csv"
    table.write_text("path,group\np1_a.png,x\np2_a.png,x\nodd.png,\n")
    source = open_input(table, data)
    assert group_names(source, range(3)).tolist() == ["x", "x", "odd.png"]


def test_the_images_of_a_lot_that_are_compared_are_drawn_alike_each_time():
    places = drawn_places(10_000)
    assert len(places) == COMPARED == len(set(places.tolist()))
    np.testing.assert_array_equal(places, drawn_places(10_000))
    # Spread over the whole lot, not its beginning.
    assert 0.4 < np.mean(places < 5_000) < 0.6
    np.testing.assert_array_equal(drawn_places(7), np.arange(7))
