"""Resizing from an image of any size to the network's and back: stretch, letterbox, crop, none."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Shaped
from PIL import Image

from ad_core.data.shape import ImageSize, sides
from ad_core.errors import UserError
from ad_core.types import Box, Placement

PROPORTIONS = "proportions"
STRETCHING = ("stretch", PROPORTIONS)
RESIZES = (*STRETCHING, "letterbox", "centre_crop", "own_size")
MIRRORING = ("letterbox", "own_size")  # those that leave room beside the image


def place(width: int, height: int, *, size: ImageSize, resize: str) -> Placement:
    """Placement of an image of width x height pixels in the network's image.

    stretch: all of it fills the network's image; its sides may be scaled apart. proportions: the
    same, in an image whose sides `ad_core.data.proportions` has chosen.
    letterbox: all of it, both sides scaled alike (to whole pixels), in the middle.
    centre_crop: the largest part in its middle that has the shape of the network's image; what
    lies outside is not looked at.
    own_size: all of it, pixel by pixel, in the upper left corner. A larger one is stretched: this
    is how it is shown, and where its map lies.

    Args:
        size: of the network's image, as `data.image_size`.

    Raises:
        UserError: another `resize`.
    """
    high, wide = sides(size)
    whole, full = (0, 0, width, height), (0, 0, wide, high)
    if resize in STRETCHING:
        return Placement(width, height, (high, wide), whole, full)
    if resize == "letterbox":
        inner = _centred(wide, high, *_fitted(width, height, wide, high))
        return Placement(width, height, (high, wide), whole, inner)
    if resize == "centre_crop":
        inner = _centred(width, height, *_fitted(wide, high, width, height))
        return Placement(width, height, (high, wide), inner, full)
    if resize == "own_size":
        fits = width <= wide and height <= high
        inner = whole if fits else full
        return Placement(width, height, (high, wide), whole, inner, large=not fits)
    raise UserError(f"`data.resize` (={resize!r}) must be one of {', '.join(RESIZES)}.")


def _fitted(width: int, height: int, across: int, down: int) -> tuple[int, int]:
    """Width and height of the largest box shaped as width x height within across x down."""
    if width * down >= height * across:
        return across, max(1, round(height * across / width))
    return max(1, round(width * down / height)), down


def _centred(width: int, height: int, across: int, down: int) -> Box:
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def to_network(band: Float[np.ndarray, "h w"], placement: Placement) -> Float[np.ndarray, "h2 w2"]:
    """The part shown, antialiased bicubic in float, and its mirror image around it.

    Args:
        band: the file's image, or all of it reduced.
    """
    own = band.shape == (placement.height, placement.width)
    if own and placement.shown == placement.content:  # pixel by pixel
        left, top, right, bottom = placement.shown
        return _mirrored(band[top:bottom, left:right], placement)
    left, top, right, bottom = placement.content
    box, (height, width) = placement.shown, band.shape
    if (width, height) != (placement.width, placement.height):
        across, down = width / placement.width, height / placement.height
        box = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
    small = Image.fromarray(band).resize(
        (right - left, bottom - top), Image.Resampling.BICUBIC, box=box
    )
    return _mirrored(np.asarray(small), placement)


def mask_to_network(
    mask: Bool[np.ndarray, "h w"], placement: Placement
) -> Bool[np.ndarray, "h2 w2"]:
    """The mask at the network's size: the nearest pixels of the part shown.

    If none of them is True, each cell is True that holds a True pixel of the file.
    """
    left, top, right, bottom = placement.shown
    part = mask[top:bottom, left:right]
    height, width = part.shape
    across, down = _extent(placement.content)
    small = nearest(part, height=down, width=across).copy()
    if not small.any():
        rows, columns = np.nonzero(part)
        small[rows * down // height, columns * across // width] = True
    return _mirrored(small, placement)


def nearest(
    mask: Bool[np.ndarray, "h w"], *, height: int, width: int
) -> Bool[np.ndarray, "height width"]:
    """The mask resized: each new pixel takes the old one that holds its centre.

    May be the same array.
    """
    if mask.shape == (height, width):
        return mask
    rows, columns = (
        ((np.arange(side) + 0.5) / side * own).astype(int)
        for side, own in zip((height, width), mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]


def reduce_area(image: Float[np.ndarray, "h w"], size: ImageSize) -> Float[np.ndarray, "h2 w2"]:
    """Mean over the area of each new pixel, also where sizes do not divide.

    Args:
        size: the side of a square, or height and width; none above that of `image`.
    """
    height, width = sides(size)
    if image.shape == (height, width):
        return image
    return _mean_rows(_mean_rows(image, height).T, width).T


def _mean_rows(image: Float[np.ndarray, "h w"], size: int) -> Float[np.ndarray, "size w"]:
    side = image.shape[0]
    if side % size == 0:
        step = side // size
        return image.reshape(size, step, -1).sum(axis=1) * np.float32(size / side)
    total = np.zeros((side + 1, image.shape[1]))
    np.cumsum(image, axis=0, dtype=np.float64, out=total[1:])
    edge = np.arange(size + 1) * (side / size)
    low = np.minimum(edge.astype(int), side - 1)
    at_edge = total[low] + (edge - low)[:, None] * (total[low + 1] - total[low])
    return (np.diff(at_edge, axis=0) * (size / side)).astype(np.float32)


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


def _extent(box: Box) -> tuple[int, int]:
    left, top, right, bottom = box
    return right - left, bottom - top


def _mirrored(content: Shaped[np.ndarray, "h w"], placement: Placement) -> np.ndarray:
    left, top, right, bottom = placement.content
    height, width = placement.size
    beyond = ((top, height - bottom), (left, width - right))
    return np.pad(content, beyond, mode="symmetric") if any(map(any, beyond)) else content


def mirror(image: Float[Array, "b h w c"], content: Int[Array, "b 4"]) -> Float[Array, "b h w c"]:
    """Each image with its mirror image around its content, a `Box`; to be compiled."""
    _, height, width, _ = image.shape

    def places(start: Array, stop: Array, side: int) -> Array:
        start, length = start[:, None], (stop - start)[:, None]
        away = jnp.mod(jnp.arange(side)[None] - start, 2 * length)
        return start + jnp.minimum(away, 2 * length - 1 - away)

    left, top, right, bottom = content.T
    image = jnp.take_along_axis(image, places(top, bottom, height)[:, :, None, None], axis=1)
    return jnp.take_along_axis(image, places(left, right, width)[:, None, :, None], axis=2)


def to_file(
    anomaly: Float[np.ndarray, "h2 w2"], placement: Placement, *, unseen: float
) -> Float[np.ndarray, "h w"]:
    """A map of a network's image in the file's pixels, bilinear; `unseen` beyond what it shows."""
    left, top, right, bottom = placement.content
    content = np.ascontiguousarray(anomaly[top:bottom, left:right], np.float32)
    large = Image.fromarray(content).resize(_extent(placement.shown), Image.Resampling.BILINEAR)
    if _extent(placement.shown) == (placement.width, placement.height):
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
