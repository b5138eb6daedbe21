"""Made-up defects in a run: by which state each is measured, and where they appear."""

import json

import numpy as np
import pytest
from PIL import Image

from ad_core.data.synthetic.source import SyntheticSource
from ad_core.decision.table import read_table
from ad_core.errors import UserError
from ad_core.runtime.stop import Stop, Stopped
from ad_core.scoring.files import load_parts
from ad_core.stages import main_job
from ad_core.stages.calibrate import recalibrate, run_calibration
from ad_core.stages.checks import check_settings
from ad_core.stages.folds import cross_fitting
from ad_core.stages.job import prepare
from ad_core.stages.synthetic import MadeUp
from ad_core.stages.train import run_training
from tests.small_config import small_config

SIDE, COUNT = 24, 15


def write_images(folder, *, abnormal):
    """Groups of two images of the same noise; abnormal ones stand in the test, or in training."""
    rng, rows = np.random.default_rng(0), ["path,label,group,split"]
    groups = [(f"n{i}", 0, "train") for i in range(8)] + [
        (f"t{i}", i % 2, "test") for i in range(4)
    ]
    groups += [(f"a{i}", 1, "train") for i in range(3 if abnormal else 0)]
    for group, label, split in groups:
        pixels = rng.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)
        for number in range(2):
            Image.fromarray(pixels).save(folder / f"{group}_{number}.png")
            rows.append(f"{group}_{number}.png,{label},{group},{split}")
    (folder / "images.csv").write_text("\n".join(rows))
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("normals"), abnormal=False)


def config_of(root, *, method="tests.toys.recalling", count=COUNT, **decision):
    return small_config(
        method=method,
        data={
            "source": "ad_core.data.layouts.manifest",
            "root": str(root / "images.csv"),
            "image_size": SIDE,
            "workers": 1,
            "calibration": {"folds": 4, "abnormal_of_test": 0.0},
            "synthetic": {"count": count},
        },
        statistics={"names": ("loss",)},
        decision={"folds": 3, "rule": "normal_quantile", **decision},
        train={"steps": 2, "batch_size": 8},
        score={"batch_size": 8, "workers": 1},
    )


def calibrated(config, workdir):
    job = prepare(config, workdir, Stop())
    calibration = run_calibration(job, run_training(job))
    return job, calibration


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    return calibrated(config_of(root), tmp_path_factory.mktemp("run"))


def made(job):
    return read_table(job.workdir.statistics("synthetic"))


def column(table, name):
    return table.values[:, table.names.index(name)]


def test_each_is_measured_by_a_state_that_learnt_neither_its_normal_nor_its_group(run):
    job, _ = run
    table, part = made(job), load_parts(job.workdir.detector).methods[0]
    assert len(table.path) == COUNT and table.readable.all()
    # Of a known image a defect changes little; noise that is not known lies far away.
    assert (column(table, "loss_distance") > 0.3).all()
    folds = cross_fitting(job, part.make())
    own = read_table(job.workdir.statistics("calibration"))
    taught = dict(zip(own.group, folds.parts.sum(axis=1)[folds.fold], strict=True))
    np.testing.assert_array_equal(column(table, "loss_known"), [taught[g] for g in table.group])


def test_they_stand_in_a_table_of_their_own_alone(run):
    job, calibration = run
    own = read_table(job.workdir.statistics("calibration"))
    assert not own.label.any() and not set(own.path) & set(made(job).path)
    assert set(made(job).defect) == {"cut_paste", "scar", "texture", "scratch", "missing"}
    assert len(calibration.scores) == len(own.path) == 16
    threshold = calibration.thresholds["normal_quantile"]
    assert (threshold.fitted_on["normal"], threshold.fitted_on["abnormal"]) == (16, 0)
    assert load_parts(job.workdir.detector).reference.shape[0] == 16


def test_measures_are_those_of_the_images_that_the_source_draws(run):
    job, _ = run
    part = load_parts(job.workdir.detector).methods[0]
    folds, table = cross_fitting(job, part.make()), made(job)
    source = SyntheticSource(
        job.source,
        job.splits["calibration"],
        count=COUNT,
        kinds=tuple(job.config.data.synthetic.kinds),
        seed=0,
    )
    where = {int(index): k for k, index in enumerate(job.splits["calibration"])}
    for number, base in enumerate(source.bases):
        learnt = folds.learnt[folds.parts[folds.fold[where[int(base)]]]]
        known = np.stack([job.source.read(int(i)).image for i in learnt])
        distance = np.abs(known - source.read(number).image).mean(axis=(1, 2, 3)).min()
        assert column(table, "loss_distance")[number] == pytest.approx(distance, rel=1e-5)


def test_calibrating_again_takes_the_table_and_chooses_the_same(run):
    job, calibration = run
    again = recalibrate(job)
    assert again.facts["synthetic"] == calibration.facts["synthetic"] is not None
    np.testing.assert_array_equal(again.scores, calibration.scores)
    assert again.thresholds == calibration.thresholds


