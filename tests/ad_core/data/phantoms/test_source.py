from collections import Counter

import numpy as np
import pytest

from ad_core.data.phantoms.worlds import KINDS, MAX_SCANS, PhantomSource
from ad_core.data.source import open_source
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults


def _data(size=32, channels=1, **phantom):
    data = defaults("cpu").data
    data.source = "ad_core.data.phantoms.worlds"
    data.image_size, data.channels = size, channels
    data.phantom.update({"normal": 12, "abnormal": 9, **phantom})
    return data


def test_records_hold_the_counts_asked_for_with_unique_paths_and_balanced_kinds():
    records = open_source(_data(normal=40, abnormal=31)).records
    defects = Counter(record.defect for record in records)
    assert defects == {"good": 40, "fluid": 11, "drusen": 10, "membrane": 10}
    assert [record.label for record in records] == [0] * 40 + [1] * 31
    assert len({record.path for record in records}) == 71
    assert records[12].path == "retina_oct/normal/000012"
    assert records[41].path == "retina_oct/drusen/000001"
    assert all(record.has_mask for record in records)


def test_a_patient_has_one_to_three_scans_one_label_and_one_folder():
    records = open_source(_data(normal=90, abnormal=60)).records
    scans = Counter(record.group for record in records)
    assert set(scans.values()) == {1, 2, MAX_SCANS}
    for group in scans:
        members = [record for record in records if record.group == group]
        assert len({(record.label, record.folder) for record in members}) == 1
    folders = Counter((record.folder, record.label) for record in records)
    assert folders["train", 0] == pytest.approx(54, abs=6)
    assert folders["train", 1] == pytest.approx(36, abs=6)


def test_more_images_keep_the_first_ones():
    few, many = open_source(_data()), open_source(_data(normal=30))
    assert [r._replace(folder="") for r in few.records[:12]] == [
        r._replace(folder="") for r in many.records[:12]
    ]
    np.testing.assert_array_equal(few.read(11).image, many.read(11).image)
    np.testing.assert_array_equal(few.read(14).image, many.read(32).image)
    np.testing.assert_array_equal(few.read(14).mask, many.read(32).mask)


def test_another_seed_draws_other_patients():
    one, other = open_source(_data(seed=0)), open_source(_data(seed=1))
    assert not np.array_equal(one.read(0).image, other.read(0).image)


def test_masks_are_empty_for_normals_and_mark_what_differs_from_the_twin():
    source = open_source(_data(size=64))
    for index, record in enumerate(source.records):
        image, mask = source.read(index)[:2]
        assert mask.any() == bool(record.label)
        change = np.abs(image - source.twin(index))[:, :, 0]
        assert (change.max() > 0) == bool(record.label)
        if record.label:
            assert change[mask].mean() > 5 * change[~mask].mean()


def test_colour_repeats_grey():
    grey, colour = open_source(_data()), open_source(_data(channels=3))
    np.testing.assert_array_equal(colour.read(0).image, np.repeat(grey.read(0).image, 3, axis=-1))


def test_a_coloured_world_is_the_mean_of_its_channels_in_grey():
    grey, colour = (
        open_source(_data(kind="surface")),
        open_source(_data(channels=3, kind="surface")),
    )
    assert grey.read(3).image.shape == (32, 32, 1) and colour.read(3).image.shape == (32, 32, 3)
    mean = colour.read(3).image.mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(grey.read(3).image, mean, atol=1e-6)
    assert np.ptp(colour.read(3).image, axis=-1).max() > 0


def test_a_world_with_families_names_them_in_path_and_group():
    records = open_source(_data(kind="pcba", normal=40, abnormal=40)).records
    assert records[0].path == "pcba/controller/normal/000000"
    families = Counter(record.path.split("/")[1] for record in records)
    assert set(families) == {"controller", "power", "sensor"} and min(families.values()) > 12
    for record in records:
        assert record.path.split("/")[:2] == record.group.split("/")[:2]
    assert {r.path.split("/")[1] for r in records if r.folder == "test"} == set(families)


def test_the_dose_reaches_the_sinograms_and_no_other_world():
    few, many = (open_source(_data(kind="fpet_sinogram", dose=dose)) for dose in (1e3, 1e6))
    levels = [len(np.unique(source.read(0).image)) for source in (few, many)]
    assert levels[0] < 20 and levels[1] > 100
    retinas = (open_source(_data(dose=dose)).read(0).image for dose in (1e3, 1e6))
    np.testing.assert_array_equal(*retinas)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_world_draws_each_of_its_defects(kind):
    world = KINDS[kind]
    options = {name: 1e5 for name in world.options}
    healthy, empty = world.draw((0, 0, 0), 0, size=48, defect=None, **options)
    assert healthy.shape in ((48, 48, 1), (48, 48, 3)) and healthy.dtype == np.float32
    assert not empty.any()
    for defect in world.defects:
        image, mask = world.draw((0, 0, 0), 0, size=48, defect=defect, **options)
        assert mask.any() and not np.array_equal(image, healthy)
        assert np.abs(image).max() <= 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"kind": "mars"}, r"'mars'.*known: .*retina_oct"),
        ({"seed": -1}, r"seed.*-1"),
        ({"dose": 0.0}, r"dose.*0\.0.*above 0 counts"),
        ({"abnormal": -3}, r"abnormal.*-3"),
        ({"normal": 0, "abnormal": 0}, "no image"),
        ({"size": 4}, r"image_size.*4"),
        ({"size": (32, 64)}, r"image_size` \(=32,64\) must be a square: phantoms"),
        ({"channels": 2}, r"channels.*2"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value(change, named):
    with pytest.raises(UserError, match=named):
        open_source(_data(**change))


def test_one_class_alone_is_drawn():
    assert isinstance(open_source(_data(abnormal=0)), PhantomSource)
    assert {record.label for record in open_source(_data(normal=0)).records} == {1}
