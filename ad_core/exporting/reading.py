"""Pixels of any size to a network's image, in a program: as a detector reads files of 8 bits."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Float64, Int, UInt8
from ml_collections import ConfigDict

from ad_core.data.formats.image import LUMA, ROBUST, TYPE, UNFIXED, stated_range
from ad_core.data.formats.resizing import STRETCHING
from ad_core.data.shape import image_shape
from ad_core.errors import UserError

BANDS = 3  # of the pixels that a program takes; a grey value stands three times
WHITE = 255.0
_BICUBIC = -0.5  # Pillow's (and Catmull and Rom's) parameter


class Rule(NamedTuple):
    """Rule by which pixels become a network's image.

    low, high: of the pixels, what become -1 and 1. resize: as `data.resize`, where "proportions" is
    "stretch" once the sides are known. clipped: largest share of values beyond low and high that
    calibration normals had.
    """

    height: int
    width: int
    channels: int
    resize: str
    low: float
    high: float
    clipped: float

    def to_dict(self) -> dict[str, Any]:
        """The rule for a person who reads it beside a program."""
        return {
            **self._asdict(),
            "pixels": "uint8 [height, width, 3]: red, green, blue, upright; grey three times",
            "filter": "bicubic (a = -0.5), antialiased: widened by the scale where it reduces",
            "luma": list(LUMA),
        }


class Read(NamedTuple):
    """Image in [-1, 1], the `Box` that shows its file, and whether too much is clipped."""

    image: Float32[Array, "1 h w c"]
    content: Int[Array, "1 4"]
    beyond: Bool[Array, ""]


class _Part(NamedTuple):
    """Of one axis: what is shown of the file, and where it lies in the network's image."""

    start: Any
    length: Any
    place: Any
    extent: Any


def rule_of(data: ConfigDict, *, clipped: float) -> Rule:
    """The rule of a detector's section `data`.

    Raises:
        UserError: its range of values is not one of pixels of 8 bits, or files are read in a way
            that a program does not know.
    """
    _check_reading(data)
    low, high = _range(data.value_range)
    if high <= 0 or low >= WHITE:
        raise UserError(
            f"`data.value_range` (={low:g},{high:g}) lies beyond what 8 bits hold (0 to 255); a "
            "detector of such values cannot be exported. Score with launch/score.py."
        )
    height, width, channels = image_shape(data)
    resize = "stretch" if data.resize in STRETCHING else str(data.resize)
    return Rule(height, width, channels, resize, low, high, float(clipped))


def _check_reading(data: ConfigDict) -> None:
    for key, unknown in (
        ("resize", data.resize == "own_size"),
        ("region", bool(data.region)),
        ("reference", bool(data.reference)),
    ):
        if unknown:
            raise UserError(
                f"`data.{key}` (={data[key]}): a detector that reads files so cannot be exported. "
                "Score with launch/score.py."
            )


def _range(value_range: Any) -> tuple[float, float]:
    if value_range is None or tuple(value_range) in (TYPE, UNFIXED, ROBUST, ()):
        return 0.0, WHITE
    return stated_range(value_range)


def read_pixels(rule: Rule, pixels: UInt8[Array, "h w 3"]) -> Read:
    """The image of `pixels`, as `read_image` makes it of a file that holds them.

    To be traced with 64 bits enabled: sums are float64, and each pass is stored in float32, as
    Pillow does. Sizes may be symbolic.
    """
    file_h, file_w = (jnp.asarray(side).astype(jnp.int32) for side in pixels.shape[:2])
    across, down = _placed(rule, file_w, file_h)
    bands = _bands(rule, pixels)
    rows = _weights(down, rule.height, pixels.shape[0], file_h)
    columns = _weights(across, rule.width, pixels.shape[1], file_w)
    planes = jnp.transpose(bands, (2, 0, 1))  # so that both passes are products of matrices
    narrow = jnp.transpose(_product(planes, columns), (0, 2, 1))
    small = jnp.transpose(_product(narrow, rows), (2, 1, 0))
    image = jnp.broadcast_to(jnp.clip(small, -1, 1), (rule.height, rule.width, rule.channels))
    box = [across.place, down.place, across.place + across.extent, down.place + down.extent]
    return Read(image[None], jnp.stack(box)[None], _too_clipped(rule, pixels, file_h * file_w))


def _product(
    planes: Float32[Array, "c n side"], weights: Float64[Array, "size side"]
) -> Float32[Array, "c n size"]:
    """The last axis weighed, in float64, and stored in float32."""
    return (planes.astype(jnp.float64) @ weights.T).astype(jnp.float32)


