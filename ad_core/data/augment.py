"""Random versions of a training image that any worker, at any time, makes alike."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from ad_core.errors import UserError


def augment(
    image: Float[np.ndarray, "h w c"], *, kind: str, seed: int, epoch: int, index: int
) -> Float[np.ndarray, "h2 w2 c"]:
    """`image`, or a view of it, as drawn by (seed, epoch, index) alone: there is no state.

    none: as it is. hflip: mirrored left to right, or not. flips_and_turns: one of the eight
    symmetries of the square, all equally likely. nine_versions: one of the nine of CycleGAN-AD,
    which are those eight and upside down once more.

    Raises:
        UserError: unknown kind.
    """
    versions = _versions(kind)
    return versions[int(np.random.default_rng((seed, epoch, index)).integers(len(versions)))](image)


def check_augment(kind: str, image_shape: tuple[int, int, int]) -> None:
    """Refuses a kind that is unknown, or that turns images which are no squares.

    Raises:
        UserError: either.
    """
    height, width, _ = image_shape
    if turns(kind) and height != width:
        raise UserError(
            f"`data.augment` (={kind!r}) turns images by 90 degrees and `data.image_size` "
            f"(={height},{width}) is no square; use hflip or none, or give one side for both."
        )


def turns(kind: str) -> bool:
    """Tells whether images are turned by 90 degrees. Raises UserError: unknown kind."""
    return len({version(np.zeros((2, 1, 1))).shape for version in _versions(kind)}) > 1


def versions_of_each(kind: str) -> int:
    """The number of versions in which an epoch holds each pair: 1, drawn at random, or all nine.

    Source: Bougaham et al., CycleGAN-AD, whose training set is the concatenation of the nine.

    Raises:
        UserError: unknown kind.
    """
    versions = _versions(kind)
    return len(versions) if kind == "nine_versions" else 1


def version(
    image: Float[np.ndarray, "h w c"], *, kind: str, number: int
) -> Float[np.ndarray, "h2 w2 c"]:
    """The version `number` of `kind`, from 0, or a view of the image."""
    return _versions(kind)[number](image)


def _versions(kind: str) -> list[Callable[[np.ndarray], np.ndarray]]:
    if kind not in _KINDS:
        raise UserError(f"`data.augment` (={kind!r}): unknown; known: {', '.join(_KINDS)}.")
    return _KINDS[kind]


def _turned(turns: int, mirrored: bool) -> Callable[[np.ndarray], np.ndarray]:
    def version(image: np.ndarray) -> np.ndarray:
        return np.rot90(image[:, ::-1] if mirrored else image, turns)

    return version


_KINDS = {
    "none": [_turned(0, False)],
    "hflip": [_turned(0, mirrored) for mirrored in (False, True)],
    "flips_and_turns": [_turned(t, mirrored) for t in range(4) for mirrored in (False, True)],
    "nine_versions": [
        *(_turned(turns, mirrored) for mirrored in (False, True) for turns in range(4)),
        _turned(2, True),  # the recipe's flip upside down, which is also a flip and half a turn
    ],
}
