import json

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from ad_core.data.formats.thumbnails import thumbnails
from ad_core.data.layouts.memory import MemorySource
from ad_core.data.likeness import Kin, Likeness, group_alike
from ad_core.data.source import open_source
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults

SIDE = 48


def field(rng, sigma=4):
    """A smooth random field of mean 0 and deviation 1."""
    found = gaussian_filter(rng.standard_normal((SIDE, SIDE)), sigma)
    return (found - found.mean()) / found.std()


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.uint8(np.clip(128 + 35 * values, 0, 255))).save(path)


def write_scans(folder, rng, *, parts, slices, likeness=0.93, pattern="{:03d}.png"):
    """Slices of parts that lie on one phantom: `likeness` of what tells parts apart is common."""
    number = 0
    for _ in range(parts):
        common = field(rng)
        for _ in range(slices):
            own = likeness * common + np.sqrt(1 - likeness**2) * field(rng)
            save(folder / pattern.format(number), own)
            number += 1


def data_of(root, **changes):
    data = defaults("cpu").data
    data.root = str(root)
    for name, value in changes.items():
        data[name] = value
    return data


def grouped(root, **changes):
    data = data_of(root, **changes)
    source = open_source(data)
    likeness = group_alike(source, data)
    return likeness, {record.path: record.group for record in source.records}


@pytest.fixture
def scans(tmp_path):
    """Twelve volumes of five slices, normal; ten of four with a defect; all without a name."""
    rng = np.random.default_rng(0)
    write_scans(tmp_path / "train/good", rng, parts=12, slices=5)
    write_scans(tmp_path / "train/bad", rng, parts=10, slices=4)
    return tmp_path


def test_slices_of_made_up_volumes_become_groups(scans):
    likeness, groups = grouped(scans)
    assert likeness.order == "name" and {kin.defect for kin in likeness.runs} == {"bad", "good"}
    for kind, parts, slices in (("good", 12, 5), ("bad", 10, 4)):
        own = [groups[f"train/{kind}/{n:03d}.png"] for n in range(parts * slices)]
        for part in range(parts):  # no volume is torn
            assert len(set(own[part * slices : (part + 1) * slices])) == 1
        assert len(set(own)) > parts / 2
    assert "look like" in likeness.words[0] and "grouping=none" in likeness.words[-1]


def test_normal_images_of_a_folder_of_any_name_are_called_normal():
    ends = ("ok/000.jpg", "ok/007.jpg")
    for folder, words in (("", "normal: 8 images look like 2 parts"), ("train", "train/good: 8 ")):
        likeness = Likeness(True, runs=(Kin(folder, "good", 8, 2, 5, ends),))
        assert likeness.words[0].startswith(words)


def test_separate_parts_in_one_pose_are_no_groups(tmp_path):
    rng = np.random.default_rng(1)
    pose = 3 * field(rng)  # all show one thing, and each has a texture of its own
    for n in range(80):
        drift = 0.3 * np.sin(n / 25) * np.linspace(-1, 1, SIDE)[:, None]  # as of the light
        save(tmp_path / f"train/good/{n:03d}.png", 0.4 * (pose + drift + field(rng)))
    likeness, groups = grouped(tmp_path)
    assert likeness.looked and not likeness.runs and not likeness.copies and not likeness.words
    assert len(set(groups.values())) == 80


