"""Which images teach a state and which it measures, by a memory that knows what it has learnt.

Every image of a group is the same noise, so that a state which has learnt an image or another of
its group finds it at distance 0.
"""

import json

import numpy as np
import pytest
from PIL import Image

from ad_core.decision.table import read_table
from ad_core.errors import UserError
from ad_core.runtime.config import from_json
from ad_core.runtime.stop import Stop, Stopped
from ad_core.scoring.companions import load_companions
from ad_core.scoring.files import load_detector, load_parts
from ad_core.stages import calibrate
from ad_core.stages.calibrate import recalibrate, run_calibration
from ad_core.stages.evaluate import run_evaluation
from ad_core.stages.folds import check_folds, cross_fitting, teachers
from ad_core.stages.job import make_methods, prepare
from ad_core.stages.messages import announce
from ad_core.stages.train import run_training
from tests.small_config import small_config

RECALLING, NOISY = "tests.toys.recalling", "tests.toys.noisy"
SIDE = 16
# Group -> (folder, normal images, abnormal images).
GROUPS = {f"n{i}": ("train", 2, 0) for i in range(9)}
GROUPS |= {f"a{i}": ("train", 0, 2) for i in range(4)}
GROUPS |= {"both": ("train", 1, 2)}
GROUPS |= {f"t{i}": ("test", 1, 1) for i in range(5)}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Images as files, with a table of them."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    rows = ["path,label,group,split"]
    for group, (split, normal, abnormal) in GROUPS.items():
        pixels = rng.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
        for number in range(normal + abnormal):
            Image.fromarray(pixels).save(folder / f"{group}_{number}.png")
            rows.append(f"{group}_{number}.png,{int(number >= normal)},{group},{split}")
    (folder / "images.csv").write_text("\n".join(rows))
    return folder


def config_of(root, method=RECALLING, *, data=None, **overrides):
    data = {
        "source": "ad_core.data.layouts.manifest",
        "root": str(root / "images.csv"),
        "image_size": SIDE,
        "workers": 1,
        **(data or {}),
    }
    return small_config(
        method=method,
        data=data,
        statistics={"names": ("loss",)},
        decision={"classifier": "logistic_regression", "folds": 2, "rule": "accuracy"},
        train={"steps": 2, "batch_size": 8},
        score={"batch_size": 8, "workers": 1},
        **overrides,
    )


def calibrated(config, workdir):
    """The job, its table of calibration, and (recalling's) part of the detector."""
    job = prepare(config, workdir, Stop())
    run_calibration(job, run_training(job))
    table = read_table(job.workdir.statistics(job.calibration_split))
    return job, table, load_parts(job.workdir.detector).methods[-1]


def column(table, name):
    (place,) = [k for k, own in enumerate(table.names) if own.endswith(name)]
    return table.values[:, place]


def known(part):
    """How many normal and abnormal images a state knows."""
    return tuple(int((np.asarray(part.state.params["label"]) == kind).sum()) for kind in (0, 1))


@pytest.fixture(scope="module")
def normals(root, tmp_path_factory):
    return calibrated(config_of(root), tmp_path_factory.mktemp("normals"))


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("share", [None, 0.5])
def test_no_image_is_measured_by_a_state_that_learnt_it_or_its_group(
    root, tmp_path, labelled, share
):
    data = {"calibration": {"folds": 3} | ({} if share is None else {"normal": share})}
    config = config_of(root, data=data, reconstructor={"labelled": labelled})
    job, table, part = calibrated(config, tmp_path)
    assert (column(table, "loss_distance") > 0.1).all()  # 0 where it is known
    assert table.readable.all() and set(table.label) == {0, 1}
    # The final state knows all of these: as normals at least.
    assert known(part) == (19, 10 if labelled else 0)
    detector = load_detector(job.workdir.detector, batch_size=8)
    source, indices = job.source, job.splits["calibration"]
    again = detector.score(np.stack([source.read(int(i)).image for i in indices])).statistics
    final = again[:, table.names.index("loss_distance")]
    assert (final[table.label == 0] < 1e-6).all()
    assert ((final[table.label == 1] < 1e-6).all()) == labelled
    # Brute force: what a state that learnt all but the fold would have known.
    counts = column(table, "loss_known")
    folds = cross_fitting(job, part.make())
    taught = folds.parts.sum(axis=1)
    expected = np.where(folds.held_out, taught[folds.fold], known(part)[0] + known(part)[1])
    np.testing.assert_array_equal(counts, expected)


