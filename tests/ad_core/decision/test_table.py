import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from ad_core.data.source import Record, printable
from ad_core.decision.table import make_table, read_table, select, write_table
from ad_core.errors import UserError

NAMES = ("ssim", "residual_mean")


def record(path, label=0, defect="good", group=None):
    return Record(path, label, defect, group or path, "test", False)


def three():
    records = [record("a.png"), record("b.png", 1, "crack", "part 7"), record("c.png")]
    values = np.array([[0.5, 1e-30], [np.nan, np.nan], [-1.0, np.inf]], np.float32)
    return make_table(records, NAMES, values, ["", "it is damaged", ""])


def test_a_table_reads_back_as_it_was_written(tmp_path):
    table = three()
    write_table(tmp_path / "statistics" / "test.parquet", table)
    again = read_table(tmp_path / "statistics" / "test.parquet")
    for field in ("path", "defect", "group", "error", "names"):
        assert getattr(again, field) == getattr(table, field)
    assert again.label.tolist() == [0, 1, 0]
    assert again.values.tobytes() == table.values.tobytes()
    assert again.readable.tolist() == [True, False, True]
    assert not list(tmp_path.rglob("*.partial"))


def test_the_columns_are_those_that_others_read(tmp_path):
    write_table(tmp_path / "test.parquet", three())
    columns = pq.read_table(tmp_path / "test.parquet").column_names
    assert columns == ["path", "label", "defect", "group", "error", *NAMES]


def test_a_table_without_statistics_keeps_its_rows(tmp_path):
    table = make_table([record("a.png")], (), np.zeros((1, 0), np.float32), [""])
    write_table(tmp_path / "test.parquet", table)
    again = read_table(tmp_path / "test.parquet")
    assert again.values.shape == (1, 0) and again.path == ("a.png",)


@pytest.mark.parametrize("rows", [[2, 0], np.array([2, 0])])
def test_select_takes_rows_in_the_order_asked_for(rows):
    part = select(three(), np.asarray(rows))
    assert part.path == ("c.png", "a.png")
    np.testing.assert_array_equal(part.values[:, 0], np.float32([-1.0, 0.5]))
    assert select(three(), three().readable).path == ("a.png", "c.png")


def test_a_missing_table_names_the_mend(tmp_path):
    with pytest.raises(UserError, match="run launch/train.py on this workdir first"):
        read_table(tmp_path / "test.parquet")


def test_names_that_are_not_utf_8_can_be_written(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    table = make_table(
        [record(name, 1, name)], NAMES, np.zeros((1, 2), np.float32), [f"{name}: is damaged"]
    )
    write_table(tmp_path / "test.parquet", table)
    assert read_table(tmp_path / "test.parquet").path == (r"caf\xe9.png",)
    assert printable("Äpfel 🍏.png") == "Äpfel 🍏.png"
