import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from ad_core.data.layouts.manifest import read_manifest
from ad_core.data.source import Record, open_source
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults
from ad_core.runtime.sealed import mark_own

FULL = """path,label,defect,mask,group,split,remark
a.png,0,,,p1,train,x
sub/b.png,1,crack,masks/b.png,p2,test,
c.png,abnormal,,,,val,
d.png,Normal,good,,,,
"""


def draw(path, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((10, 12), value, np.uint8)).save(path)


def link(link, target):
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(target)


def data_of(table):
    data = defaults("cpu").data
    data.source, data.root, data.image_size = "ad_core.data.layouts.manifest", str(table), 8
    return data


@pytest.fixture
def root(tmp_path):
    for name in ("a.png", "sub/b.png", "c.png", "d.png"):
        draw(tmp_path / "in" / name)
    draw(tmp_path / "in/masks/b.png", value=255)
    (tmp_path / "in/list.csv").write_text(FULL)
    return tmp_path / "in"


def expect_all(source):
    assert source.records == (
        Record("a.png", 0, "good", "p1", "train", True),
        Record("sub/b.png", 1, "crack", "p2", "test", True),
        Record("c.png", 1, "defect", "c.png", "train", False),
        Record("d.png", 0, "good", "d.png", "", True),
    )
    masks = [source.read(index).mask for index in range(4)]
    assert masks[1].all() and masks[2] is None and not masks[3].any()
    np.testing.assert_allclose(source.read(1).image, 100 / 127.5 - 1, atol=1e-6)


def test_a_csv_of_labelled_images_is_a_source(root):
    expect_all(open_source(data_of(root / "list.csv")))


def test_a_parquet_table_is_the_same_with_numbers_and_nulls(root):
    table = pa.table(
        {
            "path": ["a.png", "sub/b.png", "c.png", "d.png"],
            "label": pa.array([0, 1, 1, 0], pa.int8()),
            "defect": [None, "crack", None, None],
            "mask": [None, "masks/b.png", None, ""],
            "group": ["p1", "p2", None, None],
            "split": ["train", "test", "val", None],
        }
    )
    pq.write_table(table, root / "list.parquet")
    expect_all(open_source(data_of(root / "list.parquet")))
    assert read_manifest(root / "list.parquet") == ["a.png", "sub/b.png", "c.png", "d.png"]


def test_path_and_label_suffice(root):
    (root / "short.csv").write_text("label,path\n1,a.png\n0,gone.png\n")
    source = open_source(data_of(root / "short.csv"))
    assert [(r.defect, r.group, r.folder) for r in source.records] == [
        ("defect", "a.png", ""),
        ("good", "gone.png", ""),
    ]
    with pytest.raises(UserError, match="gone.png"):
        source.read(1)


def test_a_pattern_groups_the_rows_without_a_group(root):
    data = data_of(root / "list.csv")
    data.group_pattern = r"^(\w)"
    assert [r.group for r in open_source(data).records] == ["p1", "p2", "c", "d"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("a.png,2,,,,", r"line 2: `label` \(='2'\) must be one of 0, normal, good, 1, abnormal"),
        ("a.png,,,,,", r"`label` \(=''\)"),
        ("a.png,0,crack,,,", "contradicts"),
        ("a.png,1,good,,,", "contradicts"),
        ("a.png,1,,,,left", r"`split` \(='left'\) must be empty or one of train"),
        ("a.png,1,,gone.png,,", r"`mask` \(='gone.png'\): no such file"),
        ("a.png,1,,../out.png,,", "`mask`.*leads out of"),
        ("../out.png,1,,,,", "`path`.*leads out of"),
        ("/out.png,1,,,,", "`path`.*relative to"),
    ],
)
def test_a_row_that_cannot_be_meant_is_refused_by_line(root, row, words):
    draw(root.parent / "out.png")
    (root / "bad.csv").write_text(f"path,label,defect,mask,group,split\n{row}\n")
    with pytest.raises(UserError, match=rf"bad\.csv, line 2.*{words}|{words}"):
        open_source(data_of(root / "bad.csv"))


NORMAL = ("0", "0.0", "normal", "GOOD", "Ok", "pass", "False", " 0 ", "0e0", "Healthy")
ABNORMAL = ("1", "1.0", "Abnormal", "NG", "nok", "FAIL", "true", "bad", "defect")


@pytest.mark.parametrize(("labels", "label"), [(NORMAL, 0), (ABNORMAL, 1)])
def test_labels_are_what_people_write(root, labels, label):
    for text in labels:
        (root / "l.csv").write_text(f"path,label\na.png,{text}\n")
        pq.write_table(pa.table({"path": ["a.png"], "label": [text]}), root / "l.parquet")
        for table in ("l.csv", "l.parquet"):
            assert open_source(data_of(root / table)).records[0].label == label


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32(), pa.bool_(), pa.int8()])
def test_labels_may_be_numbers_of_any_type(root, kind):
    labels = pa.array([0, 1], pa.int8()).cast(kind)
    pq.write_table(pa.table({"path": ["a.png", "c.png"], "label": labels}), root / "l.parquet")
    assert [r.label for r in open_source(data_of(root / "l.parquet")).records] == [0, 1]


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-inf", "0.5", "2", "1e300", "", "--"])
def test_a_cell_that_is_no_label_is_one_message_with_its_line(root, text):
    (root / "l.csv").write_text(f"path,label\na.png,0\nc.png,{text}\n")
    with pytest.raises(UserError, match=r"l\.csv, line 3: `label` \(='.*'\) must be one of"):
        open_source(data_of(root / "l.csv"))
    try:
        labels = pa.array([0.0, float(text)])
    except ValueError:
        labels = pa.array(["0", text])
    pq.write_table(pa.table({"path": ["a.png", "c.png"], "label": labels}), root / "l.parquet")
    with pytest.raises(UserError, match=r"l\.parquet, line 3: `label` \(='.*'\) must be one of"):
        open_source(data_of(root / "l.parquet"))


