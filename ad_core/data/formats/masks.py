"""Masks: which pixels of a file are drawn as abnormal, however it is painted."""

import os
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Shaped

from ad_core.data.formats import nifti, raster
from ad_core.data.formats.image import read_stored
from ad_core.data.formats.kinds import read_head
from ad_core.data.formats.stored import Encoded, Limits, Wanted, read_bytes, refuse

FULL = 0.95  # share of an image beyond which a mask is hardly one: inverted, or a background


class Mask(NamedTuple):
    """A mask in its file's pixels, upright. turned: its file's EXIF orientation, 1 for none."""

    abnormal: Bool[np.ndarray, "h w"]
    turned: int


class Turn(NamedTuple):
    """The EXIF orientation of an image's file, and its width and height as it is stored."""

    orientation: int = 1
    width: int = 0
    height: int = 0


def read_mask(path: str | os.PathLike[str], wanted: Wanted, limits: Limits) -> Mask:
    """The pixels that are marked: see `marked` for pictures; of other files all that are not 0.

    Raises:
        UserError: as `ad_core.data.formats.image.read_image`.
    """
    data = read_bytes(path, limits.max_bytes, keep=nifti.is_named_volume(path))
    stored = read_stored(path, wanted, limits)
    if raster.is_raster(data):
        layers = raster.decode_layers(path, data, wanted, limits)
        return Mask(marked(stored.values, layers), stored.turned)
    return Mask(_strongest(stored.values) != 0, 1)


def marked(colour: Shaped[np.ndarray, "h w *c"], layers: raster.Layers) -> Bool[np.ndarray, "h w"]:
    """True where a picture is painted as abnormal.

    What is not black is. Of lossy files (JPEG), which blur edges, what is above half. Where
    transparency varies it is the mask if what it shows has one colour, and else bounds it. A
    palette that paints nothing black has its background at index 0.
    """
    strength = _strongest(colour)
    alpha, index = layers.alpha, layers.index
    lit = strength > (127 if layers.lossy else 0)
    if alpha is not None and alpha.min() < alpha.max():
        opaque = alpha > (int(alpha.min()) + int(alpha.max())) / 2
        if _is_one_colour(colour) or _is_one_colour(colour[opaque]):
            return opaque
        return opaque & lit
    if index is not None and strength.min() > 0 and index.min() == 0:
        return index != 0
    return lit


def _strongest(values: Shaped[np.ndarray, "h w *c"]) -> Shaped[np.ndarray, "h w"]:
    return values if values.ndim == 2 else values.max(axis=-1)


def _is_one_colour(values: Shaped[np.ndarray, "... c"]) -> bool:
    flat = values.reshape(-1, values.shape[-1]) if values.ndim > 1 else values
    return bool((flat == flat[:1]).all())


def image_turn(path: str | os.PathLike[str], limits: Limits) -> Turn:
    """Turn of an image by the EXIF tag of its file, if it has one. UserError as `read_image`."""
    if not isinstance(path, Encoded) and not raster.is_raster(read_head(path) or b""):
        return Turn()
    data = read_bytes(path, limits.max_bytes)
    return Turn(*raster.orientation(data)) if raster.is_raster(data) else Turn()


def turn_as(path: str | os.PathLike[str], mask: Mask, turn: Turn) -> Bool[np.ndarray, "h w"]:
    """The mask upright as its image is, whether it was drawn on the stored or the turned pixels.

    The shape tells which, where width and height change places and differ.

    Raises:
        UserError: naming the mask's `path`, where the shape cannot tell.
    """
    if turn.orientation == 1 or mask.turned != 1:
        return mask.abnormal
    height, width = mask.abnormal.shape
    if turn.orientation < 5 or turn.width == turn.height or width == height:
        problem = (
            f"its image is turned by an EXIF tag (={turn.orientation}), and its shape cannot tell "
            "whether it was drawn before or after that"
        )
        refuse(path, problem, "save the image upright, without the tag")
    as_stored = (width > height) == (turn.width > turn.height)
    return raster.upright(mask.abnormal, turn.orientation) if as_stored else mask.abnormal


def covered(mask: Bool[np.ndarray, "h w"] | None) -> float:
    """Share of the pixels that are marked, 0 without a mask."""
    return 0.0 if mask is None else float(mask.mean())