def test_abnormal_images_are_measured_by_the_final_state_unless_their_group_taught_it(normals):
    _, table, part = normals
    groups = np.array(table.group)
    counts, total = column(table, "loss_known"), known(part)[0]
    alone = (table.label == 1) & (groups != "both")
    assert (counts[alone] == total).all() and alone.sum() == 8
    assert (counts[groups == "both"] < total).all()


def test_every_normal_calibrates_and_teaches_in_as_many_folds_as_asked_for(normals, capsys):
    job, _, part = normals
    assert job.config.data.calibration.normal == 1.0
    assert len(job.splits["train"]) == 0
    folds = cross_fitting(job, part.make())
    assert folds.parts.shape == (5, 19)
    np.testing.assert_array_equal((~folds.parts).sum(axis=0), 1)  # each is left out once
    announce(job)
    assert "recalling learns from 19 normal, 0 abnormal images; those that calibrate are left " in (
        capsys.readouterr().out
    )


def test_results_and_report_say_what_learnt_and_that_it_was_cross_fitted(normals):
    job, _, _ = normals
    results = run_evaluation(job)
    assert results["counts"]["train"] == {"normal": 0, "abnormal": 0}
    assert results["counts"]["calibration"] == {"normal": 19, "abnormal": 10}
    assert results["learning"] == {"recalling": {"normal": 19, "abnormal": 0, "folds": 5}}
    assert json.loads(job.workdir.results.read_text())["learning"] == results["learning"]
    page = " ".join(job.workdir.report.read_text().split())
    assert "Images that calibrate also taught recalling: each of them was measured by one of 5" in (
        page
    )


def test_nothing_is_compiled_from_fold_to_fold(root, tmp_path, monkeypatch):
    made, make = [], calibrate.measure_parts

    def measure_parts(*args, **options):
        made.append(make(*args, **options))
        return made[-1]

    monkeypatch.setattr(calibrate, "measure_parts", measure_parts)
    calibrated(config_of(root), tmp_path)
    assert len(made) == 1 and made[0].compilations() == 1


def test_a_calibration_that_was_killed_ends_in_the_same_bits(root, normals, tmp_path, monkeypatch):
    job = prepare(config_of(root), tmp_path, Stop())
    learnt = run_training(job)
    fit_parts = calibrate.fit_parts

    def cut(*args, **options):
        for number, state in enumerate(fit_parts(*args, **options)):
            if number == 2:
                raise Stopped(15)
            yield state

    with monkeypatch.context() as patch:
        patch.setattr(calibrate, "fit_parts", cut)
        with pytest.raises(Stopped):
            run_calibration(job, learnt)
    assert not job.workdir.statistics("calibration").exists()
    whole, table, part = normals
    again, other, own = calibrated(config_of(root), tmp_path)
    np.testing.assert_array_equal(table.values, other.values)
    for name in ("images", "label"):
        np.testing.assert_array_equal(part.state.params[name], own.state.params[name])
    for name in ("normals.npz", "threshold.json", "recalling/parameters.npz"):
        one, two = (x.workdir.detector / name for x in (whole, again))
        assert one.read_bytes() == two.read_bytes(), name
    assert not any("fold" in path.name for path in tmp_path.rglob("*"))


def test_a_decision_is_renewed_from_the_statistics_of_the_folds(normals):
    job, table, _ = normals
    before = load_parts(job.workdir.detector)
    config = from_json(job.workdir.config.read_text())
    assert config.data.calibration.normal == 1.0  # what suited the methods then holds now
    recalibrate(prepare(config, job.workdir.root, Stop(), free=("decision",)))
    after = load_parts(job.workdir.detector)
    np.testing.assert_array_equal(before.reference, after.reference)
    assert before.thresholds == after.thresholds
    np.testing.assert_array_equal(after.reference, table.values[table.label == 0])


def test_beside_a_method_that_learns_by_steps_only_the_memory_is_cross_fitted(root, tmp_path):
    together = config_of(root, f"{NOISY},{RECALLING}")
    job, table, part = calibrated(together, tmp_path / "both")
    assert job.config.data.calibration.normal == 0.4
    train, calibrating = job.splits["train"], job.splits["calibration"]
    methods = {name: method for name, (method, _) in make_methods(job.config).items()}
    np.testing.assert_array_equal(teachers(job, methods["noisy"]), train)
    assert known(part) == (19, 0)
    assert (column(table, "recalling.loss_distance") > 0.1).all()
    # Those that train are in the state of every fold.
    folds = cross_fitting(job, methods["recalling"])
    assert folds.parts[:, : len(train)].all() and len(train) + len(calibrating) == 29
    _, alone, _ = calibrated(config_of(root, NOISY), tmp_path / "alone")
    assert alone.path == table.path
    np.testing.assert_allclose(column(alone, "loss_draw"), column(table, "loss_draw"), rtol=1e-6)


