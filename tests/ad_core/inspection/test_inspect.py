import io

import nibabel
import numpy as np
import pytest
from PIL import Image

from ad_core.errors import UserError
from ad_core.inspection.inspect import inspect
from ad_core.runtime.config import complete
from ad_core.runtime.recipes import load_recipe
from tests import known_trees
from tests.ad_core.data.formats.test_dicom import save
from tests.known_trees import SIDE, draw, mask, scene

RECIPES = {
    "retina_oct": "retina_oct.py:cpu",
    "brain_mri": "brain_mri.py:cpu",
    "breast_ultrasound": "breast_ultrasound.py:cpu",
    "mvtec_ad": "mvtec.py:bottle,cpu",
    "folder": "folder.py:cpu",
}


@pytest.fixture
def looked_at(pytestconfig):
    """(name of a recipe, root, overrides) -> (inspection, its findings by name)."""

    def look(name, root, **options):
        config = complete(load_recipe(f"{pytestconfig.rootpath}/configs/{RECIPES[name]}"))
        config.data.root, config.data.image_size = str(root), 32
        config.data.update({"channels": 1, "min_side": 4, **options})
        inspection = inspect(config)
        return inspection, {finding.name: finding for finding in inspection.findings}

    return look


def paths(finding):
    return {frozenset(row) for row in finding.paths}


def resave(path, target, quality=50):
    stream = io.BytesIO()
    Image.open(path).convert("L").save(stream, "JPEG", quality=quality)
    target.write_bytes(stream.getvalue())


@pytest.mark.parametrize("name", ["brain_mri", "breast_ultrasound", "mvtec_ad"])
def test_a_clean_copy_has_notes_only(looked_at, tmp_path, name):
    inspection, found = looked_at(name, getattr(known_trees, name)(tmp_path))
    assert inspection.status == 0 and not {f.level for f in inspection.findings} - {"note"}
    assert "counts" in found
    if name == "mvtec_ad":
        assert paths(found["ignored"]) == {frozenset({"license.txt"}), frozenset({"readme.txt"})}
        assert "24 good (229)" in found["counts"].text
        assert "7 abnormal (63)" in found["counts"].text


def test_counts_are_by_class_split_and_group(looked_at, tmp_path):
    inspection, _ = looked_at("retina_oct", known_trees.retina_oct(tmp_path))
    cells = inspection.counts
    assert list(cells) == ["good", "CNV", "DME", "DRUSEN"]
    assert {d: sum(n for n, _ in c.values()) for d, c in cells.items()} == {
        "good": 37,
        "CNV": 13,
        "DME": 12,
        "DRUSEN": 12,
    }
    images, groups = (sum(c[k] for of in cells.values() for c in of.values()) for k in (0, 1))
    assert images == 74 and groups == 38  # patient 300 counts in two classes
    assert set(inspection.splits) <= {"train", "calibration", "test", ""}


def test_a_patient_in_train_and_test_is_named(looked_at, tmp_path):
    root = known_trees.retina_oct(tmp_path)
    leak = sorted((root / "train/DME").iterdir())[0]
    patient = leak.stem.split("-")[1]
    draw(root / f"test/DME/DME-{patient}-7.jpeg", 500)
    inspection, found = looked_at("retina_oct", root)
    assert found["groups_across_folders"].paths == ((patient,),)
    assert inspection.status == 3
    inspection, found = looked_at("retina_oct", root, protocol="folders")
    assert inspection.status == 2 and f"'{patient}'" in found["splits"].text
    assert inspection.lines == ["--config.data.protocol=cyclegan_ad"]


