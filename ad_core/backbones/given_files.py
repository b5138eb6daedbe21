"""Weights that the user gives as an .npz file, named by "NAME:FILE.npz"."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ad_core.errors import UserError


class GivenFile:
    """The arrays of the file that a specification names; `mend` tells how to write one."""

    def __init__(self, spec: str, *, mend: str):
        """Raises UserError if the specification names no file, or one that is not there."""
        self.name, _, self.path = spec.partition(":")
        self.mend = mend
        if not self.path:
            raise UserError(f"Backbone {self.name} needs its weights: {self.name}:FILE; {mend}")
        if not Path(self.path).is_file():
            raise UserError(f"Weights of {self.name} (={self.path}): no such file; {mend}")

    def names(self) -> list[str]:
        """Names of all arrays."""
        with np.load(self.path, allow_pickle=False) as arrays:
            return arrays.files

    def read(self, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        """The wanted arrays by name; UserError if one is missing."""
        with np.load(self.path, allow_pickle=False) as arrays:
            missing = [name for name in wanted if name not in arrays]
            if missing:
                lacks = f"Weights of {self.name} (={self.path}): the file lacks {missing[0]}"
                raise UserError(f"{lacks}; {self.mend}")
            return {name: arrays[name] for name in wanted}
