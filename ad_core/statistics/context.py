"""Knowledge of normals for statistics, learnt once from training normals in constant memory."""

from collections.abc import Iterable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ad_core.backbones import Backbone, Network
from ad_core.errors import UserError
from ad_core.types import View

LEVELS = (0.9, 0.99, 0.999)
CODES_MAP = "codes"
_BINS = 8192
_LARGEST = 2.0  # of |x - x̂| for images in [-1, 1]


class Context(NamedTuple):
    """Knowledge of normals; None where nothing was learnt. A pytree, safe to pass through jit.

    normal_mask: where normals differ from their own reconstructions, 0 (never) to 1 (most).
    code_log_prob: log probability of each code among normals; a code beyond it counts as the
        least likely one.
    residual_levels: quantiles LEVELS of normals' |x - x̂|, ascending.
    backbone: in whose features image and normal version are compared. Not learnt: `_replace` it
        in.
    """

    normal_mask: Float[Array, "h w"] | None = None
    code_log_prob: Float[Array, "k"] | None = None
    residual_levels: Float[Array, "m"] | None = None
    backbone: Backbone | None = None

    def known(self) -> tuple[str, ...]:
        """Names of what was learnt of normals."""
        return tuple(name for name in LEARNT if getattr(self, name) is not None)

    def network(self) -> Network | None:
        """The backbone's network, without its weights."""
        return None if self.backbone is None else self.backbone.network


LEARNT = tuple(field for field in Context._fields if field != "backbone")


class _Tally:
    """Running sums over batches of normals, on the host in float64."""

    def __init__(self):
        self.images = 0
        self.size = 0.0  # becomes [h, w]: sum of the channels' mean |x - x̂|
        self.histogram = np.zeros(_BINS, np.int64)
        self.codes = np.zeros(0, np.int64)
        self.has_codes = False

    def add_residual(self, image: np.ndarray, other: np.ndarray) -> None:
        size = np.abs(image.astype(np.float64) - other)
        self.size = self.size + size.mean(axis=-1).sum(axis=0)
        bins = np.minimum(size * (_BINS / _LARGEST), _BINS - 1).astype(np.int64)
        self.histogram += np.bincount(bins.ravel(), minlength=_BINS)

    def add_codes(self, codes: np.ndarray) -> None:
        counts = np.bincount(codes.astype(np.int64).ravel(), minlength=len(self.codes))
        counts[: len(self.codes)] += self.codes
        self.codes, self.has_codes = counts, True

    def mask(self) -> np.ndarray:
        mean = np.asarray(self.size) / self.images
        spread = np.ptp(mean)
        return (mean - mean.min()) / spread if spread > 0 else np.zeros_like(mean)

    def levels(self) -> np.ndarray:
        """Upper edges of the bins in which the quantiles fall: at most 2 / 8192 too large."""
        share = np.cumsum(self.histogram) / self.histogram.sum()
        return (np.searchsorted(share, LEVELS) + 1) * (_LARGEST / _BINS)


def learn_context(
    pairs: Iterable[
        tuple[Float[Array | np.ndarray, "_ h w c"], View, Bool[Array | np.ndarray, "_"]]
    ],
    *,
    code_count: int | None = None,
) -> Context:
    """The context of training normals, given as batches of (image, view, valid).

    The mask is the mean of |x - x̂| over normals and channels, brought to [0, 1] by its own least
    and largest value (0 everywhere if it is constant). Code probabilities have one count added
    to each code (Laplace). What a method does not give is not learnt.

    Args:
        pairs: training normals only; read once. Rows with `valid` False are left out.
        code_count: size of the codebook; None: as many as the largest code that normals use.

    Raises:
        UserError: no valid image.
    """
    tally = _Tally()
    for image, view, valid in pairs:
        keep = np.asarray(valid, bool)
        if keep.any():
            tally.images += int(keep.sum())
            if view.image is not None:
                tally.add_residual(*(np.asarray(x, np.float32)[keep] for x in (image, view.image)))
            if CODES_MAP in view.maps:
                tally.add_codes(np.asarray(view.maps[CODES_MAP], np.float32)[keep])
    if not tally.images:
        raise UserError("The statistics' context needs normal training images; add some.")
    drawn = tally.histogram.any()
    return Context(
        normal_mask=jnp.asarray(tally.mask(), jnp.float32) if drawn else None,
        code_log_prob=_log_prob(tally.codes, code_count) if tally.has_codes else None,
        residual_levels=jnp.asarray(tally.levels(), jnp.float32) if drawn else None,
    )


def _log_prob(counts: np.ndarray, code_count: int | None) -> Float[Array, "k"]:
    smoothed = np.ones(max(len(counts), code_count or 0))
    smoothed[: len(counts)] += counts
    return jnp.asarray(np.log(smoothed / smoothed.sum()), jnp.float32)
