import importlib
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from ad_core.data.sets.packing import pack
from ad_core.data.source import Record, open_source
from ad_core.data.splits import make_splits
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults
from tests import known_trees

NAMES = ("retina_oct", "brain_mri", "breast_ultrasound", "mvtec_ad", "pcba")


def module(name):
    return importlib.import_module(f"ad_core.data.sets.{name}")


def data_of(name, root):
    data = defaults("cpu").data
    data.source, data.root, data.image_size = f"ad_core.data.sets.{name}", str(root), 32
    data.channels = 3
    return data


@pytest.fixture(scope="module", params=NAMES)
def copy(request, tmp_path_factory):
    """(name, root of a copy in miniature)."""
    root = tmp_path_factory.mktemp(request.param)
    return request.param, getattr(known_trees, request.param)(root)


@pytest.fixture(scope="module")
def packed(copy, tmp_path_factory):
    """(name, root of the copy, folder of the data set built from it)."""
    name, root = copy
    top, config = (root.parent, root.name) if name == "mvtec_ad" else (root, "")
    data_dir = tmp_path_factory.mktemp("tfds")
    return name, root, pack(module(name).BUILDER, str(top), data_dir=str(data_dir), config=config)


def records_of(name, root):
    return open_source(data_of(name, root)).records


def test_each_states_source_licence_tree_and_counts(copy):
    known = module(copy[0]).KNOWN
    for text in (known.title, known.source, known.licence, known.fetch, known.tree):
        assert text
    assert known.recipe.startswith("configs/") and known.recipe in known.command
    assert known.counts or copy[0] in ("mvtec_ad", "pcba")


def test_patients_of_the_retina_set_come_from_the_file_name(tmp_path):
    records = records_of("retina_oct", known_trees.retina_oct(tmp_path))
    by_path = {record.path: record for record in records}
    assert len(records) == 2 * (3 + 2 + 1) * 6 + 2
    assert by_path["train/CNV/CNV-1050000-2.jpeg"] == Record(
        "train/CNV/CNV-1050000-2.jpeg", 1, "CNV", "1050000", "train", False
    )
    assert by_path["val/NORMAL/NORMAL-1030300-1.jpeg"].folder == "train"
    eyes = [record for record in records if record.group == "300"]
    assert [record.label for record in eyes] == [1, 0]


def test_the_second_copy_in_the_brain_archive_is_not_used(tmp_path):
    source = open_source(data_of("brain_mri", known_trees.brain_mri(tmp_path)))
    assert source.ignored == ("brain_tumor_dataset/",) or all(
        path.startswith("brain_tumor_dataset/") for path in source.ignored
    )
    assert [sum(r.label == label for r in source.records) for label in (0, 1)] == [18, 14]
    assert source.published == {"good": (98,), "yes": (155,)}


def test_masks_of_busi_are_united(tmp_path):
    source = open_source(data_of("breast_ultrasound", known_trees.breast_ultrasound(tmp_path)))
    places = {record.path: index for index, record in enumerate(source.records)}
    expected = np.zeros((32, 32), bool)
    expected[4:10, 4:12] = expected[20:26, 2:6] = expected[0:4, 26:30] = True
    np.testing.assert_array_equal(source.read(places["benign/benign (100).png"]).mask, expected)
    assert not source.read(places["normal/normal (1).png"]).mask.any()
    assert len(source.records) == 29 and source.ignored == ()


def test_views_of_a_board_are_one_group(tmp_path):
    source = open_source(data_of("pcba", known_trees.pcba(tmp_path)))
    assert source.ignored == () and len(source.records) == 52
    groups = {record.group for record in source.records}
    assert len(groups) == 26 and "relay-sn0003" in groups
    masked = [r.path for r in source.records if r.label and r.has_mask]
    assert masked == ["amplifier/missing/sn100/top.png", "relay/missing/sn100/top.png"]


def test_other_files_among_boards_are_named(tmp_path):
    root = known_trees.pcba(tmp_path)
    known_trees.draw(root / "relay/good/sn0001/raw/x.png", 1)
    known_trees.mask(root / "relay/ground_truth/missing/sn101/side_mask.png", (0, 0, 2, 2))
    (root / "notes.txt").write_text("")
    source = open_source(data_of("pcba", root))
    assert source.loose == ("relay/ground_truth/missing/sn101/side_mask.png",)
    assert source.ignored == ("notes.txt", "relay/good/sn0001/raw/x.png", *source.loose)


def test_the_packed_set_is_the_copy(packed):
    name, root, folder = packed
    direct = open_source(data_of(name, root))
    data = data_of(name, folder)
    data.source, data.root = f"tfds:{folder}", ""
    source = open_source(data)
    assert source.records == direct.records
    for index in range(0, len(source.records), 3):
        ours, theirs = source.read(index), direct.read(index)
        np.testing.assert_array_equal(ours.image, theirs.image)
        assert ours[2:] == theirs[2:]
        assert (ours.mask is None) == (theirs.mask is None)
        if ours.mask is not None:
            np.testing.assert_array_equal(ours.mask, theirs.mask)
    assert "tensorflow" not in sys.modules


