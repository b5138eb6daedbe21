"""Height, width and channels of the images that a network sees, as `config.data` states them."""

from collections.abc import Iterable, Mapping, Sequence
from operator import index
from typing import Any

from ml_collections import ConfigDict

from ad_core.errors import UserError

ImageSize = int | str | Sequence[int]  # the side of a square, or height and width: "64,96"
Sides = tuple[int, int]  # height and width


def image_shape(data: ConfigDict | Mapping[str, Any]) -> tuple[int, int, int]:
    """Height, width and channels of every image of a run.

    Args:
        data: config.data, whose `image_size` is the side of a square, or HEIGHT,WIDTH.

    Raises:
        UserError: `image_size` is neither.
    """
    height, width = sides(data["image_size"])
    return height, width, int(data["channels"])


def sides(size: Any) -> Sides:
    """Height and width in pixels that an `ImageSize` states. Raises UserError if it is none."""
    try:
        parts = map(int, size.split(",")) if isinstance(size, str) else size
        stated = [index(side) for side in (parts if isinstance(parts, Iterable) else [parts])]
    except (TypeError, ValueError):
        stated = []
    if len(stated) not in (1, 2) or min(stated) < 1:
        raise UserError(
            f"`data.image_size` (={told(size)}) must be the side of a square in pixels, or a "
            "height and a width: 64 or 64,96."
        )
    return stated[0], stated[-1]


def told(size: Any) -> str:
    """A size as a user writes it: 64, or 64,96."""
    return ",".join(map(str, size)) if isinstance(size, tuple | list) else str(size)


def check_divisible_sides(data: ConfigDict | Mapping[str, Any], factor: int, reason: str) -> None:
    """Refuses an image whose height or width a network cannot halve as often as it must.

    Args:
        reason: where `factor` comes from, e.g. "the downsampling of the generators".

    Raises:
        UserError: a side is not divisible by `factor`.
    """
    if any(side % factor for side in image_shape(data)[:2]):
        raise UserError(
            f"`data.image_size` (={told(data['image_size'])}) must be divisible by {factor}, "
            f"{reason}."
        )


def check_square(data: ConfigDict | Mapping[str, Any], reason: str) -> None:
    """Refuses an image that is no square, where something needs one.

    Args:
        reason: what needs it, and the mend, as the end of a sentence.

    Raises:
        UserError: height and width differ.
    """
    height, width, _ = image_shape(data)
    if height != width:
        size = told(data["image_size"])
        raise UserError(f"`data.image_size` (={size}) must be a square: {reason}.")
