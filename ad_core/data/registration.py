"""Registration of an image to a reference, by phase correlation: a turn, then a shift.

The turn is found by the images' spectra, which a shift does not move: a turn of the image turns its
spectrum, and in polar coordinates that is a shift too. Spectra are the same after half a turn, so
that both candidates are tried. What is found is checked: unless the moved image is like the
reference, and more so than before, registration is refused rather than guessed.

Source: Kuglin and Hines 1975, "The phase correlation image alignment method"; Reddy and Chatterji
1996, "An FFT-based technique for translation, rotation, and scale-invariant image registration".
Deviations: no scale is sought; peaks are placed between pixels by the upsampled transform of
Guizar-Sicairos et al. 2008.
"""

from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Complex, Float
from scipy import ndimage

from ad_core.errors import UserError

ANGLES = 720  # lines of the polar spectrum, of half a turn
LIKE = 0.5  # least correlation with the reference of an image that was brought to it
FINE = 20  # parts of a pixel to which a shift is found


class Motion(NamedTuple):
    """Motion that brings an image to the reference: a turn about the middle, then a shift.

    degrees: counter-clockwise, as an image is shown. down, right: pixels.
    """

    degrees: float
    down: float
    right: float

    def __call__(self, image: Float[np.ndarray, "h w *c"]) -> Float[np.ndarray, "h w *c"]:
        """The image in the place of the reference; what lies beyond it is its border's colour."""
        matrix, offset = self._affine(image.shape[:2])
        return _transformed(image, matrix, offset)

    def undo(self, image: Float[np.ndarray, "h w *c"]) -> Float[np.ndarray, "h w *c"]:
        """The moved image where it was; what lay beyond it is its border's colour."""
        matrix, offset = self._affine(image.shape[:2])
        return _transformed(image, matrix.T, -matrix.T @ offset)  # a turn's inverse

    def scaled(self, by: float) -> "Motion":
        """The motion of an image with `by` times as many pixels a side."""
        return self._replace(down=self.down * by, right=self.right * by)

    def back(self, y: float, x: float, size: tuple[int, int]) -> tuple[float, float]:
        """The place in the image, as it was, of a place in the moved one."""
        matrix, offset = self._affine(size)
        place = matrix @ np.array([y, x]) + offset
        return float(place[0]), float(place[1])

    def _affine(
        self, size: tuple[int, int]
    ) -> tuple[Float[np.ndarray, "2 2"], Float[np.ndarray, " 2"]]:
        """Matrix and offset from places of the moved image to those of the image."""
        angle = np.deg2rad(self.degrees)
        cos, sin = np.cos(angle), np.sin(angle)
        matrix = np.array([[cos, sin], [-sin, cos]])
        middle = (np.array(size) - 1) / 2
        shift = np.array([self.down, self.right])
        return matrix, middle - matrix @ (middle + shift)


def _transformed(
    image: Float[np.ndarray, "h w *c"],
    matrix: Float[np.ndarray, "2 2"],
    offset: Float[np.ndarray, " 2"],
) -> Float[np.ndarray, "h w *c"]:
    planes, start = image.reshape(*image.shape[:2], -1), cast(Any, offset)
    moved = [
        ndimage.affine_transform(planes[..., n], matrix, start, order=1, mode="nearest")
        for n in range(planes.shape[-1])
    ]
    return np.stack(moved, axis=-1).reshape(image.shape).astype(image.dtype)


def register(
    image: Float[np.ndarray, "h w"], reference: Float[np.ndarray, "h w"], *, turn: bool = True
) -> Motion:
    """The motion that brings an image to the reference.

    Args:
        image, reference: grey, of one size. turn: whether a turn is sought too.

    Raises:
        UserError: neither a shift nor a turn makes the image like the reference.
    """
    angles = _turns(image, reference) if turn else [0.0]
    found = []
    for angle in angles:
        turned = Motion(angle, 0.0, 0.0)(image)
        down, right = phase_shift(turned, reference)
        motion = Motion(angle, down, right)
        found.append((likeness(motion(image), reference), motion))
    like, motion = max(found, key=lambda one: one[0])
    before = likeness(image, reference)
    if like < LIKE or like < before - 1e-3:
        raise UserError(
            f"an image is not like the reference after registration (correlation {like:.2f}, "
            f"{before:.2f} before; {LIKE} and no less than before is needed)"
        )
    return motion