def test_bursts_are_found_by_the_last_number_of_a_name(tmp_path):
    rng = np.random.default_rng(2)
    for part in range(14):
        common = field(rng)
        for shot in range(4):
            name = f"exp{shot}_num_{rng.integers(9) + 100 * part + 20 * shot}.png"
            save(tmp_path / "train/good" / name, 0.95 * common + 0.3 * field(rng))
    likeness, groups = grouped(tmp_path)
    assert likeness.order == "number"
    parts = {}
    for path, group in groups.items():
        parts.setdefault(int(path.split("_")[-1][:-4]) // 100, set()).add(group)
    assert all(len(found) == 1 for found in parts.values())


def test_copies_are_groups_wherever_they_stand_but_not_across_train_and_test(tmp_path):
    rng = np.random.default_rng(3)
    order = rng.permutation(40)
    pictures = [field(rng) for _ in range(34)]
    pictures += pictures[:6]
    for n, picture in zip(order, pictures, strict=True):
        save(tmp_path / f"train/good/{n:03d}.png", picture + 0.05 * field(rng))
    save(tmp_path / "test/good/0.png", pictures[0])
    likeness, groups = grouped(tmp_path)
    assert likeness.copies == 12 and not likeness.runs
    for k in range(6):
        one, other = (groups[f"train/good/{order[n]:03d}.png"] for n in (k, 34 + k))
        assert one == other
    assert groups["test/good/0.png"] == "test/good/0.png"
    assert len(set(groups.values())) == 35
    likeness, groups = grouped(tmp_path, protocol="cyclegan_ad")
    assert groups["test/good/0.png"] == groups[f"train/good/{order[0]:03d}.png"]


def test_told_groups_stand_as_they_are_and_none_turns_it_off(scans):
    likeness, groups = grouped(scans, group_pattern=r"(\w+)/\d+\.png")
    assert likeness == Likeness() and set(groups.values()) == {"good", "bad"}
    likeness, groups = grouped(scans, grouping="none")
    assert likeness == Likeness() and len(set(groups.values())) == 100
    with pytest.raises(UserError, match=r"`data\.grouping` \(='maybe'\)"):
        grouped(scans, grouping="maybe")


def test_one_film_cannot_be_divided_and_is_told(tmp_path):
    rng = np.random.default_rng(4)
    ends = field(rng), field(rng), field(rng)
    for n in range(60):  # it turns slowly from one view to the next
        angle = 2 * np.pi * n / 60
        view = np.cos(angle) * ends[0] + np.sin(angle) * ends[1] + 0.1 * field(rng)
        save(tmp_path / f"train/good/{n:03d}.png", view)
    likeness, groups = grouped(tmp_path)
    assert "a few parts only" in likeness.doubt and not likeness.runs
    assert len(set(groups.values())) == 60
    assert "warning: images that follow each other by name look alike" in likeness.words[0]


def test_an_image_that_cannot_be_read_keeps_its_group(scans):
    (scans / "train/good/002.png").write_bytes(b"no image")
    _, groups = grouped(scans)
    assert groups["train/good/002.png"] == "train/good/002.png"
    assert groups["train/good/000.png"] == groups["train/good/001.png"]


def test_arrays_are_grouped_as_files_are(scans):
    paths = sorted((scans / "train/good").iterdir())
    arrays = [np.asarray(Image.open(path)) for path in paths]
    data = data_of(scans)
    source = MemorySource(arrays, [0] * len(arrays), data)
    group_alike(source, data)
    _, groups = grouped(scans)
    numbers = [groups[f"train/good/{n:03d}.png"] for n in range(60)]
    own = [record.group for record in source.records]
    same = [a == b for a, b in zip(own, own[1:], strict=False)]
    assert same == [a == b for a, b in zip(numbers, numbers[1:], strict=False)]


def test_a_thumbnail_is_the_area_mean_whatever_the_range_the_depth_or_the_kind_of_file(tmp_path):
    rng = np.random.default_rng(5)
    values = np.uint8(np.clip(128 + 35 * field(rng), 0, 255)).repeat(4, 0).repeat(4, 1)
    (tmp_path / "train/good").mkdir(parents=True)
    Image.fromarray(values).save(tmp_path / "train/good/a.png")
    Image.fromarray(np.uint16(values) * 100 + 1000).save(tmp_path / "train/good/b.png")
    Image.fromarray(values).save(tmp_path / "train/good/c.jpg", quality=95)
    source = open_source(data_of(tmp_path))
    rows, readable = thumbnails(source, 3, workers=2)
    assert readable.all()
    mean = values.reshape(32, 6, 32, 6).mean((1, 3)).ravel()
    mean = (mean - mean.mean()) / np.linalg.norm(mean - mean.mean())
    np.testing.assert_allclose(rows[0], mean, atol=1e-5)
    np.testing.assert_allclose(rows[1], mean, atol=1e-5)
    assert rows[2] @ mean > 0.999  # JPEG's eighth


def test_what_was_found_goes_into_json(scans):
    likeness, _ = grouped(scans)
    back = json.loads(json.dumps(likeness.to_dict()))
    assert back["order"] == "name" and back["runs"][0]["images"] == 40
    assert back["runs"][0]["example"][0].startswith("train/bad/")
