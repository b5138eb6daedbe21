import csv
import json
import os
import shutil
import struct
import zlib
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from ad_core.data.formats.resizing import place, to_file
from ad_core.data.layouts.files import FileSource
from ad_core.data.layouts.listing import list_images
from ad_core.errors import UserError
from ad_core.runtime.stop import Stop, Stopped
from ad_core.scoring.detector import Detector
from ad_core.scoring.engines import local
from ad_core.scoring.engines.local import score_files
from ad_core.scoring.files import load_detector, save_detector
from ad_core.scoring.measuring import Measured
from ad_core.scoring.verdict import Seen, judge
from tests.known_trees import brain_mri
from tests.launch.test_detector_files import vouch

NOT_UTF8 = os.fsdecode(b"caf\xe9.png")


@pytest.fixture(scope="module")
def detector(workdir):
    return load_detector(workdir / "detector", batch_size=8)


def noise(*shape, top=255, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, top + 1, shape).astype(dtype)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Files of several sizes, depths, colours, formats and folders."""
    root = tmp_path_factory.mktemp("sound")
    (root / "a" / "b").mkdir(parents=True)
    Image.fromarray(noise(32, 32)).save(root / "grey.png")
    Image.fromarray(noise(50, 71, 3, seed=1)).save(root / "a" / "colour.png")
    Image.fromarray(noise(45, 33, 3, seed=2)).save(root / "a" / "b" / "photo.jpg")
    halves = np.repeat(np.uint8([[0, 255]]), 40, axis=1)
    Image.fromarray(np.repeat(halves, 51, axis=0)).save(root / "a" / "halves.png")
    Image.fromarray(noise(64, 20, top=65535, dtype=np.uint16, seed=3)).save(root / "deep.png")
    tifffile.imwrite(root / "a" / "deep.tif", noise(20, 90, top=65535, dtype=np.uint16, seed=4))
    for name in ("=cmd.png", "+x.png", "-y.png", "@z.png", NOT_UTF8):
        Image.fromarray(noise(40, 40, seed=len(name))).save(root / name)
    return root


def huge_png():
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def damaged(sound, tmp_path_factory):
    """(root, names of the damaged files): they lie among the sound ones."""
    root = shutil.copytree(sound, tmp_path_factory.mktemp("damaged") / "images")
    whole = (root / "a" / "colour.png").read_bytes()
    photo = (root / "a" / "b" / "photo.jpg").read_bytes()
    contents = {
        "cut.png": whole[: len(whole) // 2],
        "empty.png": b"",
        "text.png": b"no image at all\n",
        "huge.png": huge_png(),
        "a/broken.jpg": photo[: len(photo) // 3],
        "a/flipped.png": whole[:200] + bytes([whole[200] ^ 255]) + whole[201:],
    }
    for name, content in contents.items():
        (root / name).write_bytes(content)
    Image.fromarray(noise(1, 1)).save(root / "dot.png")
    floats = np.ones((20, 20), np.float32)
    floats[3, 4] = np.nan
    tifffile.imwrite(root / "nan.tif", floats)
    return root, {*contents, "dot.png", "nan.tif"}


@pytest.fixture(scope="module")
def scored(launch, workdir, damaged, tmp_path_factory):
    """(status, output folder) of scoring the folder with damaged files, maps included."""
    output = tmp_path_factory.mktemp("scored") / "out"
    status = launch(
        "score",
        f"--detector={workdir / 'detector'}",
        f"--input={damaged[0]}",
        f"--output={output}",
        "--batch_size=8",
        "--maps",
    )
    return status, output


def rows_of(output):
    return pq.read_table(output / "scores.parquet").to_pylist()


def printed(name):
    return name.replace("\udce9", r"\xe9")


def test_every_file_has_a_row_and_nothing_damaged_is_normal(damaged, scored):
    root, names = damaged
    status, output = scored
    rows = {row["path"]: row for row in rows_of(output)}
    assert status == 3
    assert list(rows) == [printed(name) for name in list_images(root)]
    assert {path for path, row in rows.items() if row["status"] == "error"} == names
    for name in names:
        assert rows[name]["decision"] == "inspect"
        assert rows[name]["score"] is None and name.rpartition("/")[2] in rows[name]["error"]
    for name in set(rows) - names:
        assert rows[name]["error"] is None and np.isfinite(rows[name]["score"])
        flagged = rows[name]["score"] >= rows[name]["threshold"]
        assert rows[name]["decision"] == ("inspect" if flagged else "normal")
        statistics = rows[name]["statistics"].split()
        reasons = [reason for reason in rows[name]["reasons"].split("; ") if reason]
        assert len(reasons) == len(statistics) <= 3
        sign = "+" if rows[name]["decision"] == "inspect" else "-"
        for statistic, reason in zip(statistics, reasons, strict=True):
            assert f"({statistic} " in reason and "normals" in reason
            assert f", {sign}" in reason and reason.endswith(")")
        assert rows[name]["clipped"] == 0
    summary = json.loads((output / "summary.json").read_text())
    assert summary["counts"]["images"] == len(rows)
    assert summary["counts"]["error"] == len(names)
    assert summary["counts"]["normal"] + summary["counts"]["inspect"] == len(rows)
    assert set(summary["seconds"]) == {"total", "decode", "device", "write"}
    assert summary["finished"] is True and summary["resumed"] == 0
    assert summary["clipped"] == {"images": 0, "beyond": 0, "largest": 0, "normals": 0}
    left = {path.name for path in output.iterdir()} - {".lock", ".zfn-output"}
    assert left == {"scores.csv", "scores.parquet", "summary.json", "maps"}


def test_the_csv_says_the_same_and_no_cell_is_a_formula(scored):
    _, output = scored
    with (output / "scores.csv").open(newline="", encoding="utf-8") as file:
        cells = list(csv.DictReader(file))
    rows = rows_of(output)
    assert [cell["path"].removeprefix("'") for cell in cells] == [row["path"] for row in rows]
    guarded = {cell["path"] for cell in cells if cell["path"].startswith("'")}
    assert guarded == {"'=cmd.png", "'+x.png", "'-y.png", "'@z.png"}
    for cell, row in zip(cells, rows, strict=True):
        assert not any(cell[name].startswith(("=", "+", "@")) for name in cell)
        assert (float(cell["score"]) if cell["score"] else None) == row["score"]
        assert cell["decision"] == row["decision"]


def test_regions_lie_inside_the_files_pixels(damaged, scored):
    root, names = damaged
    found = 0
    for row in rows_of(scored[1]):
        if row["path"] in names or "\\" in row["path"]:
            continue
        with Image.open(root / row["path"]) as image:
            width, height = image.size
        for region in json.loads(row["regions"]):
            assert 0 <= region["x"] < region["x"] + region["width"] <= width
            assert 0 <= region["y"] < region["y"] + region["height"] <= height
            found += 1
    assert found


def test_there_is_a_map_of_every_image_that_could_be_read(damaged, scored):
    root, names = damaged
    maps = scored[1] / "maps"
    written = {path.relative_to(maps).as_posix() for path in maps.rglob("*.png")}
    sound = [name for name in list_images(root) if name not in names]
    assert written == {f"{name}{end}" for name in sound for end in (".png", ".heat.png")}
    for name in ("colour.png.png", "colour.png.heat.png"):
        with Image.open(maps / "a" / name) as image:
            assert image.size == (71, 50)


def test_raw_maps_are_read_back_as_the_detectors_maps(damaged, scored, detector):
    root, _ = damaged
    told = json.loads((scored[1] / "summary.json").read_text())["heat"]
    assert told["level"] == detector.parts.scale.level
    for name in ("grey.png", "a/colour.png", "deep.png"):
        sample = FileSource(root, [name], detector.parts.config.data).read(0)
        found = detector.score(sample.image[None]).anomaly_map[0]
        with Image.open(scored[1] / "maps" / f"{name}.heat.png") as image:
            values = told["zero"] + told["step"] * np.asarray(image).astype(np.float64)
        expected = to_file(found, sample.placement, unseen=told["zero"])
        # Half a step, and the float32 of the map.
        np.testing.assert_allclose(values, expected, atol=0.5 * told["step"], rtol=1e-6)


def test_a_row_says_in_words_where_the_image_stands_out(damaged, scored):
    _, names = damaged
    for row in rows_of(scored[1]):
        if row["path"] in names:
            assert row["places"] is row["regions"] is None
            continue
        found = json.loads(row["regions"])
        whole = row["decision"] == "inspect" and not found
        assert row["places"].startswith(f"{len(found) or 'no'} place")
        assert ("as a whole" in row["places"]) == whole


def with_resize(workdir, folder, resize):
    """A copy of the detector that resizes in another way; what it scores is beside the point."""
    shutil.copytree(workdir / "detector", folder)
    described = json.loads((folder / "detector.json").read_text())
    described["config"]["data"]["resize"] = resize
    (folder / "detector.json").write_text(json.dumps(described))
    vouch(folder, "detector.json")
    return folder


@pytest.mark.parametrize("resize", ["letterbox", "centre_crop"])
def test_regions_and_maps_come_back_in_the_files_pixels(
    workdir, tmp_path_factory, tmp_path, monkeypatch, resize
):
    root = tmp_path_factory.mktemp("wide")
    for name, height, width in (("wide", 60, 180), ("tall", 300, 100)):
        halves = np.where(np.arange(width) < width // 2, 0, 255).astype(np.uint8)
        Image.fromarray(np.tile(halves, (height, 1))).save(root / f"{name}.png")
    monkeypatch.setattr(local, "MAP_SIDE", 200)
    score_files(with_resize(workdir, tmp_path / "d", resize), root, tmp_path / "out", maps=True)
    rows = {row["path"]: row for row in rows_of(tmp_path / "out")}
    shown = {
        "letterbox": {"wide.png": (0, 0, 180, 60), "tall.png": (0, 0, 100, 300)},
        "centre_crop": {"wide.png": (60, 0, 120, 60), "tall.png": (0, 100, 100, 200)},
    }[resize]
    for name, (left, top, right, bottom) in shown.items():
        found = json.loads(rows[name]["regions"])
        assert found
        for region in found:
            assert left <= region["x"] < region["x"] + region["width"] <= right
            assert top <= region["y"] < region["y"] + region["height"] <= bottom
    with Image.open(tmp_path / "out/maps/wide.png.png") as image:
        assert image.size == (180, 60)
        edge = np.asarray(image)[:, 120:].max()
        assert edge <= 255 // 3 if resize == "centre_crop" else edge > 255 // 3
    with Image.open(tmp_path / "out/maps/tall.png.png") as image:
        assert image.size == (67, 200)


# The eight devices of the tests make 8, 8 and 16 of them.
@pytest.mark.parametrize("batch_size", [1, 7, 16])
def test_scores_are_the_detectors_whatever_the_batch(
    workdir, detector, sound, tmp_path, batch_size
):
    files = FileSource(sound, list_images(sound), detector.parts.config.data)
    images = np.stack([files.read(i).image for i in range(len(files))])
    summary = score_files(workdir / "detector", sound, tmp_path / "out", batch_size=batch_size)
    assert summary["counts"]["error"] == 0
    scores = [row["score"] for row in rows_of(tmp_path / "out")]
    assert scores == detector.score(images).score.tolist()
    alone = np.concatenate([detector.score(image[None]).score for image in images])
    assert scores == alone.tolist()


def test_a_clean_folder_ends_with_status_0_and_needs_no_other_program(
    launch, workdir, sound, tmp_path, capsys
):
    argv = (f"--detector={workdir / 'detector'}", f"--input={sound}", f"--output={tmp_path}")
    assert launch("score", *argv, "--batch_size=8") == 0
    assert "11 images: " in capsys.readouterr().out


def test_mixed_sizes_compile_once(detector, sound):
    files = FileSource(sound, list_images(sound), detector.parts.config.data)
    for count in (1, 8, 11, 3):
        detector.score(np.stack([files.read(i).image for i in range(count)]))
    assert detector.measurer.compilations() == 1
    assert len(detector.score(np.zeros((0, 32, 32, 1), np.float32)).score) == 0


def test_a_statistic_that_is_not_finite_is_inspected(detector):
    sane = detector.score(np.zeros((1, 32, 32, 1), np.float32))
    statistics = np.repeat(sane.statistics, 4, axis=0)
    statistics[1, 0], statistics[2, 3], statistics[3, -1] = np.nan, np.inf, -np.inf
    image = np.repeat(sane.drawn, 4, axis=0)
    seen = [Seen(f"{row}.png", place(32, 32, size=(32, 32), resize="stretch")) for row in range(4)]
    verdicts = judge(detector, seen, Measured(statistics, np.moveaxis(image, -1, 1), image))
    assert [verdict.score for verdict in verdicts] == [sane.score[0], None, None, None]
    assert [verdict.decision for verdict in verdicts[1:]] == ["inspect"] * 3
    assert verdicts[0].decision == sane.decision[0]
    reasons = detector.explain(statistics)
    for row, column in ((1, 0), (2, 3), (3, -1)):
        weight = dict(important(detector))[detector.names[column]]
        named = [reason.name for reason in reasons[row]]
        assert detector.names[column] in named or not weight


def important(detector):
    from ad_core.decision import important_statistics

    parts = detector.parts
    return important_statistics(parts.classifier, parts.names, parts.reference)


def test_a_manifest_is_scored_in_its_order(workdir, sound, tmp_path):
    manifest = sound.parent / f"{sound.name}.csv"
    names = [f"{sound.name}/grey.png", f"{sound.name}/a/colour.png", f"{sound.name}/gone.png"]
    manifest.write_text("path,note\n" + "".join(f"{name},x\n" for name in names))
    summary = score_files(workdir / "detector", manifest, tmp_path, batch_size=8)
    rows = rows_of(tmp_path)
    assert [row["path"] for row in rows] == names
    assert [row["status"] for row in rows] == ["ok", "ok", "error"]
    assert rows[2]["decision"] == "inspect" and summary["counts"]["error"] == 1


def test_a_tfds_data_set_is_scored_by_its_name(launch, workdir, tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    root = brain_mri(tmp_path / "copy")
    (root / "no" / "No11.jpg").write_bytes(b"no image")
    assert launch("build_tfds", "--set=brain_mri", f"--root={root}") == 0
    argv = (f"--detector={workdir / 'detector'}", f"--output={tmp_path / 'out'}", "--batch_size=8")
    assert launch("score", *argv, "--input=tfds:brain_mri") == 3
    rows = {row["path"]: row for row in rows_of(tmp_path / "out")}
    files = score_files(workdir / "detector", root, tmp_path / "files", batch_size=8)
    assert len(rows) == 32 and files["counts"]["images"] == 64
    assert rows["no/No11.jpg"]["decision"] == "inspect"
    for row in rows_of(tmp_path / "files"):
        if row["path"] in rows:
            assert row["score"] == rows[row["path"]]["score"]
            assert row["regions"] == rows[row["path"]]["regions"]


def test_a_manifest_that_leaves_its_folder_is_refused(launch, workdir, sound, tmp_path, capsys):
    (tmp_path / "list.csv").write_text("path\n../grey.png\n")
    argv = (f"--detector={workdir / 'detector'}", f"--input={tmp_path / 'list.csv'}")
    assert launch("score", *argv, f"--output={tmp_path / 'out'}") == 2
    error = capsys.readouterr().err
    assert "line 2" in error and "leads out of" in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "`--detector` is missing"),
        (("detector",), "`--input` is missing"),
        (("detector", "input"), "`--output` is missing"),
        (("input", "input as detector", "output"), "no detector there"),
        (("detector", "output", "no input"), "must be a folder of images, a table"),
    ],
)
def test_a_wrong_flag_is_one_message(launch, workdir, sound, tmp_path, capsys, given, message):
    flags = {
        "detector": f"--detector={workdir / 'detector'}",
        "input as detector": f"--detector={sound}",
        "input": f"--input={sound}",
        "no input": f"--input={tmp_path / 'nowhere'}",
        "output": f"--output={tmp_path / 'out'}",
    }
    assert launch("score", *(flags[name] for name in given)) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_images_of_another_shape_are_refused(detector):
    with pytest.raises(UserError, match=r"shape \(2, 16, 16, 1\)\) must be .*\(32, 32, 1\)"):
        detector.score(np.zeros((2, 16, 16, 1), np.float32))


def test_a_stop_writes_the_rows_so_far(workdir, damaged, tmp_path):
    class After(Stop):
        """Stops when it is asked for the third time: one batch is then still on the device."""

        asked = 0

        def check(self):
            self.asked += 1
            self.signal = 15 if self.asked > 2 else None
            super().check()

    with pytest.raises(Stopped):
        score_files(workdir / "detector", damaged[0], tmp_path, batch_size=8, stop=After())
    assert len(rows_of(tmp_path)) == 8 < len(list_images(damaged[0]))
    assert json.loads((tmp_path / "summary.json").read_text())["finished"] is False


def test_a_band_sends_doubtful_images_to_a_person_and_none_to_normal(
    detector, damaged, scored, tmp_path
):
    root, _ = damaged
    before = sorted({row["score"] for row in rows_of(scored[1])} - {None})
    deciding = replace(detector.threshold, value=before[len(before) // 3])
    upper = replace(detector.threshold, value=before[-1], rule="target_fpr")
    thresholds = {detector.parts.rule: deciding, "target_fpr": upper}
    parts = detector.parts._replace(thresholds=thresholds, review="target_fpr")
    save_detector(tmp_path / "detector", parts, versions={})
    summary = score_files(tmp_path / "detector", root, tmp_path / "out", batch_size=8)
    rows = rows_of(tmp_path / "out")
    doubtful = 0
    for row in rows:
        if row["status"] == "error":
            assert row["review"] is None and row["decision"] == "inspect"
            continue
        between = deciding.value <= row["score"] < upper.value
        doubtful += between
        assert row["review"] == ("person" if between else "none")
        assert row["decision"] == ("normal" if row["score"] < deciding.value else "inspect")
    assert summary["counts"]["person"] == doubtful > 0
    assert summary["counts"]["normal"] > 0 and summary["detector"]["review"] == "target_fpr"


def test_without_a_rule_of_review_above_there_is_no_band(detector, scored):
    assert detector.band is None
    assert {row["review"] for row in rows_of(scored[1])} == {None}
    below = replace(detector.threshold, value=detector.threshold.value - 1, rule="f1")
    thresholds = {detector.parts.rule: detector.threshold, "f1": below}
    assert Detector(detector.parts._replace(thresholds=thresholds, review="f1")).band is None
