"""Localisation of what is abnormal: a blurred map, its regions, one scale for all maps."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import ndimage

from ad_core.data.formats.resizing import box_to_file
from ad_core.errors import UserError
from ad_core.statistics.filters import separable
from ad_core.types import Placement, View

_TRUNCATE = 4.0  # the Gaussian ends after this many standard deviations
_EIGHT_NEIGHBOURS = np.ones((3, 3), bool)


RESIDUAL = ""  # the name of the map between an image and its normal version


class Localiser(NamedTuple):
    """Rule that turns a view into the map that localises.

    map: a map of the view by name; None: the one that the view itself names.
    sigma_px: standard deviation of the blur in pixels; 0 or less is no blur.
    """

    map: str | None
    sigma_px: float

    def fits(self, view: View) -> bool:
        """Tells whether a view, given as arrays or as shapes, has that map."""
        name = view.anomaly if self.map is None else self.map
        return name in view.maps or (name == RESIDUAL and view.image is not None)

    def __call__(self, image: Float[Array, "b h w c"], view: View) -> Float[Array, "b h w"]:
        """The map at the image's size, blurred, in float32; high is abnormal."""
        name = view.anomaly if self.map is None else self.map
        if name == RESIDUAL:
            assert view.image is not None  # `fits` saw to it
            return anomaly_map(image, view.image, sigma_px=self.sigma_px)
        found = view.maps[name].astype(jnp.float32)
        full = jax.image.resize(found, (len(found), *image.shape[1:3]), "linear", antialias=False)
        return blur(full, sigma_px=self.sigma_px)


def anomaly_map(
    image: Float[Array, "b h w c"],
    drawn: Float[Array, "b h w c"],
    *,
    sigma_px: float,
) -> Float[Array, "b h w"]:
    """Mean over the channels of |x - x̂|, blurred by a Gaussian, in float32.

    Args:
        sigma_px: standard deviation of the blur in pixels, a Python number; 0 or less is no blur.

    Returns:
        [b, h, w] in the unit of the images (0 to 2 for images in [-1, 1]); high is abnormal.
    """
    difference = image.astype(jnp.float32) - drawn.astype(jnp.float32)
    return blur(jnp.mean(jnp.abs(difference), axis=-1), sigma_px=sigma_px)


def blur(maps: Float[Array, "b h w"], *, sigma_px: float) -> Float[Array, "b h w"]:
    """Gaussian blur, cut at 4 sigma, mirrored at the border with the edge pixel repeated.

    The same as `scipy.ndimage.gaussian_filter(map, sigma_px, mode="reflect", truncate=4)`.
    """
    if sigma_px <= 0:
        return maps
    kernel = _gaussian(sigma_px).tolist()
    radius = len(kernel) // 2
    padded = jnp.pad(maps, ((0, 0), (radius, radius), (radius, radius)), mode="symmetric")
    return separable(padded[..., None], kernel, kernel)[..., 0]


def _gaussian(sigma_px: float) -> np.ndarray:
    radius = int(_TRUNCATE * sigma_px + 0.5)
    offset = np.arange(-radius, radius + 1)
    weight = np.exp(-0.5 * (offset / sigma_px) ** 2)
    return (weight / weight.sum()).astype(np.float32)


def regions(
    anomaly: Float[np.ndarray, "h w"], *, level: float, min_area: float, placement: Placement
) -> list[dict[str, Any]]:
    """Connected areas (8 neighbours) of a map above `level`, the strongest first.

    Args:
        level: a region's pixels lie strictly above it. Pixels that are not finite belong to none:
            such an image has no finite score and goes to inspection whatever its regions.
        min_area: smallest region kept, as a share in [0, 1] of the area that shows the image; of a
            large image, by the pixels that a map at its own size would have.
        placement: what of the original image the map shows, and where; no region lies beyond it.

    Returns:
        Plain numbers for JSON: `x`, `y`, `width`, `height` (the box, whole pixels of the original
        that cover the region), `area` (pixels of the original), `peak`, `mean` (of the map).
    """
    anomaly = np.asarray(anomaly)
    labelled = np.zeros(anomaly.shape, np.int32)
    left, top, right, bottom = placement.content
    above = np.zeros(anomaly.shape, bool)
    shown = anomaly[top:bottom, left:right]
    above[top:bottom, left:right] = np.isfinite(shown) & (shown > level)
    ndimage.label(above, structure=_EIGHT_NEIGHBOURS, output=labelled)
    across, down = placement.scale if placement.large else (1.0, 1.0)
    least = min_area * shown.size / (across * down)
    found = []
    for number, box in enumerate(ndimage.find_objects(labelled), start=1):
        inside = anomaly[box][labelled[box] == number]
        if inside.size >= least:
            found.append(_region(inside, box, placement))
    return sorted(found, key=lambda region: -region["peak"])


