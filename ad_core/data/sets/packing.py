"""Known sets as data sets of TensorFlow Datasets: array_record of the files' own bytes.

TensorFlow is not needed. A set is one file in ad_core/data/sets with a `PackedSet`.
"""

import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Bool
from ml_collections import ConfigDict
from PIL import Image

from ad_core.data.layouts.files import LabelledFiles
from ad_core.data.layouts.tfds import data_dir as place_of
from ad_core.data.sets.known_set import KnownSet, open_known
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults

FIRST = "1.0.0"
UNDIVIDED = "undivided"  # the split of a set that nothing divides


@dataclasses.dataclass
class Category(tfds.core.BuilderConfig):
    """One of several sets of a kind, such as a category of MVTec AD."""


class PackedSet(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A builder of a known set from a copy at `manual_dir`; `pack` runs it.

    An example is `image` (the file as it is), `label` (normal, abnormal), `defect`, `group`, `path`
    and, where the set has masks, `mask` (PNG, white = abnormal, several of an image united) and
    `has_mask`, without which the mask is one black pixel. Splits are train and test as they lie on
    disk, or `undivided`.
    """

    KNOWN: ClassVar[KnownSet]
    VERSION = tfds.core.Version(FIRST)
    RELEASE_NOTES: ClassVar[dict[str, str]] = {FIRST: "The first."}
    # There are no checksums of downloads to look for; on Python 3.12 and later TFDS 4.9.10 would
    # import a package for it (importlib_resources) that it does not require.
    code_path = None
    MANUAL_DOWNLOAD_INSTRUCTIONS = "See KNOWN.fetch and KNOWN.tree."

    def open_copy(self, data: ConfigDict) -> LabelledFiles:
        """The files to pack; `data.root` is the manual directory."""
        return open_known(self.KNOWN, data)

    def _info(self) -> tfds.core.DatasetInfo:
        features: dict[str, Any] = {
            "image": tfds.features.Image(shape=(None, None, None)),
            "label": tfds.features.ClassLabel(names=["normal", "abnormal"]),
            **{name: tfds.features.Text() for name in ("defect", "group", "path")},
        }
        if self.KNOWN.masks:
            features["mask"] = tfds.features.Image(shape=(None, None, 1))
            features["has_mask"] = tfds.features.Scalar(np.bool_)
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{self.KNOWN.title}: {self.KNOWN.tree}.",
            features=tfds.features.FeaturesDict(features),
            license=self.KNOWN.licence,
            citation=self.KNOWN.source,
            supervised_keys=("image", "label"),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        source = self.open_copy(_options(dl_manager.manual_dir))
        folders = sorted({record.folder for record in source.records})
        return {folder or UNDIVIDED: self._generate_examples(source, folder) for folder in folders}

    def _generate_examples(
        self, source: LabelledFiles, folder: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for index, record in enumerate(source.records):
            if record.folder != folder:
                continue
            path, _ = source.locate(index)
            example: dict[str, Any] = {
                "image": io.BytesIO(Path(path).read_bytes()),
                "label": record.label,
                "defect": record.defect,
                "group": record.group,
                "path": record.path,
            }
            if self.KNOWN.masks:
                mask = _mask(source, index)
                example["has_mask"] = mask is not None
                example["mask"] = io.BytesIO(_png(np.zeros((1, 1), bool) if mask is None else mask))
            yield record.path, example


def pack(builder: type[PackedSet], root: str, *, data_dir: str = "", config: str = "") -> Path:
    """Builds one set from the copy at `root`; the folder of the data set, found if it is there.

    Args:
        data_dir: of all data sets; as `ad_core.data.layouts.tfds.data_dir`.
        config: of a set that has several.

    Raises:
        UserError: no copy, or one with another tree; a place that cannot be written.
    """
    known = [item.name for item in builder.BUILDER_CONFIGS]
    if known and config not in known:
        raise UserError(f"{builder.KNOWN.name}/{config}: name one of {', '.join(known)}.")
    made = builder(
        **({"config": config} if config else {}),
        data_dir=place_of(data_dir),
        file_format="array_record",
    )
    made.open_copy(_options(root))  # its message says what is wrong, that of TFDS would not
    download = tfds.download.DownloadConfig(manual_dir=Path(root), try_download_gcs=False)
    try:
        made.download_and_prepare(download_config=download)
    except OSError as error:
        raise UserError(f"{made.data_path}: cannot be built ({error}).") from error
    return Path(made.data_path)


def _options(root: Any) -> ConfigDict:
    data = defaults("cpu").data
    data.root = str(root)
    return data


def _mask(source: LabelledFiles, index: int) -> Bool[np.ndarray, "h w"] | None:
    """Mask as its file has it; None without one, or where image or mask cannot be read."""
    try:
        sample, own = source.read(index), source.read_mask(index)
    except UserError:
        return None
    return sample.mask if own is None else own


def _png(mask: Bool[np.ndarray, "h w"]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(stream, format="PNG", optimize=True)
    return stream.getvalue()
