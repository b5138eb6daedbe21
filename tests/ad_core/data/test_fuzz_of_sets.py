"""Random folder trees and tables: every file is accounted for, and no split shares a file.

Each seed draws a tree of images, damaged ones, other files, links and outputs of this program,
under names that people give them, and lists it in every way: to score, as classes, as the layout of
train and test, and by a table of paths in several spellings.
"""

import io
import os
from itertools import pairwise
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from ad_core.data.layouts.files import FileSource
from ad_core.data.layouts.listing import find_images
from ad_core.data.source import open_source
from ad_core.data.splits import make_splits
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults
from ad_core.runtime.sealed import mark_own
from tests.ad_core.data.formats.test_dicom import RAMP, save

FAST, ALL = 40, 500
SHARES = {"normal": 0.4, "abnormal": 1.0, "abnormal_of_test": 0.5}
FOLDERS = (
    "good", "Good", "OK", "normal", "no", "crack", "Crack", "yes", "train", "Train", "test", "val",
    "ground_truth", "p 1", ".hidden", "maps", "ünder", "a#1",
)  # fmt: skip
SHAPES = (
    (), ("train/good", "test/good", "test/crack", "ground_truth/crack"), ("no", "yes"),
    ("Train/Good", "test/OK", "test/dot"), ("train/no", "val/No", "test/yes"),
)  # fmt: skip
STEMS = ("a", "b", "a_mask", "a_mask_1", "1.2.840", ".x", "._a", "p=1,2", "n\nl", "é", "IM1", "c#2")
ENDS = (
    "", ".png", ".PNG", ".jpg", ".jfif", ".gif", ".tif", ".dcm", ".nii.gz", ".txt", ".part", ".csv"
)  # fmt: skip


