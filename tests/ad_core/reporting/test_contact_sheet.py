import base64
import io

import pytest
from PIL import Image

from ad_core.inspection.inspect import inspect
from ad_core.reporting.contact_sheet import LISTED, MASK, PAIRS, render, write_contact_sheet
from ad_core.runtime.config import complete
from ad_core.runtime.recipes import load_recipe
from tests import known_trees
from tests.html_page import Page

HOSTILE = "malignant/malignant (9) <i>&'\u202e.png"


@pytest.fixture(scope="module")
def inspection(pytestconfig, tmp_path_factory):
    """A copy with an unreadable image, a pair across classes, and many images without masks."""
    root = known_trees.breast_ultrasound(tmp_path_factory.mktemp("copy"))
    (root / "normal/normal (3).png").write_bytes(b"<b>")
    (root / HOSTILE).write_bytes((root / "normal/normal (1).png").read_bytes())
    for number in range(100, 104 + PAIRS + LISTED):
        known_trees.draw(root / f"malignant/malignant ({number}).png", seed=number)
    config = complete(load_recipe(f"{pytestconfig.rootpath}/configs/breast_ultrasound.py:cpu"))
    config.data.root = str(root)
    return inspect(config)


@pytest.fixture(scope="module")
def page(inspection):
    return Page(render(inspection))


def test_the_page_is_whole_in_itself_and_names_its_parts(page):
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    assert len(page.all("style")) == 1 and not page.all("script")
    sections = [section["id"] for section in page.all("section")]
    assert sections == ["verdict", "findings", "counts", "files", "images"]


def test_a_hostile_name_is_shown_and_never_obeyed(page):
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert shown in page.text and not page.all("i")
    assert any(image["alt"] == shown for image in page.all("img"))


def test_pairs_stand_side_by_side_and_the_unreadable_is_named(page):
    assert "normal/normal (3).png" in page.text
    assert "1 pair of two classes with the same content" in page.text
    assert not any("normal (3)" in image["alt"] for image in page.all("img"))


def test_a_long_finding_shows_some_lists_some_and_counts_the_rest(inspection, page):
    (finding,) = [f for f in inspection.findings if f.name == "missing_masks"]
    more = len(finding.paths) - PAIRS - LISTED
    assert more > 0 and f"and {more} more in findings.json" in page.text


def test_masks_are_outlined(page):
    outlined = 0
    for shown in page.all("img"):
        with Image.open(io.BytesIO(base64.b64decode(shown["src"].split(",")[1]))) as picture:
            outlined += MASK in {colour for _, colour in picture.getcolors(1 << 16)}
    assert outlined


def test_the_page_is_written_in_one_move(inspection, tmp_path):
    path = tmp_path / "inspection" / "index.html"
    write_contact_sheet(path, inspection)
    assert [file.name for file in path.parent.iterdir()] == ["index.html"]
    assert path.read_text("utf-8") == render(inspection)
