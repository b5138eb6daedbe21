"""Parts of a benchmark without a run: its sets and cells, reasons, time left, figures of tables."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ad_core.decision.table import StatisticsTable, read_table, write_table
from ad_core.errors import UserError
from ad_core.metrics import oracle
from ad_core.runtime.benchmarks import BENCHMARK, KEYS, Entrant, load_benchmark
from ad_core.runtime.command import configure
from ad_core.runtime.config import to_json
from ad_core.runtime.defaults import values_of
from ad_core.runtime.registry import resolve
from ad_core.runtime.workdir import Workdir
from ad_core.stages.benchmark import commit_of, default_parallel
from ad_core.stages.benchmark_cells import Cell, find_sets, make_cells
from ad_core.stages.benchmark_figures import of_classifier, of_columns, of_detector, of_statistic
from ad_core.stages.benchmark_running import (
    Failed,
    Pace,
    Started,
    _ready,
    _unmade,
    failure,
    is_done,
)
from tests.small_config import small_config

ROOT = Path(__file__).parents[3]
FILES = sorted((ROOT / "configs").glob("benchmark_*.py"))
QUICK = ROOT / "configs" / "benchmark_quick.py"
GENERATORS = ROOT / "configs" / "benchmark_generators.py"


def given(path, **values):
    config = BENCHMARK.read(str(path), [])
    config.update(values)
    return load_benchmark(str(path)), config


def below(root, *folders):
    for folder in folders:
        (root / folder / "train" / "good").mkdir(parents=True)
    return str(root)


def cell_in(folder, name="a", seed=0):
    return Cell("screw", Entrant(name, name, "method"), seed, (f"--config={QUICK}",), folder)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", ["cpu", "accelerator"])
def test_every_run_of_every_benchmark_has_a_configuration(path, size, tmp_path):
    root = below(tmp_path, "screw", "retina_oct", "mine")
    benchmark, config = given(path, root=root, methods=())
    config.methods = tuple(benchmark.entrants)
    places = find_sets(benchmark, config)
    cells = make_cells(benchmark, config, places, tmp_path, size=size)
    assert {cell.entrant.name for cell in cells} == set(benchmark.entrants)
    assert len({cell.folder for cell in cells}) == len(cells)
    first = {(cell.set, cell.entrant.name): cell for cell in cells}
    for cell in first.values():
        made = configure(cell.arguments)
        assert made.method == cell.entrant.method and made.data.protocol == config.protocol
        assert made.decision.rules == ("zfn", "miss_bound")
        assert Path(made.data.root).parent == tmp_path
        assert all(resolve(name) for name in made.method.split(","))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_benchmark_is_data_with_source_and_command(path):
    benchmark = load_benchmark(str(path))
    text = path.read_text()
    assert f"--config=configs/{path.name}" in text and "Measured:" in text and "Data:" in text
    assert {"blur"} < set(benchmark.entrants)
    assert any("untrained" in name for name in benchmark.entrants)
    assert any(entrant.method == "baselines_ad.blur" for entrant in benchmark.entrants.values())


def test_untrained_is_the_same_run_without_a_step(tmp_path):
    root = below(tmp_path, "screw")
    for name in ("poster_fig2", "poster_fig3"):
        benchmark, config = given(ROOT / "configs" / f"benchmark_{name}.py", root=root)
        config.sets, config.seeds = ("screw",), (0,)
        cells = make_cells(benchmark, config, find_sets(benchmark, config), tmp_path, size="cpu")
        made = {cell.entrant.name: configure(cell.arguments) for cell in cells}
        trained = made["vqgan" if name == "poster_fig2" else "cyclegan"].to_dict()
        untrained = made["untrained"].to_dict()
        assert untrained["train"]["steps"] == untrained["train"]["epochs"] == 0
        assert untrained["reconstructor"] == trained["reconstructor"]
        assert untrained["statistics"] == trained["statistics"]
        assert made["blur"].data.image_size == trained["data"]["image_size"]
        assert made["blur"].statistics.names == trained["statistics"]["names"]


def test_the_quick_one_finds_the_folders_that_hold_a_set(tmp_path):
    root = below(tmp_path, "mvtec_screw", "busi", "mine")
    (tmp_path / "notes").mkdir()
    benchmark, config = given(QUICK, root=root)
    found = {place.set.name: place for place in find_sets(benchmark, config)}
    assert set(found) == {"screw", "breast_ultrasound", "mine"}
    assert found["screw"].set.recipe == "mvtec.py:screw"
    assert found["mine"].set.recipe == "folder.py"
    assert found["screw"].root == str(tmp_path / "mvtec_screw")


def test_the_quick_one_needs_a_root_with_sets(tmp_path):
    with pytest.raises(UserError, match="config.root` is missing"):
        find_sets(*given(QUICK))
    with pytest.raises(UserError, match="no folder in it holds train/good"):
        find_sets(*given(QUICK, root=str(tmp_path)))


def test_a_missing_set_says_how_to_come_by_it(tmp_path):
    root = below(tmp_path, "mvtec_screw")
    fig3 = ROOT / "configs" / "benchmark_poster_fig3.py"
    found = {place.set.name: place for place in find_sets(*given(fig3, root=root))}
    assert not found["screw"].missing
    assert "kaggle.com" in found["brain_mri"].missing and "brain_mri: no such" in (
        found["brain_mri"].missing
    )
    assert "mvtec.com" in found["wood"].missing and "\n" not in found["wood"].missing


def test_overrides_go_to_every_set_or_to_one(tmp_path):
    root = below(tmp_path, "screw", "mine")
    benchmark, config = given(QUICK, root=root, methods=("blur",), seeds=(0,))
    config.overrides = r"mine:data.group_pattern=(\d)_ data.near_duplicates=4"
    cells = make_cells(benchmark, config, find_sets(benchmark, config), tmp_path, size="cpu")
    made = {cell.set: configure(cell.arguments).data for cell in cells}
    assert made["mine"].group_pattern == r"(\d)_" and made["screw"].group_pattern == ""
    assert made["mine"].near_duplicates == made["screw"].near_duplicates == 4


def test_inceptions_weights_go_to_those_whose_scores_need_them(tmp_path):
    root = below(tmp_path, "screw")
    fig3 = ROOT / "configs" / "benchmark_poster_fig3.py"
    benchmark, config = given(fig3, root=root, inception="inception.npz", sets=("screw",))
    cells = make_cells(benchmark, config, find_sets(benchmark, config), tmp_path, size="cpu")
    named = {c.entrant.name for c in cells if "--config.statistics.backbone=inception.npz" in (
        c.arguments
    )}  # fmt: skip
    assert named == {"cyclegan", "ganomaly", "untrained", "blur"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("X = 1", "no BENCHMARK, METHODS and SETS"),
        ("BENCHMARK, METHODS, SETS = {'colour': 1}, {}, {}", "config.colour"),
        ("BENCHMARK, METHODS, SETS = {}, {'a': {'titel': 'A'}}, {}", "'a' has no field 'titel'"),
        ("BENCHMARK, METHODS, SETS = {}, {}, {'s': {'root': 'x'}}", "'s' has no field 'root'"),
        ("import nothing_such", "ModuleNotFoundError"),
    ],
)
def test_a_faulty_file_is_refused_with_its_fault(text, message, tmp_path):
    path = tmp_path / "benchmark_faulty.py"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_benchmark(str(path))


def test_keys_have_the_defaults_that_help_shows():
    shown = "\n".join(BENCHMARK.explain(values_of(KEYS)))
    assert all(f"--config.{key}=" in shown for key in KEYS)


@pytest.mark.parametrize(
    ("backend", "cores", "parallel"),
    [("cpu", 1, 1), ("cpu", 2, 1), ("cpu", 7, 1), ("cpu", 16, 4), ("gpu", 64, 1)],
)
def test_times_stay_honest_by_default(backend, cores, parallel):
    assert default_parallel(backend, cores) == parallel


@pytest.mark.parametrize(
    ("status", "log", "reason"),
    [
        (2, "training\nerror: no such folder.\nmore\n", "no such folder."),
        (1, "Traceback\n  line\nZeroDivisionError: no\n\n", "ZeroDivisionError: no"),
        (-9, "training\n", "ended by SIGKILL, perhaps for want of memory"),
        (-11, "", "ended by SIGSEGV"),
        (5, "", "status 5, without a word"),
        (0, "done\n", "ended without figures"),
    ],
)
def test_a_reason_is_one_line(status, log, reason, tmp_path):
    cell = cell_in(tmp_path / "0")
    (tmp_path / "0.log").write_text(log)
    assert failure(cell, status) == reason
    assert not is_done(cell)


def test_a_long_reason_is_cut(tmp_path):
    (tmp_path / "0.log").write_text("error: " + "x" * 1000)
    assert len(failure(cell_in(tmp_path / "0"), 2)) == 400


def test_the_time_left_is_that_of_the_same_method_where_one_ended(tmp_path):
    pace, left = Pace(1), [cell_in(tmp_path, "slow"), cell_in(tmp_path, "new")]
    assert pace.left(left) == ""
    pace.add(cell_in(tmp_path, "slow"), 100.0)
    pace.add(cell_in(tmp_path, "fast"), 20.0)
    assert pace.left(left) == ", about 2 min 40 s left"  # 100 and, of both, 60
    assert pace.left([]) == ""
    two = Pace(2)
    two.add(left[0], 60.0)
    assert two.left(left) == ", about 1 min 00 s left"


def table_of(label, **columns):
    count = len(label)
    return StatisticsTable(
        path=tuple(f"{i}.png" for i in range(count)),
        label=np.array(label),
        defect=("",) * count,
        group=tuple(f"{i}.png" for i in range(count)),
        error=("",) * count,
        names=tuple(columns),
        values=np.array(list(columns.values()), np.float32).T,
    )


def written(root, split, table):
    path = Workdir(root).statistics(split)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, table)


def test_one_statistic_is_judged_by_the_line_of_the_calibration_images(tmp_path):
    """The lowest abnormal score that calibrates is 5: one of two abnormal passes, none alarms."""
    written(tmp_path, "calibration", table_of([0, 0, 1, 1], sse=[1, 6, 5, 9]))
    written(tmp_path, "test", table_of([0, 0, 1, 1], sse=[2, 3, 4, 7]))
    figures = of_statistic(Workdir(tmp_path), "sse")
    assert figures["auc"] == 1.0 and figures["zfn"] == 1.0
    assert (figures["zfn_missed"], figures["zfn_alarms"]) == (0.5, 0.0)
    assert figures["bound_missed"] is None  # two abnormal images promise no 5 %
    assert of_statistic(Workdir(tmp_path), "fid") is None


def test_another_classifier_judges_a_pool_out_of_fold_and_once(tmp_path):
    rng = np.random.default_rng(0)
    label = [0] * 20 + [1] * 20
    scores = np.array(label) + rng.normal(0, 0.1, 40)
    written(tmp_path, "pool", table_of(label, sse=scores))
    config = small_config()
    Workdir(tmp_path).config.write_text(to_json(config))
    figures = of_classifier(Workdir(tmp_path), "logistic_regression")
    assert figures["auc"] > 0.99 and figures["zfn_missed"] <= 0.2
    kept = tmp_path / "classifiers" / "logistic_regression.json"
    content = json.loads(kept.read_text())
    kept.write_text(json.dumps(content | {"figures": {"auc": 0.25}}))
    assert of_classifier(Workdir(tmp_path), "logistic_regression") == {"auc": 0.25}
    assert of_statistic(Workdir(tmp_path), "sse") == oracle(np.array(label), np.float32(scores))
    assert of_classifier(Workdir(tmp_path), "unheard_of") is None


def test_a_row_without_columns_is_calibrated_anew_by_the_others(tmp_path):
    """The columns left out hold the labels; the other one tells three in four apart."""
    rng = np.random.default_rng(0)
    label = np.array([0] * 30 + [1] * 30)
    for split in ("calibration", "test"):
        weak = label + rng.normal(0, 1, 60)
        written(tmp_path, split, table_of(list(label), sse=weak, deep_head_0=label, deep_x=label))
    config = small_config()
    config.decision.classifier = "logistic_regression"
    Workdir(tmp_path).config.write_text(to_json(config))
    figures = of_columns(Workdir(tmp_path), "deep_*")
    known, test = (read_table(Workdir(tmp_path).statistics(s)) for s in ("calibration", "test"))
    line = np.sort(known.values[label == 1, 0])[0]
    assert figures["auc"] == pytest.approx(roc_auc_score(label, test.values[:, 0]))
    missed = np.mean(test.values[label == 1, 0] < line)
    alarms = np.mean(test.values[label == 0, 0] >= line)
    assert (figures["zfn_missed"], figures["zfn_alarms"]) == pytest.approx(
        (missed, alarms), abs=0.1
    )
    kept = tmp_path / "classifiers" / "deep__.json"
    content = json.loads(kept.read_text())
    kept.write_text(json.dumps(content | {"figures": {"auc": 0.25}}))
    assert of_columns(Workdir(tmp_path), "deep_*") == {"auc": 0.25}
    with pytest.raises(UserError, match="none of 3 is left"):
        of_columns(Workdir(tmp_path), "*")


def test_a_run_waits_for_the_detector_that_it_needs(tmp_path):
    benchmark, config = given(GENERATORS, root=below(tmp_path, "transistor"))
    config.update(sets=("transistor",), seeds=(1,), methods=("vqgan_cnn", "latent_diffusion"))
    cells = make_cells(benchmark, config, find_sets(benchmark, config), tmp_path, size="cpu")
    first, second = cells
    detector = Workdir(first.folder).detector
    assert any(word.endswith(f"vqgan_ad.autoencoder:{detector}") for word in second.arguments)
    assert second.follows(first) and not first.follows(second)
    assert _ready([second, first], []) is first
    assert _ready([second], [Started(first, None)]) is None
    assert _ready([second], []) is second
    assert "needs the detector of transistor, VQGAN, seed 1" in _unmade(
        second, [Failed(first, "no memory")]
    )
    assert _unmade(second, []) == ""
    config.methods = ("latent_diffusion",)
    with pytest.raises(UserError, match="latent_diffusion needs the detector of vqgan_cnn"):
        make_cells(benchmark, config, find_sets(benchmark, config), tmp_path, size="cpu")


def test_a_detectors_figures_leave_open_what_was_not_measured():
    results = {
        "oracle": None,
        "pixel": None,
        "held_out": {"zfn": {"tp": 3, "fn": 1, "tpr": 0.75, "fpr": 0.5}, "miss_bound": {
            "refused": "too few"
        }},
        "timing": {
            "train": {"seconds": 30.0, "peak_gb": 2.0},
            "evaluate": {"seconds": 90.0, "images_per_s": 4.0, "peak_gb": 1.0},
        },
    }  # fmt: skip
    figures = of_detector(results)
    assert figures["zfn_missed"] == 0.25 and figures["zfn_alarms"] == 0.5
    assert figures["bound_missed"] is None and figures["aupro"] is None
    assert (figures["minutes"], figures["peak_gb"], figures["images_per_s"]) == (2.0, 2.0, 4.0)


def test_a_script_on_a_leash_ends_with_its_owner(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys, time\nprint(sys.argv[1], flush=True)\ntime.sleep(60)\n")
    command = [sys.executable, "-m", "ad_core.runtime.leash", str(script), "hello"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout.readline() == b"hello\n"
    process.stdin.close()
    assert process.wait(timeout=20) == 143
    process.stdout.close()


def test_a_folder_without_git_has_no_commit(tmp_path):
    assert commit_of(tmp_path) == ""


def test_seeds_must_be_whole_numbers():
    benchmark, config = given(QUICK)
    config.seeds = ("0", "x")
    with pytest.raises(UserError, match="whole numbers"):
        make_cells(benchmark, config, [], Path("w"), size="cpu")
