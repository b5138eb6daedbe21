"""Made-up defects in normal images: a kind is one function and one line in KINDS.

All is drawn from the image itself or from noise: no set of textures is needed. They are no abnormal
images, and nothing is promised of abnormal images by them.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import sparse
from scipy.sparse.linalg import spsolve

from ad_core.data.synthetic import shapes
from ad_core.errors import UserError

Image = Float[np.ndarray, "h w c"]
Mask = Bool[np.ndarray, "h w"]

MISSING = "missing"  # the kind that a method's own normal version may fill
_TRIES = 8  # places that are tried for one that can be seen
_VISIBLE = 0.1  # mean |change| over the mask, of a range of 2


class Defect(NamedTuple):
    """Image with a made-up defect. mask: True where, and only where, it is another than before."""

    image: Image
    mask: Mask


def make_defect(kind: str, image: Image, rng: np.random.Generator) -> Defect:
    """`image` with a defect of one kind; all pixels outside its mask keep their bits.

    A defect that hardly differs from what was there is drawn again elsewhere; after 8 of them the
    strongest is taken. Of an image in which a kind has nothing to change the mask is empty.

    Args:
        kind: one of KINDS. image: float32 in [-1, 1]; what is drawn stays in that range.

    Raises:
        UserError: unknown kind.
    """
    check_kinds((kind,))
    best, strongest = Defect(image, np.zeros(image.shape[:2], bool)), 0.0
    for _ in range(_TRIES):
        drawn = _differing(image, KINDS[kind](image, rng))
        strength = _strength(image, drawn)
        if strength > strongest:
            best, strongest = drawn, strength
        if strongest >= _VISIBLE:
            break
    return best


def refilled(image: Image, gone: Defect, drawn: Image) -> Defect:
    """A part that is gone, filled with what a method draws there in place of the rim's fill.

    Brought to the rim's level by a smooth difference, so that no seam betrays it. Where the method
    puts the part back, so that hardly anything differs from the image, `gone` stays.

    Args:
        image: without the defect. gone: what `make_defect` made of it. drawn: a normal version of
            `gone.image`, in [-1, 1].

    Source: the seamless cloning of Pérez et al. 2003, "Poisson image editing", by its membrane.
    """
    level = fill(gone.image - drawn, gone.mask)
    inside = np.where(gone.mask[..., None], drawn + level, image)
    found = _differing(image, inside)
    enough = min(_VISIBLE, _strength(image, gone))
    return found if _strength(image, found) >= enough else gone


def _differing(image: Image, drawn: Image) -> Defect:
    drawn = np.clip(drawn, -1.0, 1.0).astype(np.float32)
    mask = (drawn != image).any(axis=-1)
    return Defect(np.where(mask[..., None], drawn, image), mask)


def _strength(image: Image, drawn: Defect) -> float:
    return float(np.abs(drawn.image - image)[drawn.mask].mean()) if drawn.mask.any() else 0.0


def _cut_paste(image: Image, rng: np.random.Generator) -> Image:
    """A piece of the image at another place, its light a little changed.

    Source: Li et al. 2021, "CutPaste", section 2.2, with smaller pieces than its 2 to 15 %.
    """
    shape = image.shape[:2]
    area, aspect = rng.uniform(0.003, 0.05), math.exp(rng.uniform(-1.2, 1.2))
    h, w = shapes.box_of(shape, area=area, aspect=aspect)
    (i, j), (k, m) = (
        (int(rng.integers(shape[0] - h + 1)), int(rng.integers(shape[1] - w + 1))) for _ in range(2)
    )
    drawn = image.copy()
    drawn[k : k + h, m : m + w] = _relit(image[i : i + h, j : j + w], rng)
    return drawn


def _scar(image: Image, rng: np.random.Generator) -> Image:
    """A thin strip of the image, turned and at another place; source as `cut_paste`, 2.2."""
    shape, side = image.shape[:2], shapes.side_of(image.shape[:2])
    length, width = side * rng.uniform(0.05, 0.25), max(2.0, side * rng.uniform(0.01, 0.06))
    target, source = shapes.draw_point(shape, rng), shapes.draw_point(shape, rng)
    offsets = shapes.turned_offsets(shape, target, rng.uniform(0, math.pi))
    inside = (np.abs(offsets[0]) <= width / 2) & (np.abs(offsets[1]) <= length / 2)
    places = (offsets[:, inside] + np.array(source)[:, None]).round().astype(int)
    rows, columns = (_mirrored(one, most) for one, most in zip(places, shape, strict=True))
    drawn = image.copy()
    drawn[inside] = _relit(image[rows, columns], rng)
    return drawn


def _texture(image: Image, rng: np.random.Generator) -> Image:
    """An island of Perlin noise in which another texture shines through, more or less.

    The texture is the image itself, strongly changed, or noise of several scales. Source: Zavrtanik
    et al. 2021, "DRAEM", section 3.3, whose textures are of a set of photographs.
    """
    shape = image.shape[:2]
    cells = (2 ** int(rng.integers(1, 6)), 2 ** int(rng.integers(1, 6)))
    noise = shapes.perlin(shape, cells, rng)
    least = max(4, round(5e-4 * shape[0] * shape[1]))
    mask = shapes.one_island(noise > 0.5, rng, least=least)
    texture = _changed(image, rng) if rng.random() < 0.5 else _noise(image, rng)
    opacity = rng.uniform(0.2, 1.0)
    drawn = image.copy()
    drawn[mask] = (1.0 - opacity) * image[mask] + opacity * texture[mask]
    return drawn


def _scratch(image: Image, rng: np.random.Generator) -> Image:
    """A thin bent line that is brighter or darker than what it crosses."""
    shape, side = image.shape[:2], shapes.side_of(image.shape[:2])
    start, angle = shapes.draw_point(shape, rng), rng.uniform(0, 2 * math.pi)
    length, bend = side * rng.uniform(0.1, 0.4), side * rng.normal(0, 0.05, 2)
    end = start[0] + length * math.sin(angle), start[1] + length * math.cos(angle)
    control = (start[0] + end[0]) / 2 + bend[0], (start[1] + end[1]) / 2 + bend[1]
    mask = shapes.stroke(shape, (start, control, end), side * rng.uniform(0.004, 0.015))
    drawn = image.copy()
    drawn[mask] += rng.choice((-1.0, 1.0)) * rng.uniform(0.3, 1.0)
    return drawn


def _missing(image: Image, rng: np.random.Generator) -> Image:
    """A part that is gone: an ellipse is filled smoothly from its rim."""
    shape = image.shape[:2]
    radius, aspect = math.sqrt(rng.uniform(0.003, 0.04) / math.pi), math.exp(rng.uniform(-0.7, 0.7))
    across = max(1.5, shapes.side_of(shape) * radius)
    radii = across / math.sqrt(aspect), across * math.sqrt(aspect)
    mask = shapes.ellipse(shape, shapes.draw_point(shape, rng), radii, rng.uniform(0, math.pi))
    return fill(image, mask)


KINDS: dict[str, Callable[[Image, np.random.Generator], Image]] = {
    "cut_paste": _cut_paste,
    "scar": _scar,
    "texture": _texture,
    "scratch": _scratch,
    MISSING: _missing,
}


def check_kinds(kinds: Sequence[str]) -> None:
    """Refuses a kind that is unknown, or no kind at all; UserError."""
    for kind in kinds or ("",):
        if kind not in KINDS:
            raise UserError(
                f"`data.synthetic.kinds` (={kind!r}): unknown; known: {', '.join(KINDS)}. "
                "--config.data.synthetic.count=0 makes no defects."
            )


def fill(image: Image, mask: Mask) -> Image:
    """`image` with the pixels of a mask as smooth as they can be between those of its rim.

    The harmonic function of the rim: each pixel is the mean of its neighbours; beyond the image's
    edge there are none. A mask without a rim, all of the image or none, changes nothing.
    """
    if mask.all() or not mask.any():
        return image
    number = np.cumsum(mask.ravel()).reshape(mask.shape) - 1
    count = int(mask.sum())
    degree, known = np.zeros(count), np.zeros((count, image.shape[-1]))
    pairs: list[np.ndarray] = []
    for step, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
        near, far = _neighbours(mask.shape, step, axis)
        own, other = mask[near], mask[far]
        np.add.at(degree, number[near][own], 1.0)
        rim = own & ~other
        np.add.at(known, number[near][rim], image[far][rim].astype(np.float64))
        pairs.append(np.stack([number[near][own & other], number[far][own & other]]))
    rows, columns = np.concatenate(pairs, axis=1)
    links = sparse.coo_matrix((np.ones(rows.size), (rows, columns)), (count, count))
    filled = image.copy()
    matrix = (sparse.diags(degree) - links).tocsc()
    filled[mask] = np.asarray(spsolve(matrix, known)).reshape(count, -1)
    return filled


def _neighbours(shape: tuple[int, ...], step: int, axis: int) -> tuple[tuple, tuple]:
    """Slices of pixels that have a neighbour one step along an axis, and of those neighbours."""
    low, high = [slice(None), slice(None)], [slice(None), slice(None)]
    low[axis], high[axis] = slice(None, -1), slice(1, None)
    return (tuple(low), tuple(high)) if step > 0 else (tuple(high), tuple(low))


def _relit(piece: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A piece with its contrast and light changed by up to a tenth of the range."""
    return piece * rng.uniform(0.9, 1.1) + rng.uniform(-0.1, 0.1)