def test_copies_in_two_splits_are_named_and_grouping_mends_it(looked_at, tmp_path):
    root = known_trees.brain_mri(tmp_path)
    origin = root / "no/No11.jpg"
    for number in range(6):
        resave(origin, root / f"no/copy {number}.jpg", 60 + 5 * number)
    (root / "yes/Y200.jpg").write_bytes((root / "yes/Y9.jpg").read_bytes())
    inspection, found = looked_at("brain_mri", root, grouping="none")
    pairs = paths(found["near_across_splits"])
    assert pairs and all("no/No11.jpg" in p or any("copy" in q for q in p) for p in pairs)
    family = {"no/No11.jpg", *(f"no/copy {number}.jpg" for number in range(6))}
    assert frozenset.union(*pairs) == family
    exact = [f for name, f in found.items() if name in ("exact_across_splits", "exact_duplicates")]
    assert [paths(f) for f in exact] == [{frozenset({"yes/Y200.jpg", "yes/Y9.jpg"})}]
    assert inspection.status == 3 and "--config.data.near_duplicates=4" in inspection.lines
    inspection, found = looked_at("brain_mri", root, grouping="none", near_duplicates=4)
    assert inspection.status == 0 and "near_across_splits" not in found
    assert len(paths(found["near_duplicates"])) == 21
    inspection, found = looked_at("brain_mri", root)  # found without being asked
    assert inspection.status == 0 and "9 images are near copies" in found["grouped"].text


def test_one_content_in_two_classes_is_named(looked_at, tmp_path):
    root = known_trees.brain_mri(tmp_path)
    (root / "yes/Y300.jpg").write_bytes((root / "no/N1.JPG").read_bytes())
    resave(root / "no/no 95.jpg", root / "yes/Y301.jpg")
    inspection, found = looked_at("brain_mri", root)
    assert paths(found["exact_across_classes"]) == {frozenset({"no/N1.JPG", "yes/Y300.jpg"})}
    assert paths(found["near_across_classes"]) == {frozenset({"no/no 95.jpg", "yes/Y301.jpg"})}
    assert inspection.status == 3