def likeness(image: Float[np.ndarray, "h w"], reference: Float[np.ndarray, "h w"]) -> float:
    """Correlation of two images over their pixels, in [-1, 1]; 0 where one is flat."""
    a, b = (np.asarray(x, np.float64) - np.mean(x) for x in (image, reference))
    size = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / size) if size > 0 else 0.0


def phase_shift(
    image: Float[np.ndarray, "h w"], reference: Float[np.ndarray, "h w"]
) -> tuple[float, float]:
    """Pixels down and right by which the image must be moved to lie as the reference does.

    To one part in FINE of a pixel. The same as
    `skimage.registration.phase_cross_correlation(reference, image, upsample_factor=FINE)`.
    """
    cross = np.fft.fft2(np.asarray(reference, np.float64))
    cross = cross * np.fft.fft2(np.asarray(image, np.float64)).conj()
    cross /= np.maximum(np.abs(cross), 100 * np.finfo(np.float64).eps)
    peak = np.abs(np.fft.ifft2(cross))
    place = np.array(np.unravel_index(np.argmax(peak), peak.shape), float)
    size = np.array(peak.shape)
    place = np.where(place > size // 2, place - size, place)
    down, right = _between(cross, place)
    return down, right


def _between(
    cross: Complex[np.ndarray, "h w"], place: Float[np.ndarray, " 2"]
) -> tuple[float, float]:
    """The peak within 3/4 of a pixel of `place`: the transform on a grid FINE times as dense."""
    reach = int(np.ceil(FINE * 1.5))
    steps = np.arange(reach) - reach // 2
    at = [np.round(side * FINE) / FINE + steps / FINE for side in place]
    waves = [
        np.exp(2j * np.pi * np.outer(where, np.fft.fftfreq(side)))
        for where, side in zip(at, cross.shape, strict=True)
    ]
    fine = np.abs(waves[0] @ cross @ waves[1].T)
    row, column = np.unravel_index(np.argmax(fine), fine.shape)
    return float(at[0][row]), float(at[1][column])


def _turns(image: Float[np.ndarray, "h w"], reference: Float[np.ndarray, "h w"]) -> list[float]:
    """Candidates for the turn in degrees: none, the one of the spectra, and half a turn more."""
    own, other = _polar_spectrum(image), _polar_spectrum(reference)
    rows, _ = phase_shift(own, other)
    angle = -rows * 180 / ANGLES
    return [0.0, angle, angle + 180 if angle <= 0 else angle - 180]


def _polar_spectrum(image: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "a r"]:
    """Magnitudes of the spectrum by angle and radius; the angle runs over half a turn.

    The image is windowed, so that its borders draw no cross into the spectrum, and the lowest
    frequencies, which light decides, are left out.
    """
    h, w = image.shape
    side = max(h, w)
    window = np.outer(np.hanning(h), np.hanning(w))
    grey = np.asarray(image, np.float64)
    grey = (grey - (grey * window).sum() / window.sum()) * window
    spectrum = np.log1p(np.abs(np.fft.fftshift(np.fft.fft2(grey, (side, side)))))
    angle = np.pi * np.arange(ANGLES) / ANGLES
    radius = np.arange(max(4, side // 32), side // 2 - 1)
    middle = side // 2
    y = middle + radius[None] * np.sin(angle)[:, None]
    x = middle + radius[None] * np.cos(angle)[:, None]
    found = ndimage.map_coordinates(spectrum, [y, x], order=1, mode="nearest")
    return found - found.mean(axis=0)