def _changed(image: Image, rng: np.random.Generator) -> Image:
    """The image turned about, shifted, with other colours and lights."""
    turned = np.flip(image, axis=tuple(axis for axis in (0, 1) if rng.random() < 0.5))
    shift = [int(rng.integers(n)) for n in image.shape[:2]]
    colours = np.roll(turned, shift, axis=(0, 1))[..., rng.permutation(image.shape[-1])]
    bent = np.abs((colours + 1.0) / 2.0) ** math.exp(rng.uniform(-1.0, 1.0)) * 2.0 - 1.0
    return -bent if rng.random() < 0.5 else bent


def _noise(image: Image, rng: np.random.Generator) -> Image:
    """Perlin noise of four scales, each half as strong as the coarser one, around a colour.

    Grey where the image is.
    """
    shape = image.shape[:2]
    planes = 1 if (image == image[..., :1]).all() else image.shape[2]
    noise = [
        sum(shapes.perlin(shape, (2**k, 2**k), rng) / 2 ** (k - 2) for k in range(2, 6))
        for _ in range(planes)
    ]
    drawn = np.stack(noise, axis=-1) + rng.uniform(-0.7, 0.7, planes)
    return np.broadcast_to(drawn, image.shape)


def _mirrored(places: np.ndarray, count: int) -> np.ndarray:
    """Places beyond the ends mirrored back into 0 to count - 1."""
    around = np.mod(places, max(2 * count - 2, 1))
    return np.minimum(around, 2 * count - 2 - around)
