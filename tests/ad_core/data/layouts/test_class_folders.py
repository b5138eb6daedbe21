import numpy as np
import pytest
from PIL import Image

from ad_core.data.source import Record, open_source
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults


def draw(path, value=100, size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size[::-1], value, np.uint8)).save(path)


def data_of(root, *normal, **options):
    data = defaults("cpu").data
    data.source = "ad_core.data.layouts.class_folders"
    data.root, data.image_size, data.normal_classes = str(root), 8, normal
    data.update(options)
    return data


@pytest.fixture
def root(tmp_path):
    for name in ("no/1 no.jpeg", "no/No11.jpg", "yes/Y1.jpg"):
        draw(tmp_path / "set" / name)
    return tmp_path / "set"


@pytest.fixture
def divided(tmp_path):
    for name in ("train/NORMAL/NORMAL-7-1", "train/CNV/CNV-7-1", "val/DME/DME-2-1"):
        draw(tmp_path / "oct" / f"{name}.jpeg")
    for name in ("test/NORMAL/NORMAL-9-1", "test/DRUSEN/DRUSEN-9-2"):
        draw(tmp_path / "oct" / f"{name}.jpeg")
    return tmp_path / "oct"


def test_stated_classes_are_normal_and_all_others_defects(root):
    assert open_source(data_of(root, "no")).records == (
        Record("no/1 no.jpeg", 0, "good", "no/1 no.jpeg", "", True),
        Record("no/No11.jpg", 0, "good", "no/No11.jpg", "", True),
        Record("yes/Y1.jpg", 1, "yes", "yes/Y1.jpg", "", False),
    )
    assert [r.label for r in open_source(data_of(root, "yes")).records] == [1, 1, 0]
    assert {r.label for r in open_source(data_of(root, "yes", "no")).records} == {0}


def test_classes_below_train_val_and_test_keep_their_side(divided):
    records = open_source(data_of(divided, "NORMAL")).records
    assert {(r.path.split("/")[0], r.folder, r.defect, r.label) for r in records} == {
        ("test", "test", "DRUSEN", 1),
        ("test", "test", "good", 0),
        ("train", "train", "CNV", 1),
        ("train", "train", "good", 0),
        ("val", "train", "DME", 1),
    }


def test_a_pattern_names_the_group(divided):
    records = open_source(data_of(divided, "NORMAL", group_pattern=r"-(\d+)-\d+\.")).records
    assert sorted(r.group for r in records) == ["2", "7", "7", "9", "9"]


def test_groups_of_a_table_go_before_the_pattern(divided):
    (divided / "groups.csv").write_text("path,group\nval/DME/DME-2-1.jpeg,p9\n")
    records = open_source(data_of(divided, "NORMAL", group_pattern=r"-(\d+)-")).records
    assert sorted(r.group for r in records) == ["7", "7", "9", "9", "p9"]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("(", "no regular expression"), ("x", r"needs \(paren"), (r"x(\d)", "does not match 'no/1")],
)
def test_a_wrong_pattern_is_refused(root, pattern, words):
    with pytest.raises(UserError, match=rf"`data\.group_pattern`.*{words}"):
        open_source(data_of(root, "no", group_pattern=pattern))


def test_several_masks_of_an_image_are_united(tmp_path):
    draw(tmp_path / "benign/benign (1).png", size=(8, 8))
    draw(tmp_path / "normal/normal (1).png")
    draw(tmp_path / "normal/normal (1)_mask.png", value=0)
    draw(tmp_path / "benign/benign (2)_mask.png")
    draw(tmp_path / "benign/benign (3).png")
    expected = np.zeros((8, 8), bool)
    for number, name in enumerate(("_mask", "_mask_1", "_mask_2")):
        mask = np.zeros((8, 8), np.uint8)
        mask[number, : number + 1] = 255
        expected |= mask > 0
        Image.fromarray(mask).save(tmp_path / f"benign/benign (1){name}.png")
    source = open_source(data_of(tmp_path, "normal"))
    assert [r.path for r in source.records] == [
        "benign/benign (1).png",
        "benign/benign (3).png",
        "normal/normal (1).png",
    ]
    np.testing.assert_array_equal(source.read(0).mask, expected)
    assert source.read(1).mask is None
    assert not source.read(2).mask.any()
    assert source.loose == source.ignored == ("benign/benign (2)_mask.png",)


def test_all_that_is_no_class_is_ignored_by_name(root):
    draw(root / "loose.png")
    draw(root / "no/deeper/a.png")
    (root / "readme.txt").write_text("")
    source = open_source(data_of(root, "no"))
    assert source.ignored == ("loose.png", "no/deeper/", "readme.txt")


def test_no_stated_class_lists_what_there_is_and_what_to_type(root):
    with pytest.raises(UserError) as caught:
        open_source(data_of(root))
    message = str(caught.value)
    assert "no (2 images), yes (1 images)" in message
    assert "--config.data.normal_classes=no`" in message


@pytest.mark.parametrize(
    ("names", "told"),
    [(("benign", "normal"), "normal"), (("CNV", "NORMAL"), "NORMAL"), (("a", "b"), "NAME")],
)
def test_what_to_type_never_calls_a_defect_normal(tmp_path, names, told):
    for name in names:
        draw(tmp_path / name / "1.png")
    for source in ("class_folders", "folder"):
        data = data_of(tmp_path)
        data.source = f"ad_core.data.layouts.{source}"
        with pytest.raises(UserError, match=f"--config.data.normal_classes={told}`"):
            open_source(data)


@pytest.mark.parametrize(
    ("normal", "words"),
    [(("not",), "normal class not.*no \\(2 images\\)"), (("no", "gone"), "normal class gone")],
)
def test_a_normal_class_without_images_is_refused(root, normal, words):
    with pytest.raises(UserError, match=words):
        open_source(data_of(root, *normal))


def test_a_folder_above_or_without_classes_is_refused(root, tmp_path):
    with pytest.raises(UserError, match=f"no class folders.*Did you mean {root}"):
        open_source(data_of(root.parent, "no"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="found nothing.*Check the path"):
        open_source(data_of(tmp_path / "empty", "no"))
    with pytest.raises(UserError, match=r"`data\.root` \(=.*gone\): no such folder"):
        open_source(data_of(tmp_path / "gone", "no"))


@pytest.mark.parametrize("name", ["good", "GOOD", "Ok", "NORMAL"])
def test_a_defect_may_not_be_called_good(root, name):
    draw(root / name / "a.png")
    with pytest.raises(UserError, match=f"{name!r} means normal"):
        open_source(data_of(root, "no"))


@pytest.mark.parametrize("name", ["No", "NO"])
def test_a_normal_class_in_another_case_is_normal_too(root, name):
    draw(root / "train" / name / "a.png")
    draw(root / "val/no/a.png")
    draw(root / "val/yes/a.png")
    for stated in ("no", "nO"):
        records = open_source(data_of(root, stated)).records
        assert {r.path.split("/")[1]: (r.label, r.defect) for r in records} == {
            name: (0, "good"),
            "no": (0, "good"),
            "yes": (1, "yes"),
        }


def test_the_mvtec_source_tells_how_to_open_class_folders(root):
    data = data_of(root)
    data.source = "ad_core.data.layouts.folder"
    with pytest.raises(UserError, match="class_folders --config.data.normal_classes=no"):
        open_source(data)
