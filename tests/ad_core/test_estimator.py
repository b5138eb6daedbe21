"""The estimator against the detector that it saves, and against scikit-learn's own checks."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks as checks

from ad_core.errors import UserError
from ad_core.estimator import AnomalyDetector
from ad_core.scoring import load_detector
from ad_core.stages.parameters import KEYS, config_of

ROOT = Path(__file__).parents[2]
TOYS = os.environ | {"PYTHONPATH": str(ROOT)}  # a script finds the toys as this process does
NORMALS, ABNORMALS = 14, 6
Y = np.array([0] * NORMALS + [1] * ABNORMALS)
QUICK = {"data.calibration.folds": 2, "decision.folds": 2, "score.batch_size": 8}
CHECKS = (  # what of scikit-learn's checks of estimators needs no table of numbers
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_estimators_unfitted",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
)


def small(overrides=None, **parameters):
    """A detector that learns in moments: the distance from the normals' mean."""
    chosen = {"method": "tests.toys.flat", "size": "cpu", "image_size": 32, "channels": 1}
    chosen |= {"classifier": "logistic_regression", "overrides": QUICK}
    if isinstance(overrides, dict):
        chosen["overrides"] = QUICK | overrides
    elif overrides is not None:
        chosen["overrides"] = overrides
    return AnomalyDetector(**chosen | parameters)


