"""Columns of pooled features: one block a method, named by level and number.

They are no statistics by themselves: a classifier first makes one number of all of them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from ad_core.errors import UserError
from ad_core.types import View

_COLUMN = re.compile(r"(?:.*\.)?deep_(?P<level>.+)_\d{4,}")


def feature_names(widths: Mapping[str, int]) -> tuple[str, ...]:
    """Names of the columns, "deep_LEVEL_0000" and on, of levels with so many features each."""
    return tuple(f"deep_{level}_{i:04d}" for level, width in widths.items() for i in range(width))


def is_feature(name: str) -> bool:
    """Tells whether a column is one of pooled features, of any method: "METHOD.deep_LEVEL_0000"."""
    return _COLUMN.fullmatch(name) is not None


def level_numbers(names: Sequence[str]) -> list[int]:
    """Number of the level of each feature, from 0 on; those of two methods are two.

    Raises:
        UserError: a name of something else.
    """
    levels = [name.rpartition("_")[0] for name in names if is_feature(name)]
    if len(levels) != len(names):
        other = next(name for name in names if not is_feature(name))
        raise UserError(f"{other!r} is no column of pooled features.")
    known = {level: number for number, level in enumerate(dict.fromkeys(levels))}
    return [known[level] for level in levels]


def feature_block(names: Iterable[str], view: View) -> Float[Array, "b _"]:
    """The columns `names`, whole levels one after the other, as one array in float32."""
    found = (_COLUMN.fullmatch(name) for name in names)
    levels = dict.fromkeys(match["level"] for match in found if match)
    blocks = [view.features[level].astype(jnp.float32) for level in levels]
    return jnp.concatenate(blocks, axis=1)
