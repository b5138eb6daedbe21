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
    symmetries of the square, all equally likely. Source: Bougaham et al., CycleGAN-AD, whose
    training set holds the same flips and quarter turns side by side.

    Raises:
        UserError: unknown kind.
    """
    if kind not in _KINDS:
        raise UserError(f"`data.augment` (={kind!r}): unknown; known: {', '.join(_KINDS)}.")
    versions = _KINDS[kind]
    return versions[int(np.random.default_rng((seed, epoch, index)).integers(len(versions)))](image)


def _turned(turns: int, mirrored: bool) -> Callable[[np.ndarray], np.ndarray]:
    def version(image: np.ndarray) -> np.ndarray:
        return np.rot90(image[:, ::-1] if mirrored else image, turns)

    return version


_KINDS = {
    "none": [_turned(0, False)],
    "hflip": [_turned(0, mirrored) for mirrored in (False, True)],
    "flips_and_turns": [_turned(t, mirrored) for t in range(4) for mirrored in (False, True)],
}
