"""Data sets of TensorFlow Datasets that lie on disk as array_record; TensorFlow is not needed."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from ml_collections import ConfigDict

from ad_core.data.formats.stored import Encoded
from ad_core.data.layouts.files import FileSource, LabelledFiles
from ad_core.data.layouts.grouping import group_by_pattern
from ad_core.data.layouts.listing import DIVISIONS
from ad_core.data.source import NORMAL, Record
from ad_core.errors import UserError

PREFIX = "tfds:"
PATHS = ("path", "file_name", "filename", "image/filename")
MASKS = ("mask", "segmentation_mask")
_MEND = (
    "prepare it with `tfds.builder(NAME, file_format='array_record').download_and_prepare()`, or "
    "build one of ours with launch/build_tfds.py"
)


class TfdsSource(LabelledFiles):
    """Every split of a data set, one after the other: a DataSource.

    Images are decoded from the stored bytes by the rules of files, masks too.
    """

    def __init__(self, table: "_Table", records: Iterable[Record], data: ConfigDict):
        super().__init__(Path(), records, data, masks={})
        self._table = table

    def locate(self, index: int) -> tuple[os.PathLike[str], dict[str, Any]]:
        """The stored bytes of an image."""
        return self._table.content(index, self._table.image), {}

    def locate_masks(self, index: int) -> Sequence[tuple[os.PathLike[str], dict[str, Any]]]:
        """The stored bytes of an abnormal image's mask."""
        assert self._table.mask is not None
        return [(self._table.content(index, self._table.mask), {})]


class TfdsImages(FileSource):
    """The images of a data set, to score."""

    def __init__(self, table: "_Table", data: ConfigDict):
        super().__init__("", table.paths, data)
        self._table = table

    def locate(self, index: int) -> tuple[os.PathLike[str], dict[str, Any]]:
        """The stored bytes of an image."""
        return self._table.content(index, self._table.image), {}


def open_source(data: ConfigDict) -> TfdsSource:
    """The data set `data.source` (tfds:NAME, see `find`) below `data.root`.

    It needs an image and a ClassLabel called `label`, or the only ones of their kind. A class of
    `data.normal_classes` is normal (without them, one called normal), any other one a
    defect of that name; case plays no part. Features `path`, `defect`, `group`, `mask` and
    `has_mask` are used where they are there. The splits train and test keep their side, validation
    counts as train.

    Raises:
        UserError: no such data set, stored in another way, or without labels.
    """
    table = _open(str(data.source), str(data.root))
    label = table.features.get("label") or table.only(tfds.features.ClassLabel)
    if not isinstance(label, tfds.features.ClassLabel):
        raise UserError(f"{table.name}: has no ClassLabel (it has {', '.join(table.features)}).")
    normal = _normal(table.name, tuple(label.names), tuple(data.normal_classes))
    key = next(name for name, feature in table.features.items() if feature is label)
    named = group_by_pattern(table.paths, str(data.group_pattern))
    records = []
    for example, path, split in zip(table.examples, table.paths, table.splits, strict=True):
        known = {"path": path, "split": split, "class": label.names[int(example[key])]}
        texts = {name: _text(example[name]) for name in ("defect", "group") if name in example}
        record = _record(known | texts, normal, named)
        masked = table.mask is not None and bool(example.get("has_mask", True))
        records.append(record._replace(has_mask=record.label == 0 or masked))
    source = TfdsSource(table, records, data)
    source.grouped = bool(named) or any("group" in example for example in table.examples)
    return source


def open_images(name: str, data: ConfigDict) -> TfdsImages:
    """The images of tfds:NAME to score: no label is needed, and `data.root` plays no part.

    Raises:
        UserError: as `open_source`.
    """
    return TfdsImages(_open(name, ""), data)


def find(name: str, root: str) -> Path:
    """The folder of the data set NAME[/CONFIG][:VERSION], its newest version unless one is named.

    It is looked for below `root`, or without it below TFDS_DATA_DIR or ~/tensorflow_datasets;
    NAME may also be the path of its folder.

    Raises:
        UserError: there is none, or several configurations.
    """
    place, _, version = name.partition(":")
    base = data_dir(root)
    top = Path(place) if Path(place).is_dir() else base / place
    found = [top, *top.glob("*"), *top.glob("*/*")]
    found = [folder for folder in found if (folder / "features.json").is_file()]
    if version:
        found = [folder for folder in found if folder.name == version]
    if not place or not found:
        there = sorted(p.name for p in base.glob("*") if p.is_dir() and p.name != "downloads")
        raise UserError(
            f"`{PREFIX}{name}`: no such data set in {base} (there: {', '.join(there) or 'none'}); "
            f"give its name, or its folder: `{PREFIX}FOLDER`."
        )
    configs = sorted({folder.parent.name for folder in found})
    if len(configs) > 1:
        raise UserError(f"`{PREFIX}{name}`: name one of {', '.join(configs)} after a slash.")
    return max(found, key=_version)


