"""Images that a program gives, as paths, Pillow's or arrays, read as a detector reads files."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from ad_core.data.formats.image import stated_range
from ad_core.data.formats.pages import find_page, spread
from ad_core.data.formats.values import read_values, shown_name
from ad_core.data.layouts.files import FileSource
from ad_core.errors import UserError
from ad_core.scoring.verdict import Seen
from ad_core.types import Sample

OneImage = str | os.PathLike[str] | Image.Image | np.ndarray
Images = OneImage | Iterable[Any]
Range = tuple[float | int, float | int] | None


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
    name, _ = find_page(Path(), path)
    file = Path(os.path.realpath(name))  # a path that was given may be a link
    page = file.name + path[len(name) :]
    try:
        pages = spread(file.parent, [page], data)
    except UserError as error:
        yield Given(Seen(path, None, str(error)), None)
        return
    source = FileSource(file.parent, pages, data)
    for index, page in enumerate(pages):
        shown = name + page[len(file.name) :]
        yield _given(shown, lambda index=index: source.read(index))


def _read_values(image: Any, name: str, data: ConfigDict, value_range: Range) -> Given:
    shown = shown_name(image, name)
    options = data.to_dict()
    return _given(shown, lambda: read_values(shown, image, options, natural=value_range))


def _given(name: str, read: Any) -> Given:
    try:
        sample = read()
    except UserError as error:
        return Given(Seen(name, None, str(error)), None)
    return Given(Seen(name, sample.placement, "", sample.clipped), sample)
