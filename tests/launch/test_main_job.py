import json
import math
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from ad_core.runtime.lock import exclusive
from ad_core.training.checkpoint import Checkpoints

RULES = ("zfn", "accuracy", "target_fpr", "normal_quantile")


@pytest.fixture
def copied(workdir, tmp_path):
    """The workdir, for tests that change it."""
    return shutil.copytree(workdir, tmp_path / "run")


def read(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def numbers(content):
    if isinstance(content, dict):
        return [number for item in content.values() for number in numbers(item)]
    return [content] if isinstance(content, int | float) else []


def without_timing(results):
    return {key: value for key, value in results.items() if key != "timing"}


def test_every_file_of_a_run_is_there(workdir):
    names = (
        "config.json metrics.jsonl timing.json results.json report/index.html "
        "statistics/calibration.parquet statistics/test.parquet detector/MANIFEST.json "
        "detector/detector.json detector/threshold.json detector/classifier.skops "
        "detector/normals.npz detector/vqgan/method.json detector/vqgan/parameters.npz "
        "detector/vqgan/context.npz"
    )
    for name in names.split():
        assert (workdir / name).stat().st_size > 0, name
    assert Checkpoints(workdir / "checkpoints", keep=3).steps() == [2, 4]
    assert list((workdir / "tensorboard").glob("events*"))
    assert not list(workdir.rglob("*.partial"))
    manifest = read(workdir / "detector" / "MANIFEST.json")
    folder = workdir / "detector"
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert files == {*manifest, "MANIFEST.json"}


def test_statistics_have_a_row_an_image_and_a_column_a_statistic(workdir):
    described = read(workdir / "detector" / "detector.json")
    counts = read(workdir / "results.json")["counts"]
    for split in ("calibration", "test"):
        table = pq.read_table(workdir / "statistics" / f"{split}.parquet")
        assert table.num_rows == counts[split]["normal"] + counts[split]["abnormal"]
        fixed = ["path", "label", "defect", "group", "error"]
        assert table.column_names == [*fixed, *described["statistics"]]
        assert sum(table["label"].to_pylist()) == counts[split]["abnormal"]
        values = np.stack([table[name].to_numpy() for name in described["statistics"]])
        assert np.isfinite(values).all()
    groups = [
        set(pq.read_table(workdir / "statistics" / f"{split}.parquet")["group"].to_pylist())
        for split in ("calibration", "test")
    ]
    assert not groups[0] & groups[1]


def test_results_hold_the_figures_by_their_names(workdir):
    results = read(workdir / "results.json")
    assert set(results["oracle"]) == {"zfn", "acc", "auc", "fpr_at_tpr1"}
    assert set(results["held_out"]) == set(RULES)
    test = results["counts"]["test"]
    assert results["counts"]["unreadable"] == 0
    for figures in results["held_out"].values():
        assert figures["tp"] + figures["fn"] == test["abnormal"]
        assert figures["fp"] + figures["tn"] == test["normal"]
        right = (figures["tp"] + figures["tn"]) / (test["normal"] + test["abnormal"])
        assert figures["accuracy"] == pytest.approx(right)
        assert figures["tpr"] == pytest.approx(figures["tp"] / test["abnormal"])
        assert figures["fpr"] == pytest.approx(figures["fp"] / test["normal"])
        assert figures["fitted_on"]["split"] == "calibration"
        assert figures["guarantee"]["statement"]
    zfn = results["held_out"]["zfn"]["guarantee"]
    assert zfn["n_abnormal"] == results["counts"]["calibration"]["abnormal"]
    assert set(results["pixel"]) == {
        "auroc", "aupro", "ap", "aupimo", "f1_max", "pointing", "images", "stride"
    }  # fmt: skip
    assert set(results["timing"]) == {"train", "calibrate", "evaluate"}
    assert 0 < results["drift"]["images"] <= results["counts"]["test"]["normal"]  # one a group
    shares = [*results["oracle"].values(), results["pixel"]["auroc"], results["pixel"]["ap"]]
    assert all(0 <= share <= 1 for share in shares)
    found = numbers(results)
    assert len(found) > 60 and all(math.isfinite(number) for number in found)


def test_the_report_opens_offline(workdir):
    page = (workdir / "report" / "index.html").read_text()
    for outside in ('src="http', 'href="http', "url(http", 'src="//', "@import", "<link"):
        assert outside not in page, outside
    assert "data:image/png;base64," in page
    assert [path.name for path in (workdir / "report").iterdir()] == ["index.html"]


def stamps(workdir):
    return sorted((p, p.stat().st_mtime_ns) for p in workdir.rglob("*") if p.is_file())


def test_a_finished_run_given_again_says_so_and_writes_nothing(
    launch, job_arguments, copied, capsys
):
    before = stamps(copied)
    assert launch("train", *job_arguments, f"--workdir={copied}") == 0
    assert stamps(copied) == before
    out = capsys.readouterr().out
    assert "nothing is computed again" in out and "On images that decided nothing" in out
    results = (copied / "results.json").read_bytes()
    for until in ("calibrate", "evaluate"):  # another command, the same run
        same = (*job_arguments, f"--workdir={copied}", "--config.seed=0", f"--until={until}")
        assert launch("train", *same) == 0
        out = capsys.readouterr()
        assert "nothing is computed again" in out.out and "measure" not in out.err
    assert (copied / "results.json").read_bytes() == results


def test_a_run_whose_report_is_lost_is_not_finished(launch, job_arguments, copied, capsys):
    shutil.rmtree(copied / "report")
    assert launch("train", *job_arguments, f"--workdir={copied}") == 0
    out = capsys.readouterr()
    assert (copied / "report" / "index.html").is_file()
    assert "measure test" in out.err and "measure calibration" not in out.err


def test_the_same_command_trains_no_more_and_gives_the_same_results(
    launch, job_arguments, copied, capsys
):
    (copied / "finished.json").unlink()
    before = read(copied / "results.json")
    rows = (copied / "metrics.jsonl").read_text()
    checkpoints = sorted((p, p.stat().st_mtime_ns) for p in copied.glob("checkpoints/*/*"))
    assert launch("train", *job_arguments, f"--workdir={copied}") == 0
    assert (copied / "metrics.jsonl").read_text() == rows
    assert sorted((p, p.stat().st_mtime_ns) for p in copied.glob("checkpoints/*/*")) == checkpoints
    assert without_timing(read(copied / "results.json")) == without_timing(before)
    assert "zfn on the test split" in capsys.readouterr().out


def test_another_configuration_is_refused_by_the_key_that_differs(
    launch, job_arguments, workdir, capsys
):
    before = (workdir / "config.json").read_bytes()
    argv = (*job_arguments, f"--workdir={workdir}", "--config.seed=7")
    assert launch("train", *argv) == 2
    error = capsys.readouterr().err
    assert "seed was 0, now 7" in error and error.count("\n") == 1
    assert (workdir / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("statistics.names=ssmi", "Unknown statistic 'ssmi'"),
        ("statistics.windows.worst=0", "`statistics.windows.worst` (=0) must be 1 or more"),
        ("statistics.windows.smallest=99", "No window of `scales`"),
        ("reconstructor.adversarial=x", "`reconstructor.adversarial` (='x') must be one of"),
        ("data.calibration.abnormal=0", "cannot decide: Rule 'zfn' needs abnormal"),
    ],
)
def test_a_mistake_is_told_before_training_and_the_workdir_stays_free(
    launch, job_arguments, tmp_path, capsys, mistake, message
):
    argv = (*job_arguments, f"--workdir={tmp_path / 'run'}", f"--config.{mistake}")
    assert launch("train", *argv) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert launch("train", *argv, "--config.statistics.names=still_unknown") == 2
    assert "another configuration" not in capsys.readouterr().err


