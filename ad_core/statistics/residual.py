"""Statistics of the residual x - x̂ of each image, over all pixels and channels.

`residual_*` are of the signed residual, `residual_abs_*` of its absolute value. Quantiles are
NumPy's default (linear); skewness and kurtosis are scipy.stats' defaults (biased, Fisher), 0 for
a constant residual. All are 0 where image and reconstruction are identical.
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from ad_core.statistics.comparison import ABS_QUANTILES, QUANTILES, TOP_FRACTIONS, Comparison
from ad_core.statistics.order import digits
from ad_core.statistics.pyramid import BANDS

Function = Callable[[Comparison], Float[Array, "b"]]


def _mean(pair: Comparison) -> Float[Array, "b"]:
    return pair.summary.mean


def _std(pair: Comparison) -> Float[Array, "b"]:
    return jnp.sqrt(pair.summary.variance)


def _skewness(pair: Comparison) -> Float[Array, "b"]:
    return pair.summary.skewness


def _kurtosis(pair: Comparison) -> Float[Array, "b"]:
    return pair.summary.kurtosis


def _min(pair: Comparison) -> Float[Array, "b"]:
    return pair.summary.min


def _max(pair: Comparison) -> Float[Array, "b"]:
    return pair.summary.max


def _quantile(index: int, pair: Comparison) -> Float[Array, "b"]:
    return pair.quantiles[:, index]


def _abs_mean(pair: Comparison) -> Float[Array, "b"]:
    return pair.summary.abs_mean


def _abs_std(pair: Comparison) -> Float[Array, "b"]:
    return jnp.sqrt(pair.summary.abs_variance)


def _abs_max(pair: Comparison) -> Float[Array, "b"]:
    return jnp.maximum(pair.summary.max, -pair.summary.min)


def _abs_quantile(index: int, pair: Comparison) -> Float[Array, "b"]:
    return pair.abs_quantiles[:, index]


def _top_mean(index: int, pair: Comparison) -> Float[Array, "b"]:
    return pair.top_means[:, index]


def _share_of_band(index: int, pair: Comparison) -> Float[Array, "b"]:
    """The band's mean square over the sum of all; 0 without a residual."""
    energies = pair.band_energies
    total = jnp.sum(energies, axis=1)
    return energies[:, index] / jnp.where(total > 0, total, 1.0)


def _energy(pair: Comparison) -> Float[Array, "b"]:
    return pair.summary.mean_square * pair.count


def _quantile_name(level: float) -> str:
    return "residual_median" if level == 0.5 else f"residual_q{digits(level)}"


FUNCTIONS: dict[str, Function] = {
    "residual_mean": _mean,
    "residual_std": _std,
    "residual_min": _min,
    "residual_max": _max,
    **{_quantile_name(q): partial(_quantile, i) for i, q in enumerate(QUANTILES)},
    "residual_skewness": _skewness,
    "residual_kurtosis": _kurtosis,
    "residual_abs_mean": _abs_mean,
    "residual_abs_std": _abs_std,
    "residual_abs_max": _abs_max,
    **{
        f"residual_abs_q{digits(q)}": partial(_abs_quantile, i) for i, q in enumerate(ABS_QUANTILES)
    },
    **{f"residual_abs_top_{digits(f)}": partial(_top_mean, i) for i, f in enumerate(TOP_FRACTIONS)},
}

# The finest band first; `low` is what is left below BANDS bands. Shares of the energy, in
# [0, 1]; 0 for a band that the image is too small to have.
FURTHER: dict[str, Function] = {
    "sse": _energy,  # the score of CycleGAN-AD
    "residual_energy": _energy,
    **{f"residual_scale_{i}": partial(_share_of_band, i) for i in range(BANDS)},
    "residual_scale_low": partial(_share_of_band, BANDS),
}
