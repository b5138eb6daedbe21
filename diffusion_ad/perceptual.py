"""Residual in the features of a frozen backbone, whose weights travel with the method."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from ad_core.backbones import load_backbone, network_of
from ad_core.backbones.perceptual import distance_maps

Params = dict[str, Any]


class Perceptual(NamedTuple):
    """The backbone and levels that compare an image with its normal version.

    spec: as `load_backbone` takes it. levels: of the backbone; (): all.
    """

    spec: str
    levels: tuple[str, ...]
    dtype: str

    def weights(self) -> Params:
        """The weights that the levels need, under their name; errors as `load_backbone`."""
        with jax.ensure_compile_time_eval():  # kept, so no part of whatever is traced just now
            found = load_backbone(self.spec)
        levels = self.levels or tuple(found.strides)
        return {"perceptual": found.network.part(found.params, levels)}

    def __call__(
        self, params: Params, x: Float[Array, "b h w c"], y: Float[Array, "b h w c"]
    ) -> Float[Array, "b _ _"]:
        """Distances of each pair, summed over the levels at the size of the finest."""
        look = functools.partial(
            network_of(self.spec).stages,
            params["perceptual"],
            levels=self.levels,
            dtype=self.dtype,
        )
        maps = distance_maps(look(x), look(y))
        h, w = max(m.shape[1] for m in maps.values()), max(m.shape[2] for m in maps.values())
        scaled = [_enlarged(m, h, w) for m in maps.values()]
        return jnp.sum(jnp.stack(scaled), axis=0)


def make_perceptual(config: ConfigDict) -> Perceptual | None:
    """The comparison that a complete configuration names, if it does."""
    section = config.reconstructor.perceptual
    if not section.backbone:
        return None
    return Perceptual(section.backbone, tuple(section.levels), config.train.dtype)


def _enlarged(x: Float[Array, "b _ _"], h: int, w: int) -> Float[Array, "b {h} {w}"]:
    return jax.image.resize(x, (x.shape[0], h, w), "linear", antialias=False)
