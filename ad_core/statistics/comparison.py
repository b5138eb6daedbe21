"""An image beside its normal version, with what several statistics share computed once."""

import math
from collections.abc import Callable, Hashable, Mapping
from functools import cached_property
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ad_core.statistics import order, pyramid
from ad_core.statistics.context import Context
from ad_core.statistics.moments import Summary, summarise
from ad_core.statistics.windows import WindowSettings

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
ABS_QUANTILES = (0.5, 0.9, 0.95, 0.99)
TOP_FRACTIONS = (0.001, 0.01, 0.05, 0.1)


class Comparison:
    """Material of a statistic. Shared quantities are traced once, whoever asks first.

    Lives for one trace only: it is no pytree and never crosses a `jit`.
    """

    def __init__(
        self,
        image: Float[Array | np.ndarray, "b h w c"],
        other: Float[Array | np.ndarray, "b h w c"] | None,
        *,
        maps: Mapping[str, Float[Array, "b _ _"]] | None = None,
        losses: Mapping[str, Float[Array, "b"]] | None = None,
        context: Context | None = None,
        settings: WindowSettings | None = None,
        weightings: tuple[bool, ...] = (False,),
    ):
        self.image = jnp.asarray(image, jnp.float32)
        self._other = None if other is None else jnp.asarray(other, jnp.float32)
        self.maps = maps or {}
        self.losses = losses or {}
        self.context = context or Context()
        self.settings = settings or WindowSettings()
        self.weightings = weightings
        self._shared: dict[Hashable, Any] = {}

    def shared(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Result of `make`, made once for each key."""
        if key not in self._shared:
            self._shared[key] = make()
        return self._shared[key]

    @property
    def other(self) -> Float[Array, "b h w c"]:
        """The image's normal version."""
        assert self._other is not None  # the table's needs saw to it
        return self._other

    @cached_property
    def residual(self) -> Float[Array, "b h w c"]:
        """Image minus reconstruction, signed."""
        return self.image - self.other

    @property
    def count(self) -> int:
        """Values in one image: pixels times channels."""
        return math.prod(self.image.shape[1:])

    @cached_property
    def lines(self) -> Float[Array, "b h wc"]:
        """The signed residual with channels within the columns: long inner loops on a CPU."""
        return _lines(self.residual)

    @cached_property
    def image_lines(self) -> Float[Array, "b h wc"]:
        """The image, laid out as `lines`."""
        return _lines(self.image)

    @cached_property
    def other_lines(self) -> Float[Array, "b h wc"]:
        """The reconstruction, laid out as `lines`."""
        return _lines(self.other)

    @cached_property
    def summary(self) -> Summary:
        """Moments and extremes of the signed and of the absolute residual."""
        return summarise(self.lines)

    @cached_property
    def band_energies(self) -> Float[Array, "b _"]:
        """Mean square of the residual's Laplacian bands, relative to its largest value."""
        return pyramid.band_energies(self.residual)

    @cached_property
    def _ordered(self) -> tuple[Float[Array, "b k"], Float[Array, "b m"]]:
        signed, size = self.lines, jnp.abs(self.lines)
        ranks = order.quantile_ranks(QUANTILES, self.count)
        abs_ranks = order.quantile_ranks(ABS_QUANTILES, self.count)
        abs_ranks += order.top_ranks(TOP_FRACTIONS, self.count)
        low, abs_low = order.order_statistics((signed, size), (ranks, abs_ranks))
        return low, abs_low

    @cached_property
    def quantiles(self) -> Float[Array, "b k"]:
        """Quantiles of the signed residual at QUANTILES."""
        return order.interpolate(self.lines, self._ordered[0], QUANTILES)

    @cached_property
    def abs_quantiles(self) -> Float[Array, "b m"]:
        """Quantiles of the absolute residual at ABS_QUANTILES."""
        low = self._ordered[1][:, : len(ABS_QUANTILES)]
        return order.interpolate(jnp.abs(self.lines), low, ABS_QUANTILES)

    @cached_property
    def top_means(self) -> Float[Array, "b t"]:
        """Mean of the largest absolute residuals, for each of TOP_FRACTIONS."""
        thresholds = self._ordered[1][:, len(ABS_QUANTILES) :]
        return order.top_means(jnp.abs(self.lines), thresholds, TOP_FRACTIONS)


def _lines(images: Float[Array, "b h w c"]) -> Float[Array, "b h wc"]:
    b, h, w, c = images.shape
    return images.reshape(b, h, w * c)
