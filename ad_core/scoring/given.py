"""Images that a program gives, as paths, Pillow's or arrays, read as a detector reads files."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Shaped
from ml_collections import ConfigDict
from PIL import Image

from ad_core.data.formats import raster
from ad_core.data.formats.image import ROBUST, stated_range, to_sample
from ad_core.data.formats.pages import split_page, spread
from ad_core.data.formats.stored import Limits, Stored, check_size, refuse
from ad_core.data.layouts.files import FileSource
from ad_core.errors import UserError
from ad_core.scoring.verdict import Seen
from ad_core.types import Sample

OneImage = str | os.PathLike[str] | Image.Image | np.ndarray
Images = OneImage | Iterable[Any]
Range = tuple[float | int, float | int] | None
_ALPHA = (2, 4)  # bands of which the last is no colour


class Given(NamedTuple):
    """An image that was given, and its sample; None where it could not be read."""

    seen: Seen
    sample: Sample | None


def read_all(images: Images, data: ConfigDict, value_range: Range = None) -> Iterator[Given]:
    """Yields every image of one or many, in order; of a file with several pages each page.

    Args:
        data: the section of the detector's configuration.
        value_range: of arrays, the values that are black and white; None: see `Detector.judge`.

    Raises:
        UserError: `value_range` is none, or the detector has one of its own.
    """
    if value_range is not None:
        value_range = stated_range(value_range)
        if data.value_range is not None:
            own = ",".join(map(str, data.value_range))
            raise UserError(
                f"`value_range` (={value_range}): this detector knows values from {own}, and "
                "arrays must be in their unit; leave it out."
            )
    return _read_all(images, data, value_range)


def _read_all(images: Images, data: ConfigDict, value_range: Range) -> Iterator[Given]:
    for number, image in enumerate(_each(images)):
        if isinstance(image, (str, os.PathLike)):
            yield from _read_path(os.fspath(image), data)
        else:
            yield _read_values(image, f"image {number}", data, value_range)


def _each(images: Any) -> Iterable[Any]:
    """The images one by one: an array of four axes is many, any other one."""
    if isinstance(images, np.ndarray):
        return images if images.ndim == 4 else (images,)
    if isinstance(images, (str, os.PathLike, Image.Image)) or not isinstance(images, Iterable):
        return (images,)
    return images


def _read_path(path: str, data: ConfigDict) -> Iterator[Given]:
    """Yields what score.py would read of this file."""
    name, _ = split_page(path)
    file = Path(os.path.realpath(name))  # a path that was given may be a link
    pages = spread(file.parent, [file.name + path[len(name) :]], data)
    source = FileSource(file.parent, pages, data)
    for index, page in enumerate(pages):
        shown = name + page[len(file.name) :]
        yield _given(shown, lambda index=index: source.read(index))


def _read_values(image: Any, name: str, data: ConfigDict, value_range: Range) -> Given:
    shown = getattr(image, "filename", "") or name
    options = data.to_dict()
    limits = Limits(*(options[field] for field in Limits._fields))

    def read() -> Sample:
        if isinstance(image, Image.Image):
            stored = raster.from_pillow(shown, image, limits)
        else:
            stored = _stored(shown, image, limits, own_range=_has_range(data))
        if value_range is not None:
            stored = stored._replace(natural=value_range)
        if stored.natural is None and not _has_range(data):
            _refuse_range(shown, stored.values)
        if not np.isfinite(stored.values).all():
            refuse(shown, "holds values that are not finite", "repair or remove it")
        return to_sample(
            shown,
            stored,
            size=options["image_size"],
            channels=options["channels"],
            value_range=options["value_range"],
            resize=options["resize"],
        )

    return _given(str(shown), read)


def _given(name: str, read: Any) -> Given:
    try:
        sample = read()
    except UserError as error:
        return Given(Seen(name, None, str(error)), None)
    return Given(Seen(name, sample.placement, "", sample.clipped), sample)


def _has_range(data: ConfigDict) -> bool:
    return data.value_range is not None and tuple(data.value_range) != ROBUST


def _stored(name: str, image: Any, limits: Limits, *, own_range: bool) -> Stored:
    """The values of an array, and what black and white are among them where its type says so."""
    values = np.asarray(image)
    if values.dtype.kind not in "buif":
        refuse(name, f"is {type(image).__name__}, no image", "give a path, an array or Pillow's")
    values = _bands(name, values)
    check_size(name, values.shape[1], values.shape[0], limits)
    if values.dtype.kind == "b":
        return Stored(values.astype(np.uint8), (0.0, 1.0))
    if values.dtype in (np.uint8, np.uint16):
        return Stored(values, (0.0, float(np.iinfo(values.dtype).max)))
    within = values.dtype.kind == "f" and values.size and 0 <= values.min() <= values.max() <= 1
    return Stored(values, (0.0, 1.0) if within and not own_range else None)


def _bands(name: str, values: Shaped[np.ndarray, "..."]) -> Shaped[np.ndarray, "h w *c"]:
    """Grey [h, w] or colour [h, w, 3], without alpha."""
    if values.ndim == 3 and values.shape[2] in _ALPHA:
        values = values[..., :-1]
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2 and not (values.ndim == 3 and values.shape[2] == 3):
        mend = "give [h, w] or [h, w, 1 to 4], and many images as a list"
        refuse(name, f"has the shape {values.shape}", mend)
    return values


def _refuse_range(name: str, values: Shaped[np.ndarray, "h w *c"]) -> None:
    held = f"holds {values.dtype} from {values.min():g} to {values.max():g}"
    mend = "give `value_range=(low, high)`, the values that are black and white"
    refuse(name, f"{held}; floats count from 0 to 1, other types say no range", mend)
