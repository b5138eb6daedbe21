import json
import shutil

import pytest

from ad_core.runtime.workdir import Workdir


@pytest.fixture(scope="module")
def apart(workdir, tmp_path_factory):
    copied = tmp_path_factory.mktemp("review") / "run"
    shutil.copytree(workdir, copied)
    return copied


def described(workdir):
    return json.loads((workdir / "detector" / "detector.json").read_text())


def test_the_lowest_abnormal_images_are_named_and_one_is_left_out_for_good(launch, apart, capsys):
    before = described(apart)["facts"]
    lowest = before["lowest"]
    counted = json.loads((apart / "results.json").read_text())["counts"]["calibration"]["abnormal"]
    assert len(lowest) == 5 and before["left_out"] == []
    assert [one["score"] for one in lowest] == sorted(one["score"] for one in lowest)
    assert launch("calibrate", f"--workdir={apart}", "--review") == 0
    shown = capsys.readouterr().out
    assert all(one["path"] in shown for one in lowest)
    assert described(apart)["facts"] == before  # nothing is renewed

    path = lowest[0]["path"]
    argv = (f"--workdir={apart}", f"--leave_out={path}")
    assert launch("calibrate", *argv, "--who=Ann") == 2
    assert "`--why` is missing" in capsys.readouterr().err
    # A bound that all of them keep, and one fewer do not: the calibration fails.
    bound = 1 - 0.05 ** (1 / (counted - 0.5))
    rule = ("--config.decision.rule=miss_bound", f"--config.decision.miss_rate={bound}")
    assert launch("calibrate", *argv, *rule, "--who=Ann", "--why=mislabelled") == 2
    assert "the best bound at" in capsys.readouterr().err
    assert described(apart)["facts"] == before and not Workdir(apart).left_out.exists()
    assert launch("calibrate", *argv, "--who=Ann", "--why=mislabelled") == 0
    (entry,) = described(apart)["facts"]["left_out"]
    assert (entry["path"], entry["who"], entry["why"]) == (path, "Ann", "mislabelled")
    threshold = json.loads((apart / "detector" / "threshold.json").read_text())
    promised = threshold["thresholds"]["zfn"]["guarantee"]
    assert promised["n_abnormal"] == counted - 1
    assert "1 image left out by a person" in promised["statement"]
    capsys.readouterr()
    assert launch("calibrate", *argv, "--who=Ann", "--why=again") == 2
    assert "was left out before" in capsys.readouterr().err

    # Ever after: in later calibrations, in the results and in the report.
    assert launch("calibrate", f"--workdir={apart}") == 0
    assert described(apart)["facts"]["left_out"] == [entry]
    assert launch("evaluate", f"--workdir={apart}") == 0
    assert json.loads((apart / "results.json").read_text())["left_out"] == [entry]
    page = (apart / "report" / "index.html").read_text()
    assert "left out by Ann (mislabelled)" in page
    assert launch("calibrate", f"--workdir={apart}", "--leave_out=nothing.png") == 2
    assert "none of the images that calibrate" in capsys.readouterr().err


def test_results_hold_the_price_of_each_bound(launch, workdir):
    results = json.loads((workdir / "results.json").read_text())
    assert results["rule"] == "zfn"
    decided = json.loads((workdir / "detector" / "threshold.json").read_text())
    assert decided["reason"] == results["rule_reason"]
    assert "`auto` took zfn" in results["rule_reason"]
    assert [offer["bound"] for offer in results["price"]] == [k / 100 for k in range(1, 21)]
    counts = results["counts"]
    for offer in results["price"]:
        if offer["threshold"] is None:
            assert "the best bound at 95 % confidence" in offer["refused"]
            assert offer["calibration"] is None and offer["test"] is None
            continue
        for split in ("calibration", "test"):
            assert offer[split]["normal"] == counts[split]["normal"]
            assert offer[split]["abnormal"] == counts[split]["abnormal"]
    assert any(offer["refused"] for offer in results["price"] if offer["threshold"] is None)
    calibrated = sum(of["images"] for of in results["defects"]["calibration"].values())
    assert calibrated == counts["calibration"]["abnormal"]
    assert (
        sum(of["missed"] for of in results["defects"]["test"].values())
        == (results["held_out"]["zfn"]["fn"])
    )
    page = (workdir / "report" / "index.html").read_text()
    assert "Price of the promise" in page
    kept = any(offer["threshold"] is not None for offer in results["price"])
    told = "Bounds on the miss rate at 95" if kept else "can be kept: with"
    assert told in page