def test_calibration_that_was_stopped_among_them_ends_in_the_same_bits(run, root, tmp_path):
    stop = Stop()
    stopping = prepare(config_of(root), tmp_path, stop)
    learnt = run_training(stopping)
    measured = []

    def stop_at_the_second(self, turn):
        measured.append(turn)
        if len(measured) == 2:
            stop.receive(15, "test")
        return measure(self, turn)

    measure = MadeUp._measure
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MadeUp, "_measure", stop_at_the_second)
        with pytest.raises(Stopped):
            run_calibration(stopping, learnt)
    assert not stopping.workdir.statistics("synthetic").exists()
    resumed, _ = calibrated(config_of(root), tmp_path)
    for split in ("calibration", "synthetic"):
        one, other = (read_table(each.workdir.statistics(split)) for each in (run[0], resumed))
        assert one.path == other.path
        np.testing.assert_array_equal(one.values, other.values)


@pytest.mark.slow
def test_trained_method_measures_them_by_its_one_state(root, tmp_path):
    job, calibration = calibrated(config_of(root, method="tests.toys.noisy"), tmp_path)
    assert made(job).readable.any() and calibration.facts["synthetic"] is not None


def test_missing_parts_are_filled_by_the_method_that_draws(root, tmp_path):
    config = config_of(root, method="tests.toys.halving", count=10)
    config.data.synthetic.kinds = ("missing", "scratch")
    job, _ = calibrated(config, tmp_path)
    normals = job.splits["calibration"]
    source = SyntheticSource(job.source, normals, count=10, kinds=("missing", "scratch"), seed=0)
    table = made(job)
    for number in np.flatnonzero(table.readable).tolist():
        image = source.read(number).image
        if source.kinds[number] == "missing":
            image = source.with_normal_versions({number: 0.5 * image[::-1]}).read(number).image
            assert (image != source.read(number).image).any()
        assert column(table, "loss_mean")[number] == pytest.approx(image.mean(), abs=1e-5)


@pytest.mark.parametrize("abnormal", [True, False])
def test_none_are_made_beside_abnormal_images_or_when_told_so(root, tmp_path, abnormal):
    if abnormal:
        (tmp_path / "images").mkdir()
        root = write_images(tmp_path / "images", abnormal=True)
    config = config_of(
        root, count=COUNT if abnormal else 0, classifier="auto" if not abnormal else "one_class"
    )
    job, calibration = calibrated(config, tmp_path / "run")
    assert not job.workdir.statistics("synthetic").exists()
    assert calibration.facts["synthetic"] is None and calibration.name == "one_class"


def test_rule_that_asks_for_them_gets_them_beside_abnormal_images(tmp_path):
    (tmp_path / "images").mkdir()
    root = write_images(tmp_path / "images", abnormal=True)
    config = config_of(
        root, count=40, classifier="logistic_regression", rules=("spi",), miss_rate=0.4
    )
    job, calibration = calibrated(config, tmp_path / "run")
    bases = {path.partition("#")[0] for path in made(job).path}
    assert bases <= {f"n{i}_{k}.png" for i in range(8) for k in range(2)}
    threshold = calibration.thresholds["spi"]
    assert (threshold.fitted_on["normal"], threshold.fitted_on["abnormal"]) == (16, 6)
    assert threshold.guarantee["n_groups"] == 3 and "40 made-up" in threshold.guarantee["statement"]
    assert calibration.facts["synthetic"] is None


@pytest.mark.parametrize(
    ("data", "message"),
    [({"count": 0}, "`data.synthetic.count` .=0. makes none"), ({"kinds": ("dent",)}, "unknown")],
)
def test_defects_that_cannot_be_made_are_refused_before_any_training(root, data, message):
    config = config_of(root, rules=("spi",))
    config.data.synthetic.update(data)
    with pytest.raises(UserError, match=message):
        check_settings(config)


def test_results_and_report_say_that_made_up_defects_chose_the_score(root, tmp_path, capsys):
    workdir = tmp_path / "run"
    main_job.run_main_job(config_of(root), workdir, until="evaluate", argv=["train"])
    results = json.loads((workdir / "results.json").read_text())
    statement = results["synthetic"]["statement"]
    assert "15 made-up defects in normal images chose the score" in statement
    assert "They are no abnormal images: they set no threshold" in statement
    out = capsys.readouterr().out
    assert statement in out and "each group counted once, as in the bounds: at 1 %" in out
    assert statement in (workdir / "report" / "index.html").read_text()
    assert results["counts"]["calibration"] == {"normal": 16, "abnormal": 0}
    assert results["held_out"]["normal_quantile"]["guarantee"]["n_abnormal"] == 0
    assert sum(results["counts"]["test"].values()) == 8
    groups = results["held_out"]["normal_quantile"]["groups"]  # two images each, of one class
    assert groups["tp"] + groups["fn"] == groups["tn"] + groups["fp"] == 2
    assert groups["operation"]["prevalence"] == 0.01
