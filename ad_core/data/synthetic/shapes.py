"""Shapes of made-up defects: where in an image one lies.

Lengths are shares of the geometric mean of the image's sides, so that they mean the same at any
size.
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

Shape = tuple[int, int]
Mask = Bool[np.ndarray, "h w"]
Point = tuple[float | int, float | int]


def side_of(shape: Shape) -> float:
    """Length that the shares refer to, in pixels."""
    return math.sqrt(shape[0] * shape[1])


def box_of(shape: Shape, *, area: float, aspect: float) -> Shape:
    """Height and width of a box, at least 2 pixels where the image has more.

    Args:
        area: as a share of the image's. aspect: of width to height.
    """
    across = side_of(shape) * math.sqrt(area)
    sides = across / math.sqrt(aspect), across * math.sqrt(aspect)
    height, width = (
        max(1, min(max(2, round(one)), most - 1)) for one, most in zip(sides, shape, strict=True)
    )
    return height, width


def draw_point(shape: Shape, rng: np.random.Generator) -> Point:
    """A place of the image, all alike."""
    return float(rng.uniform(0, shape[0] - 1)), float(rng.uniform(0, shape[1] - 1))


def turned_offsets(shape: Shape, centre: Point, angle: float) -> Float[np.ndarray, "2 h w"]:
    """Offset of each pixel from a centre, in pixels along axes turned by an angle in radians."""
    rows, columns = np.indices(shape, np.float64)
    down, across = rows - centre[0], columns - centre[1]
    cos, sin = math.cos(angle), math.sin(angle)
    return np.stack([cos * down + sin * across, cos * across - sin * down])


def ellipse(shape: Shape, centre: Point, radii: Point, angle: float) -> Mask:
    """Pixels within an ellipse of these radii in pixels."""
    down, across = turned_offsets(shape, centre, angle)
    return (down / radii[0]) ** 2 + (across / radii[1]) ** 2 <= 1.0


def stroke(shape: Shape, points: Sequence[Point], width_px: float) -> Mask:
    """Pixels within half a width of a quadratic Bézier curve; never none if it begins inside.

    Args:
        points: start, control point and end, as (row, column).
    """
    start, control, end = (np.array(point) for point in points)
    t = np.linspace(0.0, 1.0, 4 * sum(shape))[:, None]
    curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * control + t**2 * end
    cells = np.round(curve).astype(int)
    inside = ((cells >= 0) & (cells < np.array(shape))).all(axis=1)
    line = np.ones(shape, bool)
    line[tuple(cells[inside].T)] = False
    distance = np.asarray(ndimage.distance_transform_edt(line))
    return distance <= max(width_px - 1.0, 0.0) / 2.0


def perlin(shape: Shape, cells: Shape, rng: np.random.Generator) -> Float[np.ndarray, "h w"]:
    """Gradient noise in [-1, 1], 0 at the corners of `cells` (down, across).

    Source: Perlin, "An image synthesizer", SIGGRAPH 1985, with the smoother fade of 2002; scaled
    by sqrt(2), which the DRAEM paper's masks are drawn with.
    """
    angle = rng.uniform(0, 2 * math.pi, (cells[0] + 1, cells[1] + 1))
    y, x = (np.arange(n) * of / n for n, of in zip(shape, cells, strict=True))
    row, column = y.astype(int), x.astype(int)
    dy, dx = (y - row)[:, None], (x - column)[None, :]

    slopes = np.cos(angle), np.sin(angle)

    def corner(down: int, across: int) -> np.ndarray:
        at = np.ix_(row + down, column + across)
        return slopes[0][at] * (dy - down) + slopes[1][at] * (dx - across)

    def fade(t: np.ndarray) -> np.ndarray:
        return t**3 * (t * (t * 6 - 15) + 10)

    down, across = fade(dy), fade(dx)
    upper = corner(0, 0) + across * (corner(0, 1) - corner(0, 0))
    lower = corner(1, 0) + across * (corner(1, 1) - corner(1, 0))
    return math.sqrt(2.0) * (upper + down * (lower - upper))


def one_island(mask: Mask, rng: np.random.Generator, *, least: int) -> Mask:
    """A connected part of a mask, drawn among those of `least` pixels; empty if there is none."""
    labelled: np.ndarray = ndimage.label(mask)[0]  # pyright: ignore[reportIndexIssue]
    sizes = np.bincount(labelled.ravel())
    large = [label for label in range(1, sizes.size) if sizes[label] >= least]
    return labelled == rng.choice(large) if large else np.zeros_like(mask)