def _bands(rule: Rule, pixels: UInt8[Array, "h w 3"]) -> Float32[Array, "h w c"]:
    values = pixels.astype(jnp.float32)
    bands = (values - jnp.float32(rule.low)) * jnp.float32(2 / (rule.high - rule.low))
    bands = jnp.clip(bands - jnp.float32(1), -1, 1)
    if rule.channels == BANDS:
        return bands
    red, green, blue = (jnp.float32(part) for part in LUMA)
    first, second, third = (_band(bands, place) for place in range(BANDS))
    luma = red * first + green * second + blue * third
    r, g, b = (_band(values, place) for place in range(BANDS))
    return jnp.where((r == g) & (g == b), first, luma)  # a grey file has no luma to round


def _band(values: Float32[Array, "h w c"], place: int) -> Float32[Array, "h w 1"]:
    return jax.lax.slice_in_dim(values, place, place + 1, axis=2)


def _too_clipped(rule: Rule, pixels: UInt8[Array, "h w 3"], count: Array) -> Bool[Array, ""]:
    if rule.low <= 0 and rule.high >= WHITE:
        return jnp.zeros((), bool)
    values = pixels.astype(jnp.float64)
    outside = ((values < rule.low) | (values > rule.high)).astype(jnp.float64)
    return jnp.sum(outside) / (BANDS * count.astype(jnp.float64)) > rule.clipped


def _placed(rule: Rule, width: Array, height: Array) -> tuple[_Part, _Part]:
    """What `place` of data.formats.resizing says, across and down, in whole numbers."""
    wide, high = jnp.int32(rule.width), jnp.int32(rule.height)
    zero = jnp.int32(0)
    if rule.resize == "stretch":
        return _Part(zero, width, zero, wide), _Part(zero, height, zero, high)
    if rule.resize == "letterbox":
        across, down = _fitted(width, height, wide, high)
        left, top = _half(wide - across), _half(high - down)
        return _Part(zero, width, left, across), _Part(zero, height, top, down)
    across, down = _fitted(wide, high, width, height)
    left, top = _half(width - across), _half(height - down)
    return _Part(left, across, zero, wide), _Part(top, down, zero, high)


def _fitted(width: Array, height: Array, across: Array, down: Array) -> tuple[Array, Array]:
    wider = width * down >= height * across
    low = jnp.maximum(1, _rounded(height * across, width))
    slim = jnp.maximum(1, _rounded(width * down, height))
    return jnp.where(wider, across, slim), jnp.where(wider, low, down)


def _half(whole: Array) -> Array:
    return jax.lax.div(whole, jnp.int32(2))


def _rounded(numerator: Array, denominator: Array) -> Array:
    """The ratio of whole numbers, rounded half to even as Python does."""
    whole = jax.lax.div(numerator, denominator)
    twice = 2 * (numerator - whole * denominator)
    odd = (whole - 2 * _half(whole)) == 1
    up = (twice > denominator) | ((twice == denominator) & odd)
    return whole + up.astype(jnp.int32)


def _weights(part: _Part, size: int, side: Any, own: Array) -> Float64[Array, "{size} _"]:
    """Weight of each pixel of the file's `side` in each place of the network's image.

    The centre of a place is split into whole and broken pixels, so that nothing hangs on how many
    digits a large coordinate has. Beyond what is shown lies its mirror image.
    """
    twice = 2 * part.extent
    places = jnp.arange(size, dtype=jnp.int32) - part.place + twice * jnp.int32(size)
    away = jax.lax.rem(places, jnp.broadcast_to(twice, places.shape))
    inner = jnp.minimum(away, twice - 1 - away)
    numerator = (2 * inner + 1) * part.length
    whole = jax.lax.div(numerator, jnp.broadcast_to(twice, numerator.shape))
    broken = (numerator - whole * twice).astype(jnp.float64) / twice.astype(jnp.float64)
    scale = part.length.astype(jnp.float64) / part.extent.astype(jnp.float64)
    pixel = jnp.arange(side, dtype=jnp.int32)
    steps = (pixel[None, :] - (whole + part.start)[:, None]).astype(jnp.float64)
    distance = jnp.abs(steps + (0.5 - broken)[:, None]) / jnp.maximum(scale, 1.0)
    weight = _bicubic(distance)
    return weight / jnp.sum(weight, axis=1, keepdims=True)


def _bicubic(x: Float64[Array, "s n"]) -> Float64[Array, "s n"]:
    """Kernel at a distance of x >= 0."""
    a = _BICUBIC
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return jnp.where(x < 1.0, near, jnp.where(x < 2.0, far, 0.0))
