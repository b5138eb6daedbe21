"""The pictures that a report shows of one image, side by side in the pixels of its file."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, UInt8

from ad_core.data.formats.resizing import reduced, to_file
from ad_core.scoring.localisation import MapScale, places_in_words, regions
from ad_core.scoring.pictures import colour, overlay, to_rgb
from ad_core.types import Placement, Sample

SIDE = 320  # pixels of the longer side, at most


class Panel(NamedTuple):
    """One picture of an image, and what it shows in a word or two."""

    name: str
    picture: UInt8[np.ndarray, "h w 3"]


class Drawn(NamedTuple):
    """An image as a report shows it. places: where it stands out, in words."""

    panels: tuple[Panel, ...]
    places: str


@runtime_checkable
class Viewable(Protocol):
    """A source that shows its images as their files have them."""

    def view(self, index: int, longest: int) -> Float[np.ndarray, "h w c"]:
        """The whole image, its longer side at most `longest` pixels."""
        ...


def picture_of(source: Any, index: int, longest: int) -> UInt8[np.ndarray, "h w 3"]:
    """The picture of an image, from its file where the source shows those, else as it is read.

    Args:
        source: what reads images, and is perhaps `Viewable`.
        longest: pixels of the longer side at most, where the file is shown.

    Raises:
        UserError: the image cannot be read.
    """
    if isinstance(source, Viewable):
        return to_rgb(source.view(index, longest))
    return to_rgb(source.read(index).image)


class Looked(NamedTuple):
    """Measurements of an image: at the network's size, the normal version None if undrawn."""

    sample: Sample
    drawn: Float[np.ndarray, "h w c"] | None
    anomaly: Float[np.ndarray, "h w"]


def draw(
    source: object,
    index: int,
    looked: Looked,
    *,
    scale: MapScale,
    min_area: float,
    inspected: bool,
) -> Drawn:
    """Image, normal version if there is one, anomaly map, map over the image, mask if any.

    Args:
        source: if it is `Viewable` the pictures show the file's pixels, else the network's.
        scale: of the maps' colours. min_area: smallest region, as a share of the image's.
        inspected: the decision on the image.
    """
    sample, drawn, anomaly = looked
    placement, image = sample.placement, sample.image
    if isinstance(source, Viewable):
        placement, image = reduced(placement, SIDE), source.view(index, SIDE)
        anomaly = to_file(anomaly, placement, unseen=scale.low)
        drawn = None if drawn is None else _enlarged(drawn, placement)
    found = regions(
        looked.anomaly, level=scale.level, min_area=min_area, placement=sample.placement
    )
    panels = [Panel("image", to_rgb(image))]
    if drawn is not None:
        panels.append(Panel("normal version", to_rgb(drawn)))
    panels.append(Panel("anomaly map", colour(scale.position(anomaly))))
    over = overlay(image, anomaly, scale, min_area=min_area)
    panels.append(Panel("map over the image", over))
    if sample.mask is not None and sample.mask.any():
        panels.append(Panel("mask", _shrunk(sample.mask, *image.shape[:2])))
    return Drawn(tuple(panels), places_in_words(found, inspected=inspected))


def _enlarged(drawn: Float[np.ndarray, "h w c"], placement: Placement) -> np.ndarray:
    """A normal version in the pixels of the view; black where the network does not look."""
    bands = [to_file(drawn[..., band], placement, unseen=-1.0) for band in range(drawn.shape[-1])]
    return np.stack(bands, axis=-1)


def _shrunk(mask: Bool[np.ndarray, "h w"], height: int, width: int) -> UInt8[np.ndarray, "_ _ 3"]:
    """White where a pixel of the mask falls; however small, it does not vanish."""
    rows, columns = np.nonzero(mask)
    picture = np.zeros((height, width, 3), np.uint8)
    picture[rows * height // mask.shape[0], columns * width // mask.shape[1]] = 255
    return picture