def data_dir(root: str) -> Path:
    """Folder of the data sets: `root`, or without it TFDS_DATA_DIR or ~/tensorflow_datasets."""
    return Path(root or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


class _Table(NamedTuple):
    """Content of a data set without the images: one entry an example, sorted by path."""

    name: str
    features: Mapping[str, Any]
    image: str
    mask: str | None
    paths: tuple[str, ...]
    splits: tuple[str, ...]
    examples: tuple[dict[str, Any], ...]
    fetch: Callable[[int], dict[str, Any]]

    def only(self, kind: type) -> Any:
        """The one feature of a kind; None if there are none or several."""
        found = [feature for feature in self.features.values() if isinstance(feature, kind)]
        return found[0] if len(found) == 1 else None

    def content(self, index: int, feature: str) -> Encoded:
        """The stored bytes of an image."""
        return Encoded(f"{self.name}/{self.paths[index]}", self.fetch(index)[feature])


def _open(name: str, root: str) -> _Table:
    folder = find(name.removeprefix(PREFIX), root)
    builder: Any = tfds.builder_from_directory(folder)
    features: dict[str, Any] = dict(builder.info.features)
    stored = builder.info.file_format
    if stored is None or stored.value != "array_record":
        kind = stored.value if stored else "an unknown format"
        raise UserError(f"`{name}` ({folder}): is stored as {kind}, not array_record; {_MEND}.")
    images = [key for key, kind in features.items() if isinstance(kind, tfds.features.Image)]
    mask = next((key for key in MASKS if key in images), None)
    pictures = [key for key in images if key != mask]
    image = "image" if "image" in pictures else pictures[0] if len(pictures) == 1 else None
    if image is None:
        raise UserError(f"`{name}`: needs one image feature; it has {', '.join(features)}.")
    raw = {key: tfds.decode.SkipDecoding() for key in images}
    parts = {
        split: builder.as_data_source(split=split, decoders=raw)
        for split in sorted(builder.info.splits)
    }
    return _table(name, features, image, mask, parts)


def _table(
    name: str, features: Mapping[str, Any], image: str, mask: str | None, parts: Mapping[str, Any]
) -> _Table:
    """Reads every example once, for all but its images."""
    key = next((key for key in PATHS if key in features), None)
    rows = []
    for split, part in parts.items():
        for number in range(len(part)):
            example = part[number]
            kept = {k: v for k, v in example.items() if k in features and k not in (image, mask)}
            path = _text(example[key]) if key else f"{split}/{number:06d}"
            rows.append((path, split, number, kept))
    if len({row[0] for row in rows}) < len(rows):
        rows = [(f"{split}/{number:06d}", split, number, kept) for _, split, number, kept in rows]
    rows.sort(key=lambda row: row[0])
    return _Table(
        name=name,
        features=features,
        image=image,
        mask=mask,
        paths=tuple(row[0] for row in rows),
        splits=tuple(row[1] for row in rows),
        examples=tuple(row[3] for row in rows),
        fetch=lambda index: parts[rows[index][1]][rows[index][2]],
    )


def _record(row: Mapping[str, str], normal: tuple[str, ...], groups: Mapping[str, str]) -> Record:
    label = int(row["class"].casefold() not in normal)
    return Record(
        path=row["path"],
        label=label,
        defect=row.get("defect", row["class"]) if label else NORMAL,
        group=row.get("group", groups.get(row["path"], row["path"])),
        folder=DIVISIONS.get(row["split"], ""),
        has_mask=label == 0,
    )


def _normal(name: str, names: tuple[str, ...], stated: tuple[str, ...]) -> tuple[str, ...]:
    normal = tuple(map(str.casefold, stated or ("normal",)))
    unknown = [n for n in normal if n not in map(str.casefold, names)]
    if not normal or unknown:
        raise UserError(
            f"`{name}`: `data.normal_classes` (={', '.join(stated)}) must name the normal ones of "
            f"its classes {', '.join(names[:20])}."
        )
    return normal


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        value = value.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else -1 for part in folder.name.split("."))
