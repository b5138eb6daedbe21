import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ad_core.data.source import open_source
from ad_core.errors import UserError
from ad_core.inspection.layout import find_layout
from tests.small_config import small_config

NORMAL_FOLDERS = (
    "ok",
    "OK",
    "Good",
    "normal",
    "NORMAL",
    "i.O.",
    "good_2",
    "defect-free",
    "healthy",
)
ABNORMAL_FOLDERS = ("nok", "NOK", "not ok", "n.i.O.", "NG", "bad", "defects", "scratch", "CNV")


def make(root, *paths):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(file, "PNG")
    return root


def read(root, normal=()):
    """(path -> defect, folder) of what the layout that was found gives."""
    layout = find_layout(root, normal)
    config = small_config()
    for key, value in layout.overrides.items():
        config.data[key] = tuple(value.split(",")) if key == "normal_classes" else value
    return {r.path: (r.defect, r.folder) for r in open_source(config.data).records}


@pytest.mark.parametrize("good", NORMAL_FOLDERS)
@pytest.mark.parametrize("bad", ABNORMAL_FOLDERS)
def test_a_folder_a_class_is_read_by_its_names(tmp_path, good, bad):
    found = read(make(tmp_path, f"{good}/1.png", f"{good}/2.png", f"{bad}/1.png"))
    assert [kind for kind, _ in found.values()].count("good") == 2
    assert found[f"{bad}/1.png"] == (bad, "")


@pytest.mark.parametrize(("good", "bad"), [("no", "yes"), ("0", "1"), ("Negative", "POSITIVE")])
def test_words_that_mean_normal_beside_their_opposite_alone(tmp_path, good, bad):
    assert read(make(tmp_path, f"{good}/1.png", f"{bad}/1.png"))[f"{good}/1.png"][0] == "good"
    with pytest.raises(UserError, match="which of its folders hold normal images"):
        find_layout(make(tmp_path / "other", f"{good}/1.png", "maybe/1.png"))


def test_the_mvtec_layout_is_itself(tmp_path):
    paths = ("train/good/1.png", "test/good/1.png", "test/dot/1.png", "ground_truth/dot/1_mask.png")
    layout = find_layout(make(tmp_path, *paths))
    assert layout.overrides["source"].endswith("layouts.folder")
    assert read(tmp_path)["test/dot/1.png"] == ("dot", "test") and len(read(tmp_path)) == 3


def test_divisions_with_other_names_keep_their_sides(tmp_path):
    found = read(
        make(tmp_path, "Train/OK/1.png", "val/OK/2.png", "test/OK/1.png", "test/NOK/1.png")
    )
    assert found == {
        "Train/OK/1.png": ("good", "train"),
        "val/OK/2.png": ("good", "train"),
        "test/OK/1.png": ("good", "test"),
        "test/NOK/1.png": ("NOK", "test"),
    }


@pytest.mark.parametrize("under", ["", "photos/", "a/b/"])
def test_one_folder_of_images_is_all_normal(tmp_path, under):
    found = read(make(tmp_path, f"{under}1.png", f"{under}2.png"))
    assert sorted(found.values()) == [("good", "train")] * 2


def test_a_folder_named_normal_alone_is_normal(tmp_path):
    assert list(read(make(tmp_path, "normal/1.png")).values())[0][0] == "good"


def test_images_lie_as_deep_as_they_like(tmp_path):
    paths = ("a/ok/1.png", "b/ok/day 1/1.png", "a/nok/1.png", "b/nok/day 2/1.png", "a/dent/1.png")
    found = read(make(tmp_path, *paths))
    kinds = [found[path][0] for path in paths]
    assert kinds == ["good", "good", "nok", "nok", "dent"]


def test_masks_beside_their_images_are_no_images(tmp_path):
    found = read(make(tmp_path, "ok/1.png", "nok/1.png", "nok/1_mask.png"))
    assert set(found) == {"ok/1.png", "nok/1.png"}


@pytest.mark.parametrize("inside", [True, False])
def test_a_table_is_taken_by_its_columns(tmp_path, inside):
    make(tmp_path, "p/1.png", "p/2.png")
    (tmp_path / "notes.csv").write_text("who,when\n")
    table = tmp_path / "t.csv"
    table.write_text("label,path\nnormal,p/1.png\nabnormal,p/2.png\n")
    assert [kind for kind, _ in read(tmp_path if inside else table).values()] == ["good", "defect"]
    table.unlink()
    rows = {"path": ["p/1.png"], "label": [0]}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    assert list(read(tmp_path if inside else tmp_path / "t.parquet")) == ["p/1.png"]


@pytest.mark.parametrize(
    ("paths", "question"),
    [
        (("a/1.png", "b/1.png"), r"which of its folders hold normal images\? .*a \(1\), b \(1\)"),
        (("2024-01/1.png", "2024-02/1.png"), "which of its folders"),
        (("nok/1.png", "photos/1.png"), "which of its folders"),
        (("ok/1.png", "nok/1.png", "2.png"), r"what are the images in \.\?"),
        (("ok/1.png", "nok/1.png", "masks/1.png"), "what are the images in masks"),
        (("ok/1.png", "unsorted/1.png"), "what are the images in unsorted"),
        (("ok/1.png", "ok/nok/1.png"), "are the images in ok/nok normal, or not"),
        (("ok_1.png", "nok_2.png"), "names of its files tell of nok: are all of them normal"),
        (("nut/train/good/1.png", "bolt/train/good/1.png"), r"several sets \(bolt, nut\)\. Which"),
        (("nok/1.png", "bad/1.png"), "every image is abnormal by its folder"),
    ],
)
def test_two_readings_are_a_question(tmp_path, paths, question):
    with pytest.raises(UserError, match=question) as asked:
        find_layout(make(tmp_path, *paths))
    assert "\n" not in str(asked.value)


def test_two_tables_are_a_question(tmp_path):
    make(tmp_path, "1.png")
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("path,label\n1.png,0\n")
    with pytest.raises(UserError, match=r"which table labels the images: a.csv, b.csv\?"):
        find_layout(tmp_path)


@pytest.mark.parametrize(
    ("paths", "normal", "expected"),
    [
        (("a/1.png", "b/1.png"), ("A",), ["good", "b"]),
        (("a/1.png", "b/1.png"), ("*",), ["good", "good"]),
        (("nok_1.png", "2.png"), ("*",), ["good", "good"]),
        (("1.png", "nok/1.png"), (".",), ["good", "nok"]),
        (("ok/1.png", "ok/nok/1.png"), ("ok",), ["good", "good"]),
        (("ok/1.png", "no/1.png"), ("ok",), ["good", "no"]),
    ],
)
def test_the_answer_is_taken(tmp_path, paths, normal, expected):
    found = read(make(tmp_path, *paths), normal)
    assert [found[path][0] for path in paths] == expected


def test_an_answer_that_names_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"`--normal` \(=c\): .* no folder c; there are a, b"):
        find_layout(make(tmp_path, "a/1.png", "b/1.png"), ("c",))


def test_places_without_images_are_refused(tmp_path):
    (tmp_path / "text.txt").write_text("x")
    with pytest.raises(UserError, match="no such folder"):
        find_layout(tmp_path / "gone")
    with pytest.raises(UserError, match="is one file and no table"):
        find_layout(tmp_path / "text.txt")
    with pytest.raises(UserError, match="no image"):
        find_layout(tmp_path)
