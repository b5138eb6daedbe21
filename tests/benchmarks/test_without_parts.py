"""What each method of a detector is worth, by leaving its columns out."""

import json

import numpy as np
import pytest

from ad_core.decision.table import StatisticsTable, write_table
from tests.benchmark_script import script
from tests.small_config import small_config

without_parts = script("without_parts")
NAMES = ("loss_noise", "noisy.loss_defect", "noisy.loss_noise")


@pytest.fixture
def workdir(tmp_path):
    """A run of two methods, of which the second alone knows the abnormal images."""
    config = small_config(method="tests.toys.flat,tests.toys.noisy")
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    for seed, split in enumerate(("calibration", "test")):
        rng = np.random.default_rng(seed)
        label = np.arange(60) % 2
        values = rng.normal(size=(60, len(NAMES))).astype(np.float32)
        values[:, 1] += 5.0 * label
        path = tuple(f"{number}.png" for number in range(60))
        table = StatisticsTable(path, label, ("",) * 60, path, ("",) * 60, NAMES, values)
        (tmp_path / "statistics").mkdir(exist_ok=True)
        write_table(tmp_path / "statistics" / f"{split}.parquet", table)
    return tmp_path


def test_columns_belong_to_the_method_that_they_are_named_by():
    own = without_parts.columns_of(NAMES, ["flat", "noisy"])
    assert own["flat"].tolist() == [True, False, False]
    assert own["noisy"].tolist() == [False, True, True]


def test_without_the_part_that_knows_nothing_is_known(workdir):
    found = without_parts.compared(workdir, classifier="logistic_regression", seeds=1)
    assert [*found] == ["all", "without flat", "without noisy"]
    auc, lowest, at_share, test = np.array([*found.values()]).T
    assert auc[:2].min() > 0.95 and test[:2].min() > 0.95 and lowest[:2].max() < 0.2
    assert auc[2] < 0.7 and test[2] < 0.7 and at_share[2] > 0.5
    assert (at_share <= lowest).all()
    table = without_parts.table_of({"run": found}).splitlines()
    assert (
        len(table) == 4 and table[2].split("|")[2:] == table[3].split("|")[2:]
    )  # of one, its mean


def test_a_run_of_one_method_is_refused(workdir):
    (workdir / "config.json").write_text(json.dumps(small_config().to_dict()))
    with pytest.raises(SystemExit, match="one method alone"):
        without_parts.compared(workdir, classifier="logistic_regression", seeds=1)