def test_damaged_images_and_masks_that_cannot_be_right_are_named(looked_at, tmp_path):
    root = known_trees.breast_ultrasound(tmp_path)
    (root / "normal/normal (3).png").write_bytes(b"")
    whole = (root / "benign/benign (1).png").read_bytes()
    (root / "benign/benign (1).png").write_bytes(whole[: len(whole) // 2])
    mask(root / "malignant/malignant (77)_mask.png", (1, 1, 5, 5))
    (root / "malignant/malignant (2)_mask.png").unlink()
    mask(root / "malignant/malignant (3)_mask.png", (0, 0, 0, 0))
    mask(root / "malignant/malignant (4)_mask.png", (1, 1, 5, 5), side=20)
    (root / "malignant/malignant (5)_mask.png").write_bytes(b"no mask")
    inspection, found = looked_at("breast_ultrasound", root)
    assert inspection.status == 3
    assert found["unreadable"].paths == (("benign/benign (1).png",), ("normal/normal (3).png",))
    assert found["unmatched_masks"].paths == (("malignant/malignant (77)_mask.png",),)
    assert found["missing_masks"].paths == (("malignant/malignant (2).png",),)
    wrong = [f"malignant/malignant ({number}).png" for number in (3, 4, 5)]
    assert [row[0] for row in found["wrong_masks"].paths] == wrong
    assert "black all over" in found["wrong_masks"].text
    assert inspection.subject.facts.mask[-1] == "" and len(inspection.subject.records) == 29


def test_a_set_without_a_readable_normal_image_is_unusable(looked_at, tmp_path):
    root = known_trees.brain_mri(tmp_path)
    for path in (root / "no").iterdir():
        path.write_bytes(b"broken")
    inspection, found = looked_at("brain_mri", root)
    assert inspection.status == 2 and found["unreadable"].level == "unusable"
    assert len(found["unreadable"].paths) == 18


def deep(path, seed, top):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.uint16(scene(seed).astype(int) * top // 255)).save(path)


def test_deep_dark_oblong_and_coloured_images_get_the_lines_that_suit(looked_at, tmp_path):
    for number in range(8):
        deep(tmp_path / f"train/good/{number}.png", number, 3000)
        deep(tmp_path / f"test/good/{number}.png", 20 + number, 3000)
        draw(tmp_path / f"test/hole/{number}.png", 40 + number, channels=3)
    Image.fromarray(np.tile(scene(70), (1, 2))).save(tmp_path / "test/hole/wide.png")
    inspection, found = looked_at("folder", tmp_path)
    assert set(inspection.lines) == {
        "--config.data.value_range=0,3000",
        "--config.data.channels=3",
        "--config.data.resize=letterbox",
    }
    assert found["range"].level == "warning" and "0 to 65535" in found["range"].text
    assert "9 of 8, 16 of 16" in found["mixed_bit_depths"].text
    assert "17 of 1, 8 of 3" in found["mixed_channels"].text
    facts = inspection.subject.facts
    assert facts.size.max(axis=0).tolist() == [2 * SIDE, SIDE]
    assert facts.extent[inspection.subject.facts.bits == 16, 1].max() == 3000


def test_phantoms_can_be_inspected_too(looked_at):
    options = {"source": "ad_core.data.phantoms.worlds", "protocol": "folders"}
    options["phantom"] = {"normal": 9, "abnormal": 6}
    inspection, _ = looked_at("folder", "", **options)
    assert len(inspection.subject.records) == 15
    assert inspection.subject.facts.readable.all()


def test_parts_in_one_pose_are_no_near_duplicates(looked_at, tmp_path):
    for number in range(24):
        for other, place in enumerate(("train/good", "test/good", "test/hole")):
            path = tmp_path / place / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(scene(1) // 2 + scene(100 + 30 * other + number) // 64).save(path)
    inspection, found = looked_at("folder", tmp_path)
    assert inspection.status == 0 and inspection.lines == []
    assert "72 of 72 images" in found["alike"].text
    assert not [name for name in found if name.startswith("near")]


def scan(path, seed, **header):
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = np.uint16(scene(seed)) * 4
    save(path, stored, Rows=SIDE, Columns=SIDE, **header)


WINDOWS = ({"WindowCenter": 500, "WindowWidth": 1000}, {"BitsStored": 12, "HighBit": 11}, {})


def test_several_ranges_in_one_set_are_named_and_none_is_used(looked_at, tmp_path):
    for number in range(9):
        scan(tmp_path / f"train/good/{number}.dcm", number, **WINDOWS[number % 3])
        scan(tmp_path / f"test/{('good', 'hole')[number % 2]}/{number}.dcm", 20 + number)
    inspection, found = looked_at("folder", tmp_path)
    assert inspection.status == 3 and found["several_ranges"].level == "warning"
    assert len(found["several_ranges"].paths) == 18
    for words in ("0 to 65535 (12)", "0 to 4095 (3)", "0 to 999 (3)", "in every image"):
        assert words in found["several_ranges"].text
    _, found = looked_at("folder", tmp_path, value_range=(0, 1020))
    assert found["several_ranges"].level == "note" and "0 to 1020" in found["several_ranges"].text
    for number in range(9):
        scan(tmp_path / f"train/good/{number}.dcm", number)
    _, found = looked_at("folder", tmp_path)
    assert "several_ranges" not in found and "range" not in found


def test_values_beyond_the_range_are_named(looked_at, tmp_path):
    for number in range(9):
        scan(tmp_path / f"train/good/{number}.dcm", number, **WINDOWS[0])
        place = tmp_path / "test" / ("good", "hot")[number % 2]
        scan(place / f"{number}.dcm", number + 20, **WINDOWS[0])
    hot = np.uint16(scene(3)) * 4
    hot[:8] = 4095
    save(tmp_path / "test/hot/3.dcm", hot, Rows=SIDE, Columns=SIDE, **WINDOWS[0])
    inspection, found = looked_at("folder", tmp_path)
    assert found["clipped"].level == "warning" and inspection.status == 3
    assert found["clipped"].paths == (("test/hot/3.dcm",),)
    assert "25.0% of an image" in found["clipped"].text
    _, found = looked_at("folder", tmp_path, value_range=(100, 900))
    assert found["clipped"].level == "warning" and "100 to 900" in found["clipped"].text


def test_a_mask_over_nearly_all_of_its_image_is_named(looked_at, tmp_path):
    root = known_trees.breast_ultrasound(tmp_path)
    mask(root / "malignant/malignant (3)_mask.png", (0, 0, SIDE, SIDE - 1))
    inspection, found = looked_at("breast_ultrasound", root)
    assert found["full_masks"].paths == (("malignant/malignant (3).png",),)
    assert inspection.status == 3 and "1 mask of 11 mark more than 95%" in found["full_masks"].text


def test_slices_of_a_table_are_counted_as_one_group_a_volume(looked_at, tmp_path):
    rows = ["path,label"]
    for v in range(6):
        volume = np.stack([scene(10 * v + z) for z in range(8)], axis=-1)
        nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / f"v{v}.nii.gz")
        rows += [f"v{v}.nii.gz#z={z},{int(z in (3, 4))}" for z in range(8)]
    (tmp_path / "t.csv").write_text("\n".join([*rows, ""]))
    options = {"source": "ad_core.data.layouts.manifest", "protocol": "cyclegan_ad"}
    inspection, _ = looked_at("folder", tmp_path / "t.csv", **options)
    groups = {record.group: set() for record in inspection.subject.records}
    for record, split in zip(inspection.subject.records, inspection.subject.split, strict=True):
        groups[record.group] |= {split} - {""}
    assert len(groups) == 6 and all(len(splits) == 1 for splits in groups.values())


def test_look_alikes_among_dicom_files_are_found_before_a_range_is_fixed(looked_at, tmp_path):
    for number in range(8):
        scan(tmp_path / f"train/good/{number}.dcm", number, **WINDOWS[number % 3])
        scan(tmp_path / f"train/good/{number}b.dcm", number, **WINDOWS[(number + 1) % 3])
        scan(tmp_path / f"test/good/{number}.dcm", 30 + number)
    inspection, found = looked_at("folder", tmp_path, near_duplicates=4)
    assert "unreadable" not in found
    group = {record.path: record.group for record in inspection.subject.records}
    for number in range(8):
        assert group[f"train/good/{number}.dcm"] == group[f"train/good/{number}b.dcm"]


def test_a_range_to_be_fixed_is_fixed_by_images_outside_the_test_split(looked_at, tmp_path):
    for number in range(8):
        deep(tmp_path / f"train/good/{number}.png", number, 3000)
        deep(tmp_path / f"test/good/{number}.png", 20 + number, 3000)
    inspection, found = looked_at("folder", tmp_path, value_range=("robust",))
    assert inspection.status == 0 and "range" not in found
    with pytest.raises(UserError, match="give the range as numbers"):
        looked_at("folder", tmp_path, value_range=("robust",), near_duplicates=4)


def test_images_that_hang_together_are_told_grouped_or_not(looked_at, tmp_path):
    rng = np.random.default_rng(0)
    views = rng.standard_normal((3, 8, 8)).repeat(4, 1).repeat(4, 2)
    for n in range(48):  # a film that turns slowly from one view to the next
        angle = 2 * np.pi * n / 48
        grey = np.cos(angle) * views[0] + np.sin(angle) * views[1]
        path = tmp_path / f"film/train/good/{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(np.clip(128 + 40 * grey, 0, 255))).save(path)
    inspection, found = looked_at("folder", tmp_path / "film")
    assert inspection.status == 3 and "name the groups" in found["not_independent"].text
    for n in range(48):  # twelve parts, four times each
        part = np.random.default_rng(n // 4).standard_normal((8, 8)).repeat(4, 0).repeat(4, 1)
        grey = part + 0.2 * rng.standard_normal((32, 32))
        path = tmp_path / f"parts/train/good/{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.uint8(np.clip(128 + 40 * grey, 0, 255))).save(path)
    inspection, found = looked_at("folder", tmp_path / "parts")
    assert "look like" in found["grouped"].text and "not_independent" not in found
    (cell,) = inspection.counts["good"].values()
    assert cell[0] == 48 and 6 <= cell[1] <= 12