def _encoded(kind, values, **options):
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """(sound contents of images that are read, all other contents)."""
    folder = tmp_path_factory.mktemp("contents")
    grey = np.random.default_rng(0).integers(0, 255, (12, 9), dtype=np.uint8)
    tifffile.imwrite(folder / "stack", np.stack([grey, grey // 2]), photometric="minisblack")
    nibabel.Nifti1Image(np.stack([grey] * 3, axis=-1), np.eye(4)).to_filename(folder / "v.nii.gz")
    save(folder / "dicom", RAMP, WindowCenter=500, WindowWidth=900)
    read = [_encoded(kind, grey) for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP")]
    read += [_encoded("PNG", np.dstack([grey] * 3)), _encoded("PNG", grey.astype(np.uint16))]
    read += [(folder / name).read_bytes() for name in ("stack", "v.nii.gz", "dicom")]
    others = [b"", b"text\n", b"\x00\x05\x16\x07 of a Mac", _encoded("GIF", grey), read[0][:60]]
    return read, [*others, read[-1][:-60], b"path,label\n", b"\x1f\x8b\x08 damaged"]


class Tree:
    """A random tree below `root`: what it holds, and in what way."""

    def __init__(self, root, rng, contents):
        self.root, self.rng = root, rng
        root.mkdir(parents=True)
        self.folders = [root, *(root / name for name in self.pick(SHAPES))]
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
        for _ in range(rng.integers(1, 9)):
            folder = self.pick(self.folders) / self.pick(FOLDERS)
            if len(folder.relative_to(root).parts) < 4:
                folder.mkdir(exist_ok=True)
                self.folders.append(folder)
        read, others = contents
        self.sound = set()
        for _ in range(rng.integers(1, 26)):
            path = self.pick(self.folders) / (self.pick(STEMS) + self.pick(ENDS))
            is_sound = rng.random() < 0.7
            if not os.path.lexists(path):
                path.write_bytes(self.pick(read if is_sound else others))
                self.sound |= {path} if is_sound else set()
        self.files = sorted(self.sound)
        for _ in range(rng.integers(0, 4)):
            self.link()
        if rng.random() < 0.3:
            self.score_into(self.pick(self.folders))

    def pick(self, choices):
        return choices[int(self.rng.integers(len(choices)))]

    def link(self):
        targets = [*self.files, self.root.parent / "outside.png", self.root / "gone", *self.folders]
        link = self.pick(self.folders) / f"link{self.rng.integers(9)}{self.pick(ENDS)}"
        if not os.path.lexists(link):
            link.symlink_to(self.pick(targets))

    def score_into(self, folder):
        """Leaves what a command of this program would."""
        mark_own(folder, ("scores.csv", "maps"))
        (folder / "scores.csv").write_text("path\n")
        (folder / "maps").mkdir(exist_ok=True)
        (folder / "maps/m.png").write_bytes(_encoded("PNG", np.zeros((9, 9), np.uint8)))

    def everything(self):
        """Every file and link to a file below the root, relative."""
        found = set()
        for folder, _, names in os.walk(self.root):
            paths = (Path(folder) / name for name in names)
            found |= {path.relative_to(self.root).as_posix() for path in paths}
        return found

    def data(self, source, root, **options):
        data = defaults("cpu").data
        data.update({"image_size": 8, "min_side": 4, "root": str(root)} | options)
        data.update({"source": f"ad_core.data.layouts.{source}"})
        data.page = self.pick(("refuse", "all"))
        return data


def one_message(error):
    text = str(error)
    assert text.endswith((".", "?")) and "Traceback" not in text, text


def is_below(path, places):
    return any(
        path == place or (place.endswith("/") and path.startswith(place)) for place in places
    )


def check_scoring(tree):
    """All that lies below the root is judged, left out by name, or the program's own."""
    there = tree.everything()
    try:
        found = find_images(tree.root)
    except UserError as error:
        return one_message(error)
    assert not set(found.images) & set(found.left_out)
    assert {*found.images, *found.left_out} <= there
    own = {path for path in there if is_below(path, found.own)}
    assert own | set(found.images) | set(found.left_out) == there
    assert not own & {*found.images, *found.left_out}
    sound = {path.relative_to(tree.root).as_posix() for path in tree.sound}
    assert sound - own <= set(found.images)
    assert not any(path.startswith("maps/") and path.endswith("m.png") for path in found.images)
    source = FileSource(tree.root, found.images, tree.data("folder", ""))
    for index in range(len(source)):
        check_reading(source, index)


def check_reading(source, index):
    try:
        sample = source.read(index)
    except UserError as error:
        return one_message(error)
    assert np.isfinite(sample.image).all() and 0 <= sample.clipped <= 1


def check_training(tree, data, *, all_told):
    """Records, masks and what is told as not used are all there is; groups keep files whole.

    The source; None if it is refused.
    """
    try:
        source = open_source(data)
    except UserError as error:
        return one_message(error)
    records = source.records
    assert len({record.path for record in records}) == len(records)
    place = [
        os.path.realpath(source.locate(i)[0]) for i in range(len(records)) if located(source, i)
    ]
    known = [i for i in range(len(records)) if located(source, i)]
    group = {}
    for path, index in zip(place, known, strict=True):
        assert group.setdefault(path, records[index].group) == records[index].group
    if all_told:
        used = {os.path.relpath(source.root / source.locate(i)[0], source.root) for i in known}
        masks = {mask for own in source._masks.values() for mask in own}
        try:
            own = set(find_images(tree.root).own)
        except UserError:
            own = set()
        used |= {record.path for record in records}  # such as a link out, refused when it is read
        told = {*used, *masks, *source.ignored, "groups.csv", *own}
        lost = {path for path in tree.everything() if not is_below(path, told)}
        links = {p for p in lost if any(q.is_symlink() for q in (tree.root / p).parents)}
        assert not lost - links, lost
    for protocol in ("folders", "cyclegan_ad", "vqganodip"):
        check_splits(records, dict(zip(known, place, strict=True)), protocol)
    for index in range(len(records)):
        check_reading(source, index)
    return source


def located(source, index):
    try:
        source.locate(index)
    except UserError:
        return False
    return True


def check_splits(records, place, protocol):
    try:
        splits = make_splits(records, protocol=protocol, calibration=SHARES, seed=1)
    except UserError as error:
        return one_message(error)
    for kind in (lambda i: records[i].group, lambda i: place.get(i, i), lambda i: i):
        sides = [{kind(i) for i in indices.tolist()} for indices in splits.values()]
        for one, other in pairwise([*sides, sides[0]] if len(sides) > 1 else sides):
            assert not one & other


def table_of(tree, name):
    """A table of some of the files, in several spellings, most of its rows sound."""
    rng, rows = tree.rng, ["path,label,group,split,mask"]
    links = [p for p in tree.root.rglob("link*") if p.is_file() and not p.is_dir()]
    for path in [*tree.files, *links]:
        spelled = path.relative_to(tree.root).as_posix()
        for page in tree.pick((("",), ("",), ("#0", "#1"), ("#z=0", "#z=2"))):
            label = tree.pick(("0", "1", "0.0", "OK", "NG", "good", "true", "normal"))
            group = tree.pick(("", "", "", "g1", "g2", "nan"))
            before = tree.pick(("", "", "./"))
            quoted = f"{before}{spelled}{page}".replace('"', '""')
            rows.append(f'"{quoted}",{label},{group},{tree.pick(("", "", "train", "test"))},')
    if rng.random() < 0.15:
        bad = ("gone.png,maybe,,,", "../x.png,0,,,", "a\\b.png,1,,,", ",1,,,", "gone.png,nan,,,")
        rows.append(tree.pick(bad))
    rows += tree.pick(([], [",,,,", ",,,,"]))
    encoding = tree.pick(("utf-8", "utf-8-sig", "utf-16"))
    (tree.root / name).write_bytes("\n".join([*rows, ""]).encode(encoding))


def check_seed(seed, root, contents):
    """Which of the four kinds of sets the tree is."""
    rng = np.random.default_rng(seed)
    root.mkdir()
    (root / "outside.png").write_bytes(contents[0][0])
    tree = Tree(root / "set", rng, contents)
    check_scoring(tree)
    normal = tuple({tree.pick(FOLDERS) for _ in range(3)} | {"good", "OK"})
    there = {folder.name.casefold() for folder in tree.folders}
    stated = tuple(name for name in normal if name.casefold() in there)
    sources = [
        tree.data("class_folders", tree.root, normal_classes=stated),
        tree.data("folder", tree.root),
        tree.data("any_depth", tree.root, normal_classes=stated or ("*",)),
    ]
    opened = [check_training(tree, data, all_told=True) for data in sources]
    table_of(tree, "table.csv")
    table = tree.data("manifest", tree.root / "table.csv")
    opened.append(check_training(tree, table, all_told=False))
    return [source is not None for source in opened]


@pytest.mark.parametrize(
    "seeds", [range(FAST), pytest.param(range(FAST, ALL), marks=pytest.mark.slow)]
)
def test_every_file_of_a_random_set_is_accounted_for(tmp_path, contents, seeds):
    opened = []
    for seed in seeds:
        try:
            opened.append(check_seed(seed, tmp_path / f"{seed}", contents))
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
    assert min(np.mean(opened, axis=0)) > 0.1  # each kind of set is opened often enough