def test_a_second_run_is_refused_while_the_first_holds_the_workdir(
    launch, job_arguments, workdir, capsys
):
    with exclusive(workdir):
        assert launch("train", *job_arguments, f"--workdir={workdir}", "--config.seed=0") == 2
        assert launch("calibrate", f"--workdir={workdir}") == 2
    assert capsys.readouterr().err.count("is in use by process") == 2


@pytest.mark.parametrize("script", ["train", "calibrate", "evaluate"])
def test_a_missing_workdir_is_one_message(launch, job_arguments, script, capsys):
    assert launch(script, *job_arguments) == 2
    assert capsys.readouterr().err == ("error: `--workdir` is missing; e.g. --workdir=runs/mine.\n")


def test_calibrating_and_evaluating_before_training_is_refused(
    launch, job_arguments, tmp_path, capsys
):
    for script, message in (("calibrate", "No statistics at"), ("evaluate", "no detector there")):
        assert launch(script, *job_arguments, f"--workdir={tmp_path}") == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1


def test_calibrating_by_another_rule_renews_the_detector_and_removes_its_results(
    launch, job_arguments, copied, capsys
):
    before = {p.name: p.read_bytes() for p in (copied / "detector").rglob("*") if p.is_file()}
    assert read(copied / "detector" / "threshold.json")["rule"] == "zfn"
    argv = (f"--workdir={copied}", "--config.decision.rule=target_fpr")
    assert launch("calibrate", *argv, "--config.decision.target_fpr=0.2") == 0
    after = {p.name: p.read_bytes() for p in (copied / "detector").rglob("*") if p.is_file()}
    decided = json.loads(after["threshold.json"])
    assert decided["rule"] == "target_fpr"
    assert decided["thresholds"]["zfn"] == json.loads(before["threshold.json"])["thresholds"]["zfn"]
    assert after["parameters.npz"] == before["parameters.npz"]
    assert after["normals.npz"] == before["normals.npz"]
    assert not (copied / "results.json").exists() and not (copied / "report").exists()
    out = capsys.readouterr().out
    assert "were of the detector before this one and are removed" in out
    assert launch("train", *job_arguments, f"--workdir={copied}") == 2  # its rule was another
    assert launch("train", f"--workdir={copied}") == 0
    assert read(copied / "results.json")["rule"] == "target_fpr"
    assert "measure calibration" not in capsys.readouterr().err