def test_folds_are_the_same_for_every_method_of_a_composite(root, tmp_path):
    config = config_of(root, f"tests.toys.flat,{RECALLING}")
    config.reconstructor.recalling.labelled = True
    job, table, part = calibrated(config, tmp_path)
    found = [cross_fitting(job, method) for method, _ in make_methods(job.config).values()]
    np.testing.assert_array_equal(found[0].fold, found[1].fold)
    assert found[1].held_out.all()
    normal = np.isin(np.array(table.group), [g for g, kind in GROUPS.items() if kind[1]])
    np.testing.assert_array_equal(found[0].held_out, normal)
    assert (column(table, "recalling.loss_distance") > 0.1).all() and known(part) == (19, 10)


def test_a_method_that_affords_few_folds_leaves_out_several_of_anothers(root, tmp_path):
    config = config_of(root, f"tests.toys.flat,{RECALLING}")
    config.reconstructor.flat.folds = 9
    config.reconstructor.recalling.update(labelled=True, folds=4)
    job, table, _ = calibrated(config, tmp_path)
    methods = {name: method for name, (method, _) in make_methods(job.config).items()}
    many, few = (cross_fitting(job, methods[name]) for name in ("flat", "recalling"))
    assert len(many.parts) == many.fold.max() + 1 == 9 and (many.spans == 1).all()
    assert len(few.parts) == 4 and sorted(few.spans.tolist()) == [2, 2, 2, 3]
    for fold in range(9):
        assert len(np.unique(few.fold[many.fold == fold])) == 1
    # Each image is measured without its own fold, in each method's division.
    assert (column(table, "recalling.loss_distance") > 0.1).all()
    taught = few.parts.sum(axis=1)
    np.testing.assert_array_equal(column(table, "recalling.loss_known"), taught[few.fold])


def test_a_pool_teaches_nothing(root, tmp_path):
    data = {"protocol": "vqganodip"}
    job, table, part = calibrated(config_of(root, data=data), tmp_path / "normals")
    train = len(job.splits["train"])
    assert known(part) == (train, 0) and 0 < train < 19
    assert (column(table, "loss_known") == train).all()
    assert (column(table, "loss_distance") > 0.1).all()
    results = run_evaluation(job)
    assert results["learning"] == {"recalling": {"normal": train, "abnormal": 0, "folds": None}}
    labelled = config_of(root, data=data, reconstructor={"labelled": True})
    with pytest.raises(UserError, match="under the protocol vqganodip these judge too"):
        run_training(prepare(labelled, tmp_path / "labelled", Stop()))


@pytest.mark.parametrize(
    "keep, labelled, message",
    [
        (("n0", "both"), False, None),
        (("n0",), False, "recalling learns from 2 normal images in fewer than two groups"),
        (("n0", "n1", "a0"), True, None),
        (("n0", "n1", "a0", "a1"), True, None),
    ],
)
def test_folds_that_would_teach_nothing_are_refused(
    root, tmp_path, monkeypatch, keep, labelled, message
):
    job = prepare(config_of(root, reconstructor={"labelled": labelled}), tmp_path, Stop())
    kept = [i for i in job.splits["calibration"] if job.source.records[i].group in keep]
    job = job._replace(splits={**job.splits, "calibration": np.array(kept)})
    method = make_methods(job.config)["recalling"][0]
    if message is None:
        check_folds(job, "recalling", method)
        return
    with pytest.raises(UserError, match=message):
        check_folds(job, "recalling", method)


def test_fewer_than_two_folds_are_refused(root, tmp_path):
    job = prepare(config_of(root, data={"calibration": {"folds": 1}}), tmp_path, Stop())
    with pytest.raises(UserError, match=r"`data.calibration.folds` \(=1\) must be 2 or more, or 0"):
        run_training(job)


def test_a_robust_range_comes_from_normals_that_do_not_judge(root, tmp_path):
    job = prepare(config_of(root, data={"value_range": ("robust",)}), tmp_path, Stop())
    low, high = job.config.data.value_range
    # Uniform noise of all 8 bits: its quantiles and a tenth beyond either.
    assert -40 < low < -15 and 270 < high < 295


def test_a_detector_that_learnt_from_what_calibrates_is_no_companion(normals, root, tmp_path):
    job, _, _ = normals
    config = config_of(root, NOISY, data={"calibration": {"normal": 1.0}})
    config.statistics.also = (str(job.workdir.detector),)
    with pytest.raises(UserError, match="recalling, which has learnt from the normals that cali"):
        load_companions(config)
