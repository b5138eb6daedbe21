import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ad_core.data.source import Record
from ad_core.data.splits import make_splits
from ad_core.errors import UserError
from ad_core.runtime.methods import with_share
from tests.small_config import small_config

SHARES = {"normal": 0.4, "abnormal": 1.0, "abnormal_of_test": 0.5}


def _records(*kinds):
    """Records of (folder, defect, count) or (folder, defect, count, images a group)."""
    records = []
    for folder, defect, count, *per_group in kinds:
        for number in range(count):
            path = f"{folder}/{defect}/{number}.png"
            size = per_group[0] if per_group else 1
            group = f"{folder}/{defect}/{number // size}"
            records.append(Record(path, int(defect != "good"), defect, group, folder, False))
    return records


def _split(records, protocol="folders", shares=None, seed=0, **options):
    calibration = SHARES | (shares or {})
    return make_splits(records, protocol=protocol, calibration=calibration, seed=seed, **options)


def _counts(splits, records):
    """Split -> (normals, abnormals)."""
    labels = np.array([record.label for record in records])
    return {
        name: (int((labels[own] == 0).sum()), int((labels[own] == 1).sum()))
        for name, own in splits.items()
    }


def _defects(indices, records):
    names = [records[i].defect for i in indices]
    return {name: names.count(name) for name in sorted(set(names))}


def test_folders_calibrates_on_a_share_of_train_and_all_its_abnormals():
    records = _records(
        ("train", "good", 50), ("train", "x", 7), ("test", "good", 9), ("test", "x", 8)
    )
    splits = _split(records)
    assert _counts(splits, records) == {"train": (30, 0), "calibration": (20, 7), "test": (9, 8)}
    assert all(records[i].folder == "test" for i in splits["test"])
    assert all(records[i].folder == "train" for i in splits["calibration"])


def test_without_training_abnormals_half_of_each_defect_leaves_the_test():
    kinds = [("test", "a", 6), ("test", "b", 10), ("test", "c", 1), ("test", "d", 1)]
    records = _records(("train", "good", 10), ("test", "good", 4), *kinds)
    splits = _split(records)
    assert _counts(splits, records) == {"train": (6, 0), "calibration": (4, 9), "test": (4, 9)}
    moved = _defects(splits["calibration"], records)
    assert moved["a"] == 3 and moved["b"] == 5 and moved.get("c", 0) + moved.get("d", 0) == 1


def test_abnormals_beyond_the_share_train_only_where_the_method_wants_them():
    records = _records(("train", "good", 10), ("train", "x", 8), ("test", "good", 3))
    kept = _counts(_split(records, shares={"abnormal": 0.25}), records)
    assert kept == {"train": (6, 0), "calibration": (4, 2), "test": (3, 0)}
    both = _counts(_split(records, shares={"abnormal": 0.25}, train_abnormal=True), records)
    assert both == {"train": (6, 6), "calibration": (4, 2), "test": (3, 0)}


# Test images of each class, from the counts of MVTec AD and of the poster's medical sets.
@pytest.mark.parametrize(
    "normal, abnormal, each",
    [(431, 70, 35), (361, 119, 59), (263, 84, 42), (266, 60, 30), (98, 155, 49), (130, 647, 65)],
)
def test_cyclegan_ad_holds_the_balanced_test_of_the_paper(normal, abnormal, each):
    records = _records(("train", "good", normal - 5), ("test", "good", 5), ("test", "x", abnormal))
    splits = _split(records, "cyclegan_ad", {"normal": 0.1})
    counts = _counts(splits, records)
    assert counts["test"] == (each, each)
    rest = normal - each
    assert counts["calibration"] == (int(rest * 0.1 + 0.5), abnormal - each)
    assert counts["train"] == (rest - counts["calibration"][0], 0)


def test_cyclegan_ad_trains_on_the_abnormals_that_do_not_calibrate():
    records = _records(("train", "good", 40), ("test", "x", 20))
    splits = _split(records, "cyclegan_ad", {"abnormal": 0.4}, train_abnormal=True)
    expected = {"train": (18, 6), "calibration": (12, 4), "test": (10, 10)}
    assert _counts(splits, records) == expected


