"""Images that a program holds, as Pillow's or as arrays, read as files are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Shaped
from PIL import Image

from ad_core.data.formats import raster
from ad_core.data.formats.image import ROBUST, TYPE, UNFIXED, to_sample
from ad_core.data.formats.stored import Limits, Stored, check_size, refuse
from ad_core.types import Sample

_ALPHA = (2, 4)  # bands of which the last is no colour


def shown_name(image: Any, name: str) -> str:
    """The file that Pillow has opened, else `name`."""
    return str(getattr(image, "filename", "") or name)


def read_values(
    name: str,
    image: Any,
    options: Mapping[str, Any],
    *,
    natural: tuple[float, float] | None = None,
) -> Sample:
    """The image of Pillow's or of an array, as `read_image` makes it of a file.

    Args:
        name: of the image, in messages. options: config.data; its `value_range`, if it states one,
            is in the unit of the values.
        natural: the values that are black and white, in place of those that the type says.

    Raises:
        UserError: no image, one that is not read, or without a range; naming it and the mend.
    """
    stored = stored_values(name, image, options)
    if natural is not None:
        stored = stored._replace(natural=natural)
    if stored.natural is None and _range_of(options) in ((), TYPE):
        _refuse_range(name, stored.values)
    _require_finite(name, stored)
    return to_sample(
        name,
        stored,
        size=options["image_size"],
        channels=options["channels"],
        value_range=options["value_range"],
        resize=options["resize"],
        region=options["region"],
        reference=options["reference"],
        turned=options["turned"],
    )


def stored_values(name: str, image: Any, options: Mapping[str, Any]) -> Stored:
    """The values of Pillow's image or of an array as they are; arguments as `read_values`.

    uint8 and uint16 count from 0 to what they can hold, bool from 0 to 1, and so do floats, unless
    one lies beyond or `options` state a range. Raises UserError for what is no image.
    """
    limits = Limits(*(options[field] for field in Limits._fields))
    if isinstance(image, Image.Image):
        return raster.from_pillow(name, image, limits)
    states_one = _range_of(options) not in ((), TYPE, UNFIXED, ROBUST)
    return _stored(name, image, limits, own_range=states_one)


def _range_of(options: Mapping[str, Any]) -> tuple[Any, ...]:
    """The words or numbers of `value_range`; empty where nothing is said."""
    return tuple(options["value_range"] or ())


def _require_finite(name: str, stored: Stored) -> None:
    if not np.isfinite(stored.values).all():
        refuse(name, "holds values that are not finite", "repair or remove it")


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