def test_calibrating_may_change_nothing_but_the_decision(launch, copied, capsys):
    assert launch("calibrate", f"--workdir={copied}", "--config.statistics.names=mse") == 2
    assert "statistics.names was ['default'], now ['mse']" in capsys.readouterr().err


def test_evaluating_again_gives_the_same_figures(launch, copied):
    before = read(copied / "results.json")
    (copied / "results.json").unlink()
    shutil.rmtree(copied / "report")
    assert launch("evaluate", f"--workdir={copied}") == 0
    assert without_timing(read(copied / "results.json")) == without_timing(before)
    assert (copied / "report" / "index.html").is_file()


def test_no_image_of_the_test_split_moves_the_detector(launch, job_arguments, copied, monkeypatch):
    """With every test image replaced by noise, calibration writes the same bytes."""
    from ad_core.data.phantoms.worlds import PhantomSource

    table = pq.read_table(copied / "statistics" / "test.parquet")
    hidden, seen = set(table["path"].to_pylist()), []
    draw = PhantomSource.read

    def replaced(self, index):
        sample = draw(self, index)
        if self.records[index].path not in hidden:
            return sample
        seen.append(index)
        noise = np.random.default_rng(index).uniform(-1, 1, sample.image.shape)
        return sample._replace(image=noise.astype(np.float32))

    monkeypatch.setattr(PhantomSource, "read", replaced)
    before = {p.name: p.read_bytes() for p in (copied / "detector").rglob("*") if p.is_file()}
    (copied / "finished.json").unlink()
    argv = (*job_arguments, f"--workdir={copied}", "--until=calibrate")
    assert launch("train", *argv) == 0
    after = {p.name: p.read_bytes() for p in (copied / "detector").rglob("*") if p.is_file()}
    assert not seen
    for name in ("threshold.json", "parameters.npz", "normals.npz", "detector.json"):
        assert after[name] == before[name], name
