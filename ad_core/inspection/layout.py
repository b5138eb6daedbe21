"""Layout of a folder that nobody has described: what is normal in it, or a question."""

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq

from ad_core.data.layouts.any_depth import ALL, ROOT, division, is_normal, way
from ad_core.data.layouts.class_folders import pair_masks
from ad_core.data.layouts.listing import list_images
from ad_core.data.layouts.manifest import TABLES
from ad_core.data.source import NORMAL, NORMAL_NAMES
from ad_core.errors import UserError

LAYOUTS = "ad_core.data.layouts"
GOOD = frozenset(NORMAL_NAMES) | frozenset(
    "goods gut gute io inordnung normals nodefect nodefects defectfree withoutdefect goodparts "
    "okparts nofinding nofindings".split()
)
BAD = frozenset(
    "bad nok ng nio notok notgood notnormal abnormal abnormals anomaly anomalies anomalous defect "
    "defects defective defectives fail failed faulty fault faults reject rejects rejected scrap "
    "schlecht ausschuss sick ill diseased disease lesion lesions tumor tumour damaged "
    "broken".split()
)
# Words that mean normal beside the other one alone: "no" may be "no defect" and "no good".
PAIRS = {"no": "yes", "negative": "positive", "neg": "pos", "0": "1", "false": "true"}
# Names of folders that are no class.
NO_CLASS = frozenset(
    "mask masks label labels annotation annotations groundtruth gt segmentation segmentations "
    "unknown unlabelled unlabeled unsorted unclear misc other others new raw tmp temp output "
    "outputs result results scored maps report".split()
)
MASKS = ("ground_truth", "ground_truth_train")
Way = tuple[str, ...]


class Layout(NamedTuple):
    """Layout that was found. words: what it is, for a person. overrides: of `config.data`."""

    words: str
    overrides: dict[str, str]


class Images(NamedTuple):
    """Images below a root, and the folders on the way to each, a division left out."""

    root: Path
    ways: dict[str, Way]

    @property
    def counts(self) -> Counter[Way]:
        """Number of images by their way."""
        return Counter(self.ways.values())


def find_layout(photos: str | Path, normal: Sequence[str] = ()) -> Layout:
    """Layout of `photos`: a table, MVTec AD's, folders by class, or normal images alone.

    Args:
        normal: names of folders that are normal, where the user states them; "." for the images in
            no folder, "*" for all.

    Raises:
        UserError: no such place, no image, no normal image; or a question, where it can be
            read in two ways.
    """
    root = Path(photos)
    if root.is_file():
        return _table(root)
    if not normal and (table := _labelled(root)):
        return table
    images = _images(root)
    if normal:
        return _stated(images, normal)
    images = _unwrapped(images)
    _ask_about_sets(images)
    return _by_words(images)


def word(name: str) -> str:
    """A folder's name as it is looked up: "Not OK" and "not_ok" are "notok", "ok_2" is "ok"."""
    letters = re.sub(r"[\W_]+", "", name.casefold())
    return re.sub(r"\d+$", "", letters) or letters


def _table(path: Path) -> Layout:
    if path.suffix.lower() not in TABLES:
        raise UserError(
            f"{path}: is one file and no table ({', '.join(TABLES)}); give the folder of images."
        )
    words = "a table with a label for each image"
    return Layout(words, {"source": f"{LAYOUTS}.manifest", "root": str(path)})


def _labelled(root: Path) -> Layout | None:
    """The table among the files of a folder that labels its images."""
    files = sorted(path for kind in TABLES for path in root.glob(f"*{kind}"))
    tables = [path for path in files if {"path", "label"} <= set(_columns(path))]
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise UserError(f"{root}: which table labels the images: {names}? Give its path instead.")
    return _table(tables[0]) if tables else None


def _columns(path: Path) -> list[str]:
    """Names of a table's columns; none of a file that is no table."""
    try:
        if path.suffix.lower() == ".parquet":
            return pq.read_schema(path).names
        with path.open(newline="", encoding="utf-8-sig") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowException):
        return []


def _images(root: Path) -> Images:
    paths = [path for path in list_images(root) if path.split("/")[0] not in MASKS]
    masks, loose = pair_masks(paths)
    unused = {mask for own in masks.values() for mask in own} | loose
    return Images(root, {path: way(path) for path in paths if path not in unused})


def _unwrapped(images: Images) -> Images:
    """The same images from the folder that holds them all, where its name says nothing of them."""
    first = {path.split("/")[0] for path in images.ways}
    one = next(iter(first))
    if len(first) > 1 or one in images.ways or division(f"{one}/") or _told((one,)):
        return images
    return _unwrapped(_images(images.root / one))


def _ask_about_sets(images: Images) -> None:
    """Refuses a folder of several sets, each with a train/ of its own."""
    sets = {path.split("/")[0] for path in images.ways if division(path.partition("/")[2])}
    if sets and not any(division(path) for path in images.ways):
        raise UserError(
            f"{images.root}: holds several sets ({_listed(sets)}). Which one? Give its folder."
        )


def _told(folders: Way, good: Collection[str] = GOOD) -> set[int]:
    """Labels that the folders on a way tell: 0 normal, 1 abnormal."""
    words = {word(name) for name in folders}
    bad = BAD | {PAIRS[name] for name in PAIRS if name in good}
    found = (words & set(good), words & bad)
    return {label for label, of in enumerate(found) if of}


