"""Crops of images to learn from, of the size of a tile: drawn anywhere, or where tiles lie.

A crop depends on (seed, epoch, image) alone. Of an abnormal image it holds some of its mask: what
a mask does not show cannot be learnt from a part of the image, which may well be normal.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ad_core.data.shape import Sides
from ad_core.data.tiles import Tiling, make_grid
from ad_core.errors import UserError

CROPS = ("random", "grid")


class Crop(NamedTuple):
    """Rule by which images are cropped. kind: one of CROPS. Crops have `tiling.tile` pixels a side.

    Of an image that is reduced by `tiling.scales` a crop covers as much more; each scale is as
    likely as another.
    """

    tiling: Tiling
    kind: str = "random"

    def __call__(
        self,
        image: Float[np.ndarray, "h w c"],
        mask: Bool[np.ndarray, "h w"] | None,
        *,
        seed: int,
        epoch: int,
        index: int,
    ) -> Float[np.ndarray, "t t c"]:
        """A crop of `image`; with a mask, one that holds a pixel of it that is True.

        Of kind grid without a mask, an image's crops of one epoch after the other are its tiles in
        an order of its own.

        Raises:
            UserError: a mask without a pixel that is True.
        """
        rng = np.random.default_rng((seed, epoch, index, 1))
        scale = int(rng.choice(self.tiling.scales))
        side = self.tiling.tile * scale
        if mask is not None:
            corner = _around(mask, side, rng)
        elif self.kind == "grid":
            corner = self._on_grid(image, scale, seed=seed, epoch=epoch, index=index)
        else:
            corner = _anywhere(image, (side, side), rng)
        return _reduced(_taken(image, corner, (side, side)), scale)

    def _on_grid(
        self, image: Float[np.ndarray, "h w c"], scale: int, *, seed: int, epoch: int, index: int
    ) -> tuple[int, int]:
        height, width = image.shape[:2]
        boxes = make_grid((height, width), self.tiling, scale=scale).boxes()
        round_, place = divmod(epoch, len(boxes))
        order = np.random.default_rng((seed, index, round_, 2)).permutation(len(boxes))
        left, top = boxes[order[place], :2] * scale
        return int(top), int(left)


def part_of(
    image: Float[np.ndarray, "height width c"], size: Sides, *, seed: int
) -> Float[np.ndarray, "h w c"]:
    """A part of `size` of an image, drawn by `seed`; what lies beyond it is its mirror image."""
    rng = np.random.default_rng((seed, 3))
    return _taken(image, _anywhere(image, size, rng), size)


def _anywhere(
    image: Float[np.ndarray, "h w c"], size: Sides, rng: np.random.Generator
) -> tuple[int, int]:
    """Corner of a crop that lies within the image, or at its begin where it is smaller."""
    sides = zip(image.shape[:2], size, strict=True)
    top, left = (int(rng.integers(max(0, own - side) + 1)) for own, side in sides)
    return top, left


def _around(mask: Bool[np.ndarray, "h w"], side: int, rng: np.random.Generator) -> tuple[int, int]:
    """Corner of a crop that holds a pixel of the mask, drawn at random, anywhere in it."""
    marked = np.argwhere(mask)
    if not len(marked):
        raise UserError(
            "A mask marks nothing of an abnormal image; draw it, or leave the image out."
        )
    pixel = marked[int(rng.integers(len(marked)))]
    low = np.maximum(pixel - side + 1, 0)
    high = np.minimum(pixel, np.maximum(np.array(mask.shape) - side, 0))
    top, left = (int(rng.integers(min(a, b), b + 1)) for a, b in zip(low, high, strict=True))
    return top, left


def _taken(
    image: Float[np.ndarray, "h w c"], corner: tuple[int, int], size: Sides
) -> Float[np.ndarray, "_ _ c"]:
    """The part at a corner; what lies beyond the image is its mirror image."""
    (top, left), (height, width) = corner, size
    part = image[top : top + height, left : left + width].copy()  # not to hold the whole image
    beyond = [(0, side - own) for side, own in zip(size, part.shape[:2], strict=True)]
    return np.pad(part, [*beyond, (0, 0)], mode="symmetric") if np.any(beyond) else part


def _reduced(image: Float[np.ndarray, "h w c"], scale: int) -> Float[np.ndarray, "_ _ c"]:
    if scale == 1:
        return image
    h, w, c = image.shape
    return image.reshape(h // scale, scale, w // scale, scale, c).mean(axis=(1, 3))
