import numpy as np
import pytest
from jinja2 import UndefinedError
from setuptools import Distribution
from setuptools.config.pyprojecttoml import apply_configuration

from ad_core.reporting.page import TEMPLATES, Table, make_page
from tests.html_page import Page


def _sheet(**changes):
    content = {
        "title": "a set",
        "status": 0,
        "warnings": 0,
        "images": 2,
        "groups": 1,
        "lines": [],
        "findings": [],
        "counts": Table(["class", "train", "all"], [["good", 2, 2]], "Counts."),
        "files": None,
        "classes": [],
    }
    return make_page("inspection.html", **{**content, **changes})


def test_a_wheel_holds_the_templates(pytestconfig, monkeypatch):
    monkeypatch.chdir(pytestconfig.rootpath)
    project = apply_configuration(Distribution(), "pyproject.toml")
    build = project.get_command_obj("build_py")
    build.ensure_finalized()
    build.manifest_files = {}  # what version control would add counts for nothing
    packed = {path.rsplit("/", 1)[-1] for path in build.find_data_files("ad_core", "ad_core")}
    assert {"base.html", "style.css"} <= {file.name for file in TEMPLATES.iterdir()} <= packed


def test_what_a_template_names_and_is_not_given_is_an_error():
    with pytest.raises(UndefinedError, match="title"):
        make_page("inspection.html", status=0)


@pytest.mark.parametrize(
    ("outside", "written"),
    [
        ("<b>", "&lt;b&gt;"),
        ('"x"', "&#34;x&#34;"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x00\udcff", "\\u0000\\udcff"),
        ("3\u00a0%", "3\u00a0%"),
    ],
)
def test_what_comes_from_outside_is_escaped_and_visible(outside, written):
    table = Table(["class"], [[outside]], outside)
    html = _sheet(title=outside, counts=table)
    assert html.count(written) == 5  # title, heading, cell, note and label of the table
    if outside != written:
        assert outside not in html


def test_a_second_and_last_cell_spans_the_rest():
    rows = [["a", 1, 2], ["b", "words"]]
    page = Page(_sheet(counts=Table(["x", "y", "z"], rows, "Cells.", chosen=1, narrow=True)))
    assert [cell.get("colspan") for cell in page.all("td")] == [None, None, "2"]
    assert [row.get("class") for row in page.all("tr")] == [None, None, "chosen"]
    assert "wide narrow" in [div.get("class") for div in page.all("div")]


def test_a_table_of_numpys_numbers_reads_as_plain_ones():
    page = Page(_sheet(counts=Table(["x", "y", "z"], [["a", np.int64(3), np.str_("b")]], "Cells.")))
    assert "a 3 b" in page.text