def _by_words(images: Images) -> Layout:
    """Folders by the words in their names; one folder of images without any is all normal."""
    good = _good_words(images)
    told = {folders: _told(folders, good) for folders in images.counts}
    both = [folders for folders in told if len(told[folders]) > 1]
    if both:
        _ask(images, f"are the images in {_listed(map('/'.join, both))} normal, or not")
    silent = [folders for folders in told if not told[folders]]
    if {0} not in told.values():
        return _without_normal(images, silent)
    doubtful = [way for way in silent if way == (ROOT,) or NO_CLASS & set(map(word, way))]
    if doubtful:
        _ask(images, f"what are the images in {_listed(map('/'.join, doubtful))}")
    normal = {name for folders in told for name in folders if word(name) in good}
    return _classes(images, sorted(normal))


def _good_words(images: Images) -> set[str]:
    """Words that mean normal here: those that always do, and "no" where there is "yes" too."""
    there = {word(name) for folders in images.counts for name in folders}
    pairs = {one for one, other in PAIRS.items() if {one, other} <= there}
    return {*GOOD, *pairs}


def _without_normal(images: Images, silent: Sequence[Way]) -> Layout:
    """Normal images alone, in one folder. Raises UserError for anything else."""
    if not silent:
        raise UserError(
            f"{images.root}: every image is abnormal by its folder ({_listed(_names(images))}), "
            "and a detector learns what is normal. Put normal images beside them, into good/."
        )
    if len(images.counts) > 1:
        _ask(images, "which of its folders hold normal images")
    named = sorted({kind for path in images.ways if (kind := _word_in_name(path))})
    if named:
        _ask(images, f"names of its files tell of {_listed(named)}: are all of them normal")
    overrides = {"source": f"{LAYOUTS}.any_depth", "root": str(images.root), "normal_classes": ALL}
    return Layout("one folder of normal images, for nothing in it says otherwise", overrides)


def _word_in_name(path: str) -> str:
    """A word for abnormal in the name of a file, such as nok in nok_0012.png."""
    parts = re.split(r"[\W\d_]+", path.rpartition("/")[2].casefold())
    return next((part for part in parts if part in BAD), "")


def _stated(images: Images, normal: Sequence[str]) -> Layout:
    """Folders of which the user states the normal ones. Raises UserError where one is missing."""
    there = {name.casefold() for name in _names(images)} | {ALL}
    missing = [name for name in normal if name.casefold() not in there]
    if missing:
        raise UserError(
            f"`--normal` (={','.join(normal)}): {images.root} has no folder {_listed(missing)}; "
            f"there are {_listed(_names(images))}."
        )
    stated = {name.casefold() for name in normal}
    return _classes(images, sorted(n for n in _names(images) | {ALL} if n.casefold() in stated))


def _classes(images: Images, normal: Sequence[str]) -> Layout:
    """Folders of which `normal` are normal, read by the layout that fits their depth."""
    divided = {bool(division(path)) for path in images.ways}
    lower = {name.casefold() for name in normal}
    if divided == {True} and lower == {NORMAL} and _is_mvtec(images):
        return Layout(
            "the MVTec AD layout", {"source": f"{LAYOUTS}.folder", "root": str(images.root)}
        )
    flat = all(len(folders) == 1 and folders != (ROOT,) for folders in images.counts)
    source = "class_folders" if flat and len(divided) == 1 and ALL not in normal else "any_depth"
    overrides = {
        "source": f"{LAYOUTS}.{source}",
        "root": str(images.root),
        "normal_classes": ",".join(normal),
    }
    abnormal = [w for w in images.counts if not is_normal(w, lower)]
    return Layout("a folder for each class" if abnormal else "normal images alone", overrides)


def _is_mvtec(images: Images) -> bool:
    """Tells whether all lies in train/<class> and test/<class>, with train/good among them."""
    tops = {path.split("/")[0] for path in images.ways}
    depths = {path.count("/") for path in images.ways}
    return depths == {2} and tops <= {"train", "test"} and (images.root / "train/good").is_dir()


def _names(images: Images) -> set[str]:
    return {name for folders in images.counts for name in folders}


def _ask(images: Images, question: str) -> NoReturn:
    """Refuses with a question, what was found, and how to answer. Raises UserError."""
    found = sorted((w, n) for w, n in images.counts.items())
    told = ", ".join(f"{'/'.join(folders)} ({count})" for folders, count in found[:8])
    more = f" and {len(found) - 8} more folders" if len(found) > 8 else ""
    example = next((f[-1] for f, _ in found if f != (ROOT,)), ROOT)
    raise UserError(
        f"{images.root}: {question}? Found images in {told}{more}. Name the folders of normal "
        f"images, and every other one counts as abnormal: --normal={example} (several with commas; "
        ". for the images in no folder, * for all). Or move away what is to be left out."
    )


def _listed(names: Iterable[str]) -> str:
    """Up to eight names for a sentence."""
    sorted_names = sorted(set(names))
    return ", ".join(sorted_names[:8]) + (", ..." if len(sorted_names) > 8 else "")