def image(bad, seed, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    pixels = rng.normal(120, 6, (40, 52))
    if bad:
        y, x = rng.integers(4, 20, 2)
        pixels[y : y + 12, x : x + 12] = 190
    return (pixels * np.iinfo(dtype).max / 255).astype(dtype)


def images(labels=Y, first=0):
    return [image(bad, first + number) for number, bad in enumerate(labels)]


@pytest.fixture(scope="module")
def fitted():
    return small().fit(images(), Y)


@pytest.fixture(scope="module")
def saved(fitted, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "detector"
    fitted.save(folder)
    return folder


def scores_of(verdicts):
    return [-verdict.score for verdict in verdicts]


def test_scores_are_those_of_the_saved_detector_to_the_last_digit(fitted, saved, tmp_path):
    new = images(first=100)
    Image.fromarray(new[0]).save(tmp_path / "0.png")
    mixed = [tmp_path / "0.png", Image.fromarray(new[1]), *new[2:]]
    verdicts = load_detector(saved).judge(mixed)
    assert fitted.score_samples(mixed).tolist() == scores_of(verdicts)
    assert fitted.score_samples(new).tolist() == scores_of(verdicts)
    told = [1 if verdict.decision == "normal" else -1 for verdict in verdicts]
    assert fitted.predict(mixed).tolist() == told
    assert [v.reasons for v in fitted.judge(mixed)] == [v.reasons for v in verdicts]


def test_a_planted_defect_is_found_and_higher_is_more_normal(fitted):
    labels = np.array([0] * 20 + [1] * 20)
    new = images(labels, first=200)
    assert roc_auc_score(labels, -fitted.score_samples(new)) > 0.95
    assert roc_auc_score(labels, -fitted.decision_function(new)) > 0.95
    missed = (fitted.predict(new)[labels == 1] == 1).mean()
    assert missed <= fitted.guarantee_["miss_rate_bound"]
    assert fitted.classes_.tolist() == [-1, 1]


def test_a_lot_of_darker_images_has_drifted_and_one_of_a_part_tells_nothing(fitted):
    lot = images(np.zeros(12), first=400)
    assert fitted.drift(lot).drifted is False
    found = fitted.drift([pixels // 2 for pixels in lot])
    assert found.drifted and found.images == 12 and found.normals == NORMALS
    assert found == fitted.detector_.drift(fitted.judge([pixels // 2 for pixels in lot]))
    assert fitted.drift(lot, groups=["one"] * 12).drifted is None
    with pytest.raises(UserError, match="groups"):
        fitted.drift(lot, groups=["one"])


def test_the_sign_of_the_decision_is_the_prediction(fitted):
    new = [*images(first=300), np.full((40, 52), np.nan), "nowhere.png"]
    distance, normality = fitted.decision_function(new), fitted.score_samples(new)
    np.testing.assert_array_equal(np.where(distance >= 0, 1, -1), fitted.predict(new))
    np.testing.assert_array_equal(distance[:-2], normality[:-2] - fitted.offset_)
    assert np.isneginf(distance[-2:]).all() and np.isneginf(normality[-2:]).all()


def test_a_score_on_the_threshold_is_inspected(fitted):
    assert fitted.detector_.decide(np.array([fitted.threshold_])) == ["inspect"]
    below = np.nextafter(fitted.threshold_, -np.inf)
    assert fitted.detector_.decide(np.array([below])) == ["normal"]
    assert -fitted.threshold_ < fitted.offset_ <= -below


def test_a_detector_shows_its_name_methods_and_line(fitted):
    line = f"inspects from {fitted.threshold_:.4g} by {fitted.detector_.threshold.rule})"
    shown = repr(fitted.detector_)
    assert shown.startswith("Detector('") and shown.endswith(line)
    assert fitted.detector_.parts.config.method in shown


def test_an_image_clipped_beyond_normal_ones_is_inspected_whatever_its_score():
    dark = [(pixels // 2) for pixels in images(np.zeros(NORMALS))]
    detector = small(value_range=(0, 120), classifier="auto").fit(dark)
    odd = image(0, 77) // 2
    odd[:2] = 121
    (verdict,) = detector.judge([odd])
    assert verdict.clipped > detector.detector_.clipped and verdict.decision == "inspect"
    detector.offset_ = -np.inf
    assert np.isneginf(detector.decision_function([odd])) and detector.predict([odd]) == [-1]


def test_a_clone_gives_the_same_scores_and_another_seed_other_folds(fitted, capfd):
    twin = clone(fitted)
    assert not hasattr(twin, "detector_")
    np.testing.assert_array_equal(
        twin.fit(images(), Y).score_samples(images(first=100)),
        fitted.score_samples(images(first=100)),
    )
    np.testing.assert_array_equal(twin.out_of_fold_scores_, fitted.out_of_fold_scores_)
    assert capfd.readouterr() == ("", "")
    other = clone(fitted).set_params(seed=1, verbose=True).fit(images(), Y)
    assert "measure calibration: 20/20" in capfd.readouterr().err
    assert not np.array_equal(other.out_of_fold_scores_, fitted.out_of_fold_scores_)


def test_files_train_as_the_arrays_that_they_hold(fitted, tmp_path):
    paths = [str(tmp_path / f"{number}.png") for number in range(len(Y))]
    for path, pixels in zip(paths, images(), strict=True):
        Image.fromarray(pixels).save(path)
    new = images(first=100)
    opened = [Image.open(path) if number % 2 else path for number, path in enumerate(paths)]
    for given in (np.array(paths), opened):
        own = small().fit(given, Y)
        np.testing.assert_array_equal(own.score_samples(new), fitted.score_samples(new))
    lowest = own.detector_.parts.facts["lowest"]
    assert {one["path"] for one in lowest} <= set(paths)


def test_it_is_the_detector_that_the_command_trains_on_the_same_files(tmp_path):
    paths = []
    for number, (pixels, bad) in enumerate(zip(images(), Y, strict=True)):
        paths.append(tmp_path / "data" / "train" / ("hole" if bad else "good") / f"{number:02}.png")
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(paths[-1])
    own = small()
    keys = {"data.root": tmp_path / "data", "method": own.method, **own.overrides}
    keys |= {key: getattr(own, name) for name, key in KEYS.items() if getattr(own, name)}
    given = [f"--config.{key}={value}" for key, value in keys.items()]
    command = [sys.executable, "launch/train.py", "--config=configs/folder.py:cpu", *given]
    command += [f"--workdir={tmp_path / 'run'}", "--until=calibrate"]
    subprocess.run(command, cwd=ROOT, env=TOYS, check=True, capture_output=True)
    paths.sort()  # as the command lists them
    own.fit(paths, ["hole" in path.parts for path in paths])
    verdicts = load_detector(tmp_path / "run" / "detector").judge(images(first=100))
    assert own.score_samples(images(first=100)).tolist() == scores_of(verdicts)


def test_one_array_of_many_images_is_a_list_of_them(fitted):
    stacked = np.stack(images())[..., None]
    own = small().fit(stacked, Y.astype(bool))
    np.testing.assert_array_equal(own.score_samples(stacked), fitted.score_samples(images()))


def test_floats_of_any_range_are_judged_in_the_unit_they_trained_in(tmp_path):
    hounsfield = [pixels.astype(np.float32) * 10 - 1000 for pixels in images()]
    detector = small().fit(hounsfield, Y)
    detector.save(tmp_path / "detector")
    low, high = detector.detector_.parts.config.data.value_range
    assert -1000 < low < 200 < high < 1500
    verdicts = load_detector(tmp_path / "detector").judge(hounsfield)
    assert {verdict.status for verdict in verdicts} == {"ok"}
    assert detector.score_samples(hounsfield).tolist() == scores_of(verdicts)


def test_normals_alone_fit_and_promise_nothing_about_misses():
    detector = small(classifier="auto")
    decided = detector.fit_predict(images(np.zeros(40)))
    assert detector.detector_.parts.rule == "normal_quantile"
    assert detector.guarantee_["miss_rate_bound"] is None
    assert (decided == 1).mean() > 0.9, "judged by parts that have not learnt them"
    assert (detector.predict(images(np.ones(9), first=500)) == -1).all()
    with pytest.raises(UserError, match="zfn"):
        small(rule="zfn", classifier="auto").fit(images(np.zeros(9)))


def test_fit_predict_judges_each_image_by_parts_that_have_not_learnt_it(fitted):
    decided = small().fit_predict(images(), Y)
    expected = np.where(-fitted.out_of_fold_scores_ < fitted.threshold_, 1, -1)
    np.testing.assert_array_equal(decided, expected)


def test_images_of_a_group_stay_together(fitted):
    names = [f"part {number // 2}" for number in range(len(Y))]
    detector = small().fit(images(), Y, groups=names)
    assert detector.guarantee_["n_groups"] == ABNORMALS // 2
    assert fitted.guarantee_["n_groups"] == ABNORMALS
    twice = [*images(), *images()]
    with pytest.raises(UserError, match="`groups` .20 names.* each of 40"):
        small().fit(twice, [*Y, *Y], groups=names)


def test_an_image_that_one_file_holds_twice_is_of_one_group(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(len(Y))]
    for path, pixels in zip(paths, images(), strict=True):
        Image.fromarray(pixels).save(path)
    (tmp_path / "link.png").symlink_to(paths[-1])
    detector = small().fit([*paths, tmp_path / "link.png", Image.open(paths[-1])], [*Y, 1, 1])
    assert detector.guarantee_["n_abnormal"] == ABNORMALS + 2
    assert detector.guarantee_["n_groups"] == ABNORMALS


def test_it_is_the_last_step_of_a_pipeline(fitted):
    def shifted(given):
        return [pixels[1:] for pixels in given]

    line = make_pipeline(FunctionTransformer(shifted), small())
    line.fit(images(), Y, anomalydetector__groups=range(len(Y)))
    alone = small().fit(shifted(images()), Y)
    new = images(first=100)
    np.testing.assert_array_equal(line.score_samples(new), alone.score_samples(shifted(new)))
    np.testing.assert_array_equal(line.predict(new), alone.predict(shifted(new)))


def test_it_is_cross_validated_by_scikit_learn():
    parts = StratifiedKFold(2)
    held_out = cross_val_predict(small(), images(), Y, cv=parts, method="decision_function")
    assert roc_auc_score(Y, -held_out) > 0.95


def test_what_is_loaded_scores_alike_and_its_clone_fits_alike(fitted, saved):
    loaded, new = AnomalyDetector.load(saved), images(first=100)
    np.testing.assert_array_equal(loaded.score_samples(new), fitted.score_samples(new))
    np.testing.assert_array_equal(loaded.decision_function(new), fitted.decision_function(new))
    assert (loaded.threshold_, loaded.guarantee_) == (fitted.threshold_, fitted.guarantee_)
    again = clone(loaded).fit(images(), Y)
    np.testing.assert_array_equal(again.score_samples(new), fitted.score_samples(new))


def test_score_py_reads_what_was_saved(fitted, saved, tmp_path):
    new = images(first=100)
    (tmp_path / "in").mkdir()
    for number, pixels in enumerate(new):
        Image.fromarray(pixels).save(tmp_path / "in" / f"{number:02}.png")
    command = [sys.executable, "launch/score.py", f"--detector={saved}"]
    command += [f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}"]
    subprocess.run(command, cwd=ROOT, env=TOYS, check=True, capture_output=True)
    rows = (tmp_path / "out" / "scores.csv").read_text().splitlines()
    place = rows[0].split(",").index("score")
    scores = [-float(row.split(",")[place]) for row in rows[1:]]
    assert scores == fitted.score_samples(new).tolist()


def test_overrides_set_any_key_of_a_configuration():
    overrides = {"decision.confidence": 0.9, "statistics.names": "loss"}
    detector = small(overrides)
    config = detector.fit(images(), Y).detector_.parts.config
    assert detector.guarantee_["confidence"] == 0.9 and config.statistics.names == ("loss",)
    assert detector.overrides == QUICK | overrides, "stored as they were given"


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"overrides": {"decision.confidenc": 0.9}}, "unknown; did you mean decision.confidence"),
        ({"overrides": {"decision.confidence": "high"}}, "must be of type float"),
        ({"overrides": {"data.channels": 3}}, "'data.channels', which X or a parameter sets"),
        ({"overrides": {"data.root": "here"}}, "'data.root', which X or a parameter sets"),
        ({"overrides": {"data.page": "all"}}, "an entry of X is one image"),
        ({"overrides": [1]}, "must map keys"),
        ({"backbone": "efficientnet_lite0"}, "tests.toys.flat has none"),
        ({"method": "tests.toys.none"}, "Unknown module"),
        ({"size": "huge"}, "size"),
        ({"resize": "squash"}, "must be one of stretch"),
    ],
)
def test_a_wrong_parameter_is_told_by_fit(parameters, message):
    with pytest.raises(ValueError, match=message):
        small(**parameters).fit(images(), Y)


@pytest.mark.parametrize(
    ("given", "labels", "message"),
    [
        ([], None, "holds no image"),
        ("photos/", None, "must be a list of images"),
        (image(0, 0), None, r"`X` \(shape \(40, 52\)\) must be a list"),
        (images(), Y[:3], r"`y` \(shape \(3,\)"),
        (images(), np.where(Y, -1, 1), "values 1, -1"),
        (images(), ["ok"] * len(Y), "values ok"),
        ([*images(), "nowhere.png"], [*Y, 0], "nowhere.png"),
        ([*images(), None], [*Y, 0], "image 20: is NoneType"),
        ([*images(), np.full((40, 40), np.nan)], [*Y, 0], "image 20: holds"),
    ],
)
def test_wrong_images_or_labels_are_told_and_leave_nothing_fitted(given, labels, message):
    detector = small()
    with pytest.raises(ValueError, match=message):
        detector.fit(given, labels)
    assert not hasattr(detector, "detector_")


def test_images_that_cannot_be_read_are_left_out_where_that_is_wished():
    detector = small(overrides={"data.unreadable": "leave_out"})
    with pytest.warns(UserWarning, match="1 images cannot be read.*nowhere.png"):
        detector.fit([*images(), "nowhere.png"], [*Y, 0])
    assert list(detector.left_out_) == ["nowhere.png"]
    assert np.isnan(detector.out_of_fold_scores_).nonzero()[0].tolist() == [len(Y)]


def test_the_backbone_is_that_of_every_method():
    all_three = AnomalyDetector(backbone="efficientnet_lite1", size="cpu")
    config = config_of(all_three.get_params(), any_abnormal=True)
    named = [own.backbone for own in config.reconstructor.values()]
    assert named == ["efficientnet_lite1"] * 3


@pytest.mark.slow
def test_the_method_that_suits_any_images_finds_a_planted_defect():
    detector = AnomalyDetector(size="cpu", image_size=64).fit(images(np.zeros(NORMALS)))
    new = images(first=300)
    assert roc_auc_score(Y, -detector.score_samples(new)) > 0.95
    assert (detector.predict(new)[Y == 1] == -1).all()


def test_a_fitted_one_is_not_pickled_and_a_new_one_is(fitted):
    with pytest.raises(TypeError, match="`save` it"):
        pickle.dumps(fitted)
    assert pickle.loads(pickle.dumps(small(seed=3))).seed == 3


@pytest.mark.parametrize("method", ["judge", "score_samples", "decision_function", "predict"])
def test_nothing_is_judged_before_fit(method):
    with pytest.raises(NotFittedError):
        getattr(small(), method)(images())


def test_nothing_is_saved_before_fit(tmp_path):
    with pytest.raises(NotFittedError):
        small().save(tmp_path / "detector")


@pytest.mark.parametrize("name", CHECKS)
def test_scikit_learns_own_check_passes(name):
    getattr(checks, name)("AnomalyDetector", AnomalyDetector())


def test_any_value_is_stored_and_only_fit_refuses_it():
    # In a process of its own: here types are checked on the way in.
    name = "check_do_not_raise_errors_in_init_or_set_params"
    program = (
        "from sklearn.utils.estimator_checks import {0}\n"
        "from ad_core.estimator import AnomalyDetector\n"
        "{0}('AnomalyDetector', AnomalyDetector())"
    )
    subprocess.run([sys.executable, "-c", program.format(name)], cwd=ROOT, check=True)
