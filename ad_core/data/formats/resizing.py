"""From an image of any size to the network's square and back: stretch, letterbox, centre crop."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped
from PIL import Image

from ad_core.errors import UserError

RESIZES = ("stretch", "letterbox", "centre_crop")
Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom lie outside


class Placement(NamedTuple):
    """Which part of a file's image a square shows, and where in the square it lies.

    width, height: of the file's image, in pixels. size: side of the square.
    shown: the part, in the file's pixels. content: where it lies, in the square's. What of the
    square lies beyond it is the mirror image of the content.
    """

    width: int
    height: int
    size: int
    shown: Box
    content: Box

    @property
    def scale(self) -> tuple[float, float]:
        """The file's pixels for one of the square, across and down."""
        (l0, t0, r0, b0), (l1, t1, r1, b1) = self.shown, self.content
        return (r0 - l0) / (r1 - l1), (b0 - t0) / (b1 - t1)


def place(width: int, height: int, *, size: int, resize: str) -> Placement:
    """Where an image of width x height pixels comes to lie.

    stretch: all of it fills the square; its sides may be scaled apart.
    letterbox: all of it, both sides scaled alike (to whole pixels of the square), in the middle.
    centre_crop: the largest square in its middle; what lies outside is not looked at.

    Raises:
        UserError: another `resize`.
    """
    whole, full = (0, 0, width, height), (0, 0, size, size)
    if resize == "stretch":
        return Placement(width, height, size, whole, full)
    if resize == "letterbox":
        longer = max(width, height)
        across, down = (max(1, round(side * size / longer)) for side in (width, height))
        return Placement(width, height, size, whole, _centred(size, size, across, down))
    if resize == "centre_crop":
        side = min(width, height)
        return Placement(width, height, size, _centred(width, height, side, side), full)
    raise UserError(f"`data.resize` (={resize!r}) must be one of {', '.join(RESIZES)}.")


def _centred(width: int, height: int, across: int, down: int) -> Box:
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def to_square(band: Float[np.ndarray, "h w"], placement: Placement) -> Float[np.ndarray, "s s"]:
    """The part shown, antialiased bicubic in float, and its mirror image around it."""
    left, top, right, bottom = placement.content
    small = Image.fromarray(band).resize(
        (right - left, bottom - top), Image.Resampling.BICUBIC, box=placement.shown
    )
    return _mirrored(np.asarray(small), placement)


def mask_to_square(mask: Bool[np.ndarray, "h w"], placement: Placement) -> Bool[np.ndarray, "s s"]:
    """The nearest pixels of the part shown; if none of them is True, every cell that holds one."""
    left, top, right, bottom = placement.shown
    part = mask[top:bottom, left:right]
    height, width = part.shape
    across, down = _sides(placement.content)
    rows = ((np.arange(down) + 0.5) / down * height).astype(int)
    columns = ((np.arange(across) + 0.5) / across * width).astype(int)
    small = part[np.ix_(rows, columns)]
    if not small.any():
        rows, columns = np.nonzero(part)
        small[rows * down // height, columns * across // width] = True
    return _mirrored(small, placement)


def view_size(width: int, height: int, *, longest: int) -> tuple[int, int]:
    """Width and height of an image whose longer side is reduced to `longest`, if it is longer."""
    by = min(1.0, longest / max(width, height))
    return max(1, round(width * by)), max(1, round(height * by))


def reduced(placement: Placement, longest: int) -> Placement:
    """The placement of the image that `view_size` makes of the file's."""
    width, height = view_size(placement.width, placement.height, longest=longest)
    across, down = width / placement.width, height / placement.height
    left, top, right, bottom = placement.shown
    left, top = round(left * across), round(top * down)
    shown = (
        left,
        top,
        max(left + 1, round(right * across)),
        max(top + 1, round(bottom * down)),
    )
    return placement._replace(width=width, height=height, shown=shown)


def _sides(box: Box) -> tuple[int, int]:
    left, top, right, bottom = box
    return right - left, bottom - top


def _mirrored(content: Shaped[np.ndarray, "h w"], placement: Placement) -> np.ndarray:
    left, top, right, bottom = placement.content
    size = placement.size
    beyond = ((top, size - bottom), (left, size - right))
    return np.pad(content, beyond, mode="symmetric") if any(map(any, beyond)) else content


def mirror(image: Float[Array, "b s s c"], content: Int[Array, "b 4"]) -> Float[Array, "b s s c"]:
    """Each image with its mirror image around its content, a `Box`; to be compiled."""

    def places(start: Array, stop: Array) -> Array:
        start, length = start[:, None], (stop - start)[:, None]
        away = jnp.mod(jnp.arange(image.shape[1])[None] - start, 2 * length)
        return start + jnp.minimum(away, 2 * length - 1 - away)

    left, top, right, bottom = content.T
    image = jnp.take_along_axis(image, places(top, bottom)[:, :, None, None], axis=1)
    return jnp.take_along_axis(image, places(left, right)[:, None, :, None], axis=2)


def to_file(
    anomaly: Float[np.ndarray, "s s"], placement: Placement, *, unseen: float
) -> Float[np.ndarray, "h w"]:
    """A map of the square in the file's pixels, bilinear; `unseen` beyond what it shows."""
    left, top, right, bottom = placement.content
    content = np.ascontiguousarray(anomaly[top:bottom, left:right], np.float32)
    large = Image.fromarray(content).resize(_sides(placement.shown), Image.Resampling.BILINEAR)
    if _sides(placement.shown) == (placement.width, placement.height):
        return np.asarray(large)
    found = np.full((placement.height, placement.width), unseen, np.float32)
    left, top, right, bottom = placement.shown
    found[top:bottom, left:right] = np.asarray(large)
    return found


def box_to_file(box: Box, placement: Placement) -> Box:
    """The whole pixels of the file that cover a box within the content."""
    (l0, t0, r0, b0), (l1, t1, r1, b1) = placement.shown, placement.content
    (across, wide), (down, high) = (r0 - l0, r1 - l1), (b0 - t0, b1 - t1)
    left, top = l0 + (box[0] - l1) * across // wide, t0 + (box[1] - t1) * down // high
    right, bottom = l0 - (l1 - box[2]) * across // wide, t0 - (t1 - box[3]) * down // high
    return left, top, right, bottom