def test_what_is_not_a_number_is_an_empty_cell_elsewhere(root):
    nan = float("nan")
    columns = {"path": ["a.png", "c.png"], "label": [0.0, 1.0], "group": [nan, 7.0]}
    pq.write_table(pa.table(columns | {"split": [nan, nan]}), root / "l.parquet")
    (root / "l.csv").write_text("path,label,group,split\na.png,0,nan,NaN\nc.png,1,7,nan\n")
    for table in ("l.csv", "l.parquet"):
        records = open_source(data_of(root / table)).records
        assert [(r.group, r.folder, r.defect) for r in records] == [
            ("a.png", "", "good"),
            ("7", "", "defect"),
        ]
    pq.write_table(pa.table({"path": [["a.png"]], "label": [0]}), root / "l.parquet")
    with pytest.raises(UserError, match=r"line 2: `path` \(=\['a.png'\]\) must be a text"):
        open_source(data_of(root / "l.parquet"))


def test_empty_lines_at_the_end_of_a_table_are_no_rows(root):
    (root / "l.csv").write_text("path,label,group\na.png,0,\n,,\n\n , ,\n")
    columns = {"path": ["a.png", None, ""], "label": [0, None, None]}
    pq.write_table(pa.table(columns), root / "l.parquet")
    for table in ("l.csv", "l.parquet"):
        assert len(open_source(data_of(root / table)).records) == 1
        assert read_manifest(root / table) == ["a.png"]
    (root / "l.csv").write_text("path,label,group\na.png,0,\n,1,\n")
    with pytest.raises(UserError, match=r"line 3: `path` \(=''\)"):
        open_source(data_of(root / "l.csv"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8"])
def test_a_table_may_be_in_utf_16(root, encoding):
    draw(root / "grün.png")
    (root / "l.csv").write_bytes("path,label\r\ngrün.png,OK\r\n".encode(encoding))
    assert open_source(data_of(root / "l.csv")).records[0][:3] == ("grün.png", 0, "good")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"path;label\na.png;0\n", "separated by semicolons; save it with commas"),
        (b"path\tlabel\na.png\t0\n", "separated by tabulators"),
        ("path,label\na.png,0\n".encode("utf-16-le"), "written in UTF-16"),
        (b"Path,label\na.png,0\n", "Write 'path' in place of 'Path'"),
        (b"path,label,path\na.png,0,b\n", "names the column path twice"),
        (b"path,label\nsub\\b.png,1\n", r"line 2: .*no such file; write 'sub/b\.png'"),
        (b"path,label\nC:\\set\\b.png,1\n", "line 2: .*must be relative to"),
        (b"path,label,mask\nsub/b.png,1,masks\\b.png\n", r"`mask`.*write 'masks/b\.png'"),
        (b"path,label,defect\na.png,1,OK\n", "contradicts"),
        (b"path,label,defect\na.png,0,crack\n", "contradicts"),
    ],
)
def test_a_table_of_another_program_gets_a_hint(root, text, words):
    (root / "l.csv").write_bytes(text)
    with pytest.raises(UserError, match=words):
        open_source(data_of(root / "l.csv"))


def test_what_the_program_wrote_is_no_row(root):
    draw(root / "maps/a.png")
    mark_own(root, ("maps",))
    (root / "l.csv").write_text("path,label\nmaps/a.png,0\n")
    with pytest.raises(UserError, match="was written by this program"):
        open_source(data_of(root / "l.csv"))


@pytest.mark.parametrize("name", ["gone.csv", "a.png", ""])
def test_what_is_no_table_is_refused(root, name):
    with pytest.raises(UserError, match=r"`data\.root`.*give a table with the columns path and"):
        open_source(data_of(root / name))


def test_a_damaged_parquet_file_is_refused(root):
    (root / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UserError, match="is no Parquet file"):
        read_manifest(root / "bad.parquet")


def test_a_manifest_keeps_its_order_and_missing_files(tmp_path):
    table = tmp_path / "list.csv"
    table.write_text('\ufeffid,path\n1,b/x.png\n2,a.png\n3,"odd, name.png"\n', encoding="utf-8")
    assert read_manifest(table) == ["b/x.png", "a.png", "odd, name.png"]


@pytest.mark.parametrize(
    "name", ["/etc/a.png", "../a.png", "a/../../b.png", "", "\\\\host\\a.png", "outer.png", "a\0"]
)
def test_a_manifest_that_leaves_its_folder_is_refused_by_row(tmp_path, name):
    draw(tmp_path / "outside.png")
    link(tmp_path / "in/outer.png", tmp_path / "outside.png")
    table = tmp_path / "in/list.csv"
    table.write_text(f'path\nok.png\n"{name}"\n')
    with pytest.raises(UserError, match=r"list\.csv, line 3.*(relative to|leads out of)"):
        read_manifest(table)


@pytest.mark.parametrize(
    "data, words",
    [
        (b"path\na.png\na.png\n", "line 3.*line 2"),
        (b"file\na.png\n", "lacks the column path"),
        (b"path\n", "holds no row"),
        (b"path\n\xff\xfe\n", "UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path, data, words):
    table = tmp_path / "list.csv"
    if data is not None:
        table.write_bytes(data)
    with pytest.raises(UserError, match=words):
        read_manifest(table)