def _region(inside: np.ndarray, box: tuple[slice, slice], placement: Placement) -> dict[str, Any]:
    rows, columns = box
    left, top, right, bottom = box_to_file(
        (columns.start, rows.start, columns.stop, rows.stop), placement
    )
    across, down = placement.scale
    return {
        "x": left,
        "y": top,
        "width": right - left,
        "height": bottom - top,
        "area": round(inside.size * across * down),
        "peak": float(inside.max()),
        "mean": float(inside.mean(dtype=np.float64)),
    }


def places_in_words(found: Sequence[Mapping[str, Any]], *, inspected: bool) -> str:
    """Words on the regions of an image: how many there are and where the strongest is.

    Args:
        found: as `regions` gives them. inspected: the decision on the image, which may rest on
            what no single place shows.
    """
    if not found:
        whole = "; the image as a whole does" if inspected else ""
        return f"no place stands out{whole}"
    size = "{width} x {height} px at x {x}, y {y}".format_map(found[0])
    if len(found) == 1:
        return f"1 place stands out: {size}"
    return f"{len(found)} places stand out, the strongest: {size}"


OCTAVES = 3  # doublings of the level's height that the hot half of the colours shows


class MapScale(NamedTuple):
    """Scale from maps to colours, the same for every image of a detector.

    low: shown as the coldest colour. level: a region lies above it. high: twice as far from low.
    Colours are in proportion up to the level; beyond it each doubling of the distance from low
    takes as many, OCTAVES of them to the hottest, so that what is below a strong defect shows.
    """

    low: float
    high: float
    level: float

    def to_dict(self) -> dict[str, float]:
        """Plain numbers for JSON."""
        return dict(self._asdict())

    @classmethod
    def from_dict(cls, values: dict[str, float]) -> "MapScale":
        """The inverse of `to_dict`."""
        return cls(*(float(values[name]) for name in cls._fields))

    def position(self, anomaly: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Position of each value on the colours from 0 to 1, cut off outside; NaN is 1.

        The level lies at its share of the way from low to high. Where it is high itself all is in
        proportion, and 1 is high or more.
        """
        width = self.high - self.low
        share = (np.asarray(anomaly, np.float32) - self.low) / width
        share = np.nan_to_num(share, nan=1e9, posinf=1e9, neginf=-1e9)
        knee = (self.level - self.low) / width
        doublings = np.log2(np.clip(share / max(knee, 1e-12), 1.0, 2.0**OCTAVES))
        return np.clip(share, 0.0, knee) + (1.0 - knee) * doublings / OCTAVES


def fit_scale(maps: Iterable[Float[np.ndarray, "_ _ _"]], *, level_quantile: float) -> MapScale:
    """One scale from the maps of calibration normals, given in batches, of any sizes.

    low is the median over the images of the map's median. level is the k-th lowest of the images'
    maxima, k = ceil((n + 1) level_quantile): of normal images to come at least that share shows no
    region on average, however few calibrate. Where k exceeds n, too few do, and it is the highest.
    high = low + 2 (level - low): the level stands at half the colours, and the hot half is left to
    what few normal parts reach.

    Args:
        maps: without what lies beside the image, such as the mirrored border of a letterbox.

    Raises:
        UserError: there is no map, or a value is not finite.
    """
    medians: list[float] = []
    maxima: list[float] = []
    for batch in maps:
        flat = np.asarray(batch, np.float64).reshape(len(batch), -1)
        medians.extend(np.median(flat, axis=1))
        maxima.extend(flat.max(axis=1))
    if not maxima or not np.isfinite(maxima).all():
        raise UserError(
            f"The scale of the anomaly maps needs finite maps of calibration normals; "
            f"{len(maxima)} given, {int(np.isfinite(maxima).sum())} finite."
        )
    rank = min(len(maxima), max(1, math.ceil((len(maxima) + 1) * level_quantile - 1e-9)))
    low, level = float(np.median(medians)), float(sorted(maxima)[rank - 1])
    # A perfect reconstruction leaves flat maps; any width then serves.
    half = max(level - low, 1e-6)
    return MapScale(low=low, high=low + 2 * half, level=level)