# Normals, abnormals and images scored, recovered from the poster's figures (the half of an odd
# count rounded either way).
@pytest.mark.parametrize(
    "normal, abnormal, scored",
    [
        (282, 92, 233),
        (308, 89, 243),
        (285, 57, 199),
        (277, 92, 230),
        (272, 119, 255),
        (273, 40, 177),
    ],
)
def test_vqganodip_scores_half_of_the_normals_and_every_abnormal(normal, abnormal, scored):
    records = _records(("train", "good", normal), ("test", "x", abnormal))
    splits = _split(records, "vqganodip")
    assert set(splits) == {"train", "pool"}
    assert _counts(splits, records)["pool"] == (normal // 2, abnormal)
    assert abs(len(splits["pool"]) - scored) <= normal % 2
    assert len(splits["train"]) + len(splits["pool"]) == normal + abnormal


def test_the_default_configuration_gives_the_shares():
    records = _records(("train", "good", 10), ("test", "good", 4), ("test", "x", 4))
    calibration = with_share(small_config()).data.calibration
    splits = make_splits(records, protocol="folders", calibration=calibration, seed=0)
    assert _counts(splits, records) == {"train": (6, 0), "calibration": (4, 2), "test": (4, 2)}


def test_where_all_learn_in_one_pass_every_training_normal_calibrates():
    records = _records(("train", "good", 10), ("test", "good", 4), ("test", "x", 4))
    calibration = with_share(small_config(method="tests.toys.flat")).data.calibration.to_dict()
    splits = _split(records, shares=calibration, cross_fitted=True)
    assert _counts(splits, records) == {"train": (0, 0), "calibration": (10, 2), "test": (4, 2)}
    with pytest.raises(UserError, match="no normal image in train"):
        _split(records, shares=calibration)


@pytest.mark.parametrize(
    "method, share",
    [
        ("tests.toys.flat", 1.0),
        ("tests.toys.noisy", 0.4),
        ("tests.toys.flat,tests.toys.noisy", 0.4),
    ],
)
def test_the_share_of_normals_follows_how_methods_learn_unless_it_is_given(method, share):
    config = small_config(method=method)
    assert config.data.calibration.normal is None
    assert with_share(config).data.calibration.normal == share
    assert config.data.calibration.normal is None
    given = small_config(method=method, data={"calibration": {"normal": 0.3}})
    assert with_share(given).data.calibration.normal == 0.3


@pytest.mark.parametrize("protocol", ["cyclegan_ad", "folders"])
def test_cross_fitting_leaves_no_calibration_without_normals(protocol):
    records = _records(("train", "x", 9))
    with pytest.raises(UserError, match="no normal image in calibration"):
        _split(records, protocol, cross_fitted=True)


@pytest.mark.parametrize("protocol", ["folders", "cyclegan_ad", "vqganodip"])
def test_the_seed_alone_decides(protocol):
    records = _records(("train", "good", 40), ("test", "good", 20), ("test", "x", 20))
    first, again, other = (_split(records, protocol, seed=seed) for seed in (3, 3, 4))
    for name, own in first.items():
        assert own.dtype == np.int64 and (np.diff(own) > 0).all()
        np.testing.assert_array_equal(own, again[name])
    assert any(not np.array_equal(own, other[name]) for name, own in first.items())


@pytest.mark.parametrize("protocol", ["folders", "cyclegan_ad"])
def test_groups_of_many_images_come_near_the_shares(protocol):
    records = _records(
        ("train", "good", 100, 5),
        ("train", "x", 30, 3),
        ("test", "good", 30, 5),
        ("test", "x", 12, 3),
    )
    counts = _counts(_split(records, protocol, {"abnormal": 0.5}), records)
    if protocol == "folders":
        assert counts == {"train": (60, 0), "calibration": (40, 15), "test": (30, 12)}
    else:
        assert counts["test"] == (20, 21)  # 21 each, in fives and threes
        assert abs(counts["calibration"][0] - 44) <= 2 and abs(counts["calibration"][1] - 11) <= 1


def _patients(spread):
    """One group of normals and abnormals per entry (normals, abnormals)."""
    records = []
    for patient, (normal, abnormal) in enumerate(spread):
        for number in range(normal + abnormal):
            label = int(number >= normal)
            defect = "x" if label else "good"
            path = f"{defect}/{patient}_{number}.png"
            records.append(Record(path, label, defect, f"p{patient}", "", False))
    return records


def test_groups_of_both_classes_calibrate_before_they_train():
    """Their abnormals may not train; in the calibration split none is lost."""
    records = _patients([(2, 2)] * 4 + [(2, 0)] * 16)
    counts = _counts(_split(records, "cyclegan_ad", {"normal": 0.25}), records)
    # Normals: 36 beside the test, 9 wanted to calibrate, in twos 8.
    assert counts == {"train": (28, 0), "calibration": (8, 4), "test": (4, 4)}


def test_where_every_group_holds_both_classes_training_drops_the_abnormals():
    records = _patients([(3, 1)] * 20)
    splits = _split(records, "cyclegan_ad")
    counts = _counts(splits, records)
    assert counts["train"][0] > 0 and counts["train"][1] == 0
    assert min(*counts["calibration"], *counts["test"]) > 0
    assert sum(map(sum, counts.values())) == 80 - counts["train"][0] // 3


@pytest.mark.parametrize("protocol", ["folders", "cyclegan_ad", "vqganodip"])
@given(
    kinds=st.lists(
        st.tuples(st.booleans(), st.integers(0, 9), st.booleans()), min_size=12, max_size=60
    ),
    seed=st.integers(0, 5),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    train_abnormal=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_no_group_crosses_a_border(protocol, kinds, seed, share, train_abnormal):
    records = [
        Record(f"{n}", int(label), "x" if label else "good", f"{test}{group}", folder, False)
        for n, (label, group, test) in enumerate(kinds)
        for folder in ["test" if test else "train"]
    ]
    shares = {"abnormal": share, "abnormal_of_test": share}
    try:
        splits = _split(records, protocol, shares, seed, train_abnormal=train_abnormal)
    except UserError:
        return
    together = np.concatenate(list(splits.values()))
    assert len(set(together.tolist())) == len(together)
    for name, own in splits.items():
        inside = {records[i].group for i in own}
        outside = {records[i].group for i in together if i not in own}
        assert not inside & outside
        assert any(records[i].label == 0 for i in own) or (name == "test" and not len(own))
        if name == "train" and not train_abnormal:
            assert all(records[i].label == 0 for i in own)
        if name != "train":
            # Whole groups: none of their images is left out.
            assert set(own.tolist()) == {i for i, r in enumerate(records) if r.group in inside}


@pytest.mark.parametrize("protocol", ["folders", "cyclegan_ad"])
def test_normal_images_alone_train_and_calibrate_without_a_test(protocol):
    records = _records(("train", "good", 20))
    counts = _counts(_split(records, protocol, {"normal": 0.25}), records)
    assert counts == {"train": (15, 0), "calibration": (5, 0), "test": (0, 0)}


def test_abnormal_images_in_train_calibrate_without_a_test():
    records = _records(("train", "good", 20), ("train", "dent", 6))
    counts = _counts(_split(records, "folders", {"normal": 0.25, "abnormal": 1.0}), records)
    assert counts == {"train": (15, 0), "calibration": (5, 6), "test": (0, 0)}


def test_a_test_split_of_abnormal_images_alone_is_refused():
    records = _records(("train", "good", 20), ("test", "dent", 6))
    with pytest.raises(UserError, match="no normal image in test"):
        _split(records, "folders")


def test_an_unknown_protocol_lists_the_known():
    with pytest.raises(UserError, match="'fold'.*folders, cyclegan_ad, vqganodip"):
        _split(_records(("train", "good", 4)), "fold")


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_outside_its_range_is_refused(share):
    with pytest.raises(UserError, match=r"data\.calibration\.normal"):
        _split(_records(("train", "good", 4)), shares={"normal": share})


@pytest.mark.parametrize(
    "records, protocol, shares, words",
    [
        (_records(("train", "good", 9), ("test", "x", 9)), "folders", {}, r"in test \(of 9 normal"),
        (_records(("train", "good", 1), ("test", "good", 1)), "folders", {}, "in calibration"),
        (_records(("train", "good", 9), ("test", "good", 1)), "folders", {"normal": 1}, "in train"),
        (_records(("", "good", 9), ("", "x", 9)), "folders", {}, "in train.*data.protocol"),
        (_records(("train", "x", 9)), "vqganodip", {}, "in train"),
        (_patients([(2, 2)] * 9), "vqganodip", {}, "in train"),
        ([], "cyclegan_ad", {}, "of 0 normal"),
    ],
)
def test_a_split_without_normals_is_refused_with_the_counts(records, protocol, shares, words):
    with pytest.raises(UserError, match=words):
        _split(records, protocol, shares)


def test_a_group_on_both_sides_of_the_folders_is_refused_by_name():
    records = _records(("train", "good", 9), ("test", "good", 9))
    records[0] = records[0]._replace(group=records[10].group)
    with pytest.raises(UserError, match="test/good/1.*cyclegan_ad"):
        _split(records)


def test_a_method_of_two_classes_is_refused_without_abnormals_to_train_on():
    records = _records(("train", "good", 20), ("test", "x", 10))
    with pytest.raises(UserError, match=r"calibration\.abnormal` below 1"):
        _split(records, "cyclegan_ad", train_abnormal=True)
    with pytest.raises(UserError, match="vqganodip trains on normal images only"):
        _split(records, "vqganodip", train_abnormal=True)


@pytest.mark.parametrize("protocol", ["folders", "cyclegan_ad"])
def test_learning_from_both_classes_moves_no_image_that_calibrates_or_judges(protocol):
    kinds = [
        ("train", "good", 30, 2),
        ("train", "x", 14, 2),
        ("test", "good", 12),
        ("test", "x", 9),
    ]
    records = _records(*kinds)
    one, both = (
        _split(records, protocol, {"abnormal": 0.3}, seed=4, train_abnormal=train_abnormal)
        for train_abnormal in (False, True)
    )
    np.testing.assert_array_equal(one["test"], both["test"])
    np.testing.assert_array_equal(one["calibration"], both["calibration"])
    normal = [i for i in both["train"] if records[i].label == 0]
    assert one["train"].tolist() == normal and len(both["train"]) > len(normal)
