import html
import json
import re
from pathlib import Path

import pytest

from tests import known_trees

ROOT = Path(__file__).parents[2]


def command(root, workdir):
    recipe = f"--config={ROOT}/configs/breast_ultrasound.py:cpu"
    return ("inspect_data", recipe, f"--config.data.root={root}", f"--workdir={workdir}")


@pytest.fixture
def copy(tmp_path):
    return known_trees.breast_ultrasound(tmp_path / "copy")


def read(workdir):
    text = (workdir / "inspection" / "findings.json").read_text()
    return json.loads(text), (workdir / "inspection" / "index.html").read_text()


def test_a_clean_set_ends_with_0(launch, copy, tmp_path, capsys):
    assert launch(*command(copy, tmp_path / "run")) == 0
    found, page = read(tmp_path / "run")
    assert found["status"] == 0 and found["images"] == found["groups"] == 29
    assert found["smallest"] == found["largest"] == [32, 32]
    assert "Nothing stands in the way" in page
    out = capsys.readouterr().out
    assert "29 images" in out and f"page: {tmp_path}/run/inspection/index.html" in out
    said = out.splitlines()[-1].strip()
    assert said.startswith("python ") and "launch/train.py --config=" in said
    assert f"--config.data.root={copy}" in said and f"--workdir={tmp_path}/run" in said


def test_warnings_end_with_3_and_name_the_files(launch, copy, tmp_path, capsys):
    (copy / "normal/normal (3).png").write_bytes(b"<b>")
    twin = copy / "malignant/malignant (9) <i>&.png"
    twin.write_bytes((copy / "normal/normal (1).png").read_bytes())
    assert launch(*command(copy, tmp_path / "run")) == 3
    found, page = read(tmp_path / "run")
    names = {finding["name"]: finding["paths"] for finding in found["findings"]}
    assert names["unreadable"] == [["normal/normal (3).png"]]
    pair = [f"malignant/{twin.name}", "normal/normal (1).png"]
    assert names["exact_across_classes"] == [pair]
    assert names["missing_masks"] == [[pair[0]]]
    out = capsys.readouterr().out
    assert "warning: unreadable: 1 image cannot be read" in out and " | ".join(pair) in out
    assert "<i>&" not in page and html.escape(twin.name) in page


def test_the_page_carries_everything_itself(launch, copy, tmp_path):
    launch(*command(copy, tmp_path / "run"))
    _, page = read(tmp_path / "run")
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page) and "<script" not in page
    assert len(re.findall(r'<img src="data:image/png;base64,', page)) == 29


def test_an_unusable_set_ends_with_2(launch, copy, tmp_path, capsys):
    for path in (copy / "normal").iterdir():
        path.write_bytes(b"broken")
    assert launch(*command(copy, tmp_path / "run")) == 2
    assert "cannot be used" in read(tmp_path / "run")[1]
    assert launch(*command(tmp_path / "gone", tmp_path / "run")) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: `data.root`") and "Expected BUSI" in error