def test_splits_are_the_same_from_the_copy_and_packed(packed):
    name, root, folder = packed
    options = {"calibration": {"normal": 0.4, "abnormal": 1.0, "abnormal_of_test": 0.5}, "seed": 1}
    data = data_of(name, folder)
    data.source, data.root = f"tfds:{folder}", ""
    for protocol in ("folders",) if name == "mvtec_ad" else ("cyclegan_ad", "vqganodip"):
        one = make_splits(records_of(name, root), protocol=protocol, **options)
        two = make_splits(open_source(data).records, protocol=protocol, **options)
        for split in one:
            np.testing.assert_array_equal(one[split], two[split])


def test_any_reader_of_tfds_finds_images_and_labels(packed):
    name, root, folder = packed
    builder = tfds.builder_from_directory(folder)
    assert builder.info.metadata is None or builder.info.metadata == {}
    assert module(name).KNOWN.licence in builder.info.redistribution_info.license
    count = sum(split.num_examples for split in builder.info.splits.values())
    assert count == len(records_of(name, root))
    stored = builder.as_data_source(
        split=next(iter(builder.info.splits)), decoders={"image": tfds.decode.SkipDecoding()}
    )[0]
    path = root / stored["path"].decode()
    assert stored["image"] == path.read_bytes()


def test_a_set_that_is_there_is_left_as_it_is(packed):
    name, root, folder = packed
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    top, config = (root.parent, root.name) if name == "mvtec_ad" else (root, "")
    data_dir = folder.parents[2 if config else 1]
    assert pack(module(name).BUILDER, str(top), data_dir=str(data_dir), config=config) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_or_wrong_tree_says_what_was_expected_and_what_to_type(tmp_path, name):
    known = module(name).KNOWN
    (tmp_path / "other/things").mkdir(parents=True)
    known_trees.draw(tmp_path / "other/things/a.png", 1)
    for root in (tmp_path / "gone", tmp_path / "other"):
        with pytest.raises(UserError) as caught:
            open_source(data_of(name, root))
        message = str(caught.value)
        assert f"`data.root` (={root})" in message and "\n" not in message
        for part in (known.tree, known.fetch, known.command):
            assert part in message
    assert "things" in message


@pytest.mark.parametrize("name", ["retina_oct", "breast_ultrasound"])
def test_the_folder_above_a_copy_is_told_to_go_down(tmp_path, name):
    root = getattr(known_trees, name)(tmp_path)
    with pytest.raises(UserError, match=f"Did you mean {root}"):
        open_source(data_of(name, root.parent))


def test_a_copy_that_lacks_a_class_is_refused(tmp_path):
    root = known_trees.breast_ultrasound(tmp_path)
    for path in (root / "malignant").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"is no copy.*benign \(5 images\), normal \(18 images\)"):
        open_source(data_of("breast_ultrasound", root))


def test_a_copy_in_the_mvtec_layout_is_read_too(tmp_path):
    for number, name in enumerate(("train/good/a", "train/tumor/b", "test/good/c", "test/tumor/d")):
        known_trees.draw(tmp_path / f"{name}.png", number)
    records = records_of("brain_mri", tmp_path)
    assert [r.defect for r in records] == ["good", "tumor", "good", "tumor"]


def test_all_fifteen_categories_can_be_built():
    configs = [config.name for config in module("mvtec_ad").BUILDER.BUILDER_CONFIGS]
    assert len(set(configs)) == 15
    with pytest.raises(UserError, match="mvtec_ad/vase: name one of bottle, "):
        pack(module("mvtec_ad").BUILDER, "x", config="vase")


def test_a_wrong_copy_is_refused_before_anything_is_built(tmp_path):
    with pytest.raises(UserError, match="Expected BUSI"):
        pack(module("breast_ultrasound").BUILDER, str(tmp_path / "no"), data_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_unreadable_image_is_packed_and_stays_a_row(tmp_path):
    root = known_trees.breast_ultrasound(tmp_path)
    (root / "malignant/malignant (2).png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    folder = pack(module("breast_ultrasound").BUILDER, str(root), data_dir=str(tmp_path / "tfds"))
    data = data_of("breast_ultrasound", "")
    data.source = f"tfds:{folder}"
    source = open_source(data)
    index = [r.path for r in source.records].index("malignant/malignant (2).png")
    assert not source.records[index].has_mask and source.read_mask(index) is None
    with pytest.raises(UserError, match=r"malignant \(2\)\.png: cannot be decoded"):
        source.read(index)
