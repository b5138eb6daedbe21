"""Weights in a file that the user gives, named by "NAME:FILE" or "NAME:FILE#SHA256"."""

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ad_core.backbones.safetensors_files import read_safetensors
from ad_core.backbones.torch_files import read_tensors
from ad_core.errors import UserError

KINDS = (".npz", ".safetensors", ".pth", ".pt")
_HASH = re.compile(r"[0-9a-f]{8,64}")
Shape = tuple[int, ...]


def how_to_write(name: str) -> str:
    """Advice for who has no file of the weights of torchvision's network `name`."""
    return (
        "write one where torchvision is: torch.save(torchvision.models."
        f"{name}(weights='IMAGENET1K_V1').state_dict(), 'FILE.pth')"
    )


class GivenFile:
    """The arrays of the file that a specification names; `mend` tells how to write one."""

    def __init__(self, spec: str, *, mend: str):
        """Raises UserError for no file, one of another kind, or another SHA-256 than the stated."""
        self.name, _, rest = spec.partition(":")
        self.mend = mend
        if not rest:
            raise UserError(f"Backbone {self.name} needs its weights: {self.name}:FILE; {mend}.")
        stated = "" if Path(rest).is_file() else rest.rpartition("#")[2] if "#" in rest else ""
        self.path = Path(rest.removesuffix(f"#{stated}") if stated else rest)
        if not self.path.is_file():
            raise self.error("no such file")
        if self.path.suffix not in KINDS:
            raise self.error(f"a file of weights ends in {', '.join(KINDS)}")
        if stated and not _HASH.fullmatch(stated.lower()):
            raise self.error(f"{stated!r} is no SHA-256: 64 digits, or the first 8 or more of them")
        if not self.sha256.startswith(stated.lower()):
            raise UserError(
                f"Weights of {self.name} (={self.path}): the file has SHA-256 {self.sha256}, not "
                f"{stated}; give the file that was meant, or this hash if it is the right one."
            )

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @functools.cached_property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """All arrays by name; UserError if the file is damaged or holds something else too."""
        if self.path.suffix == ".npz":
            return self._read_npz()
        if self.path.suffix == ".safetensors":
            return read_safetensors(self.path, mend=self.mend)
        return read_tensors(self.path, sha256=self.sha256, mend=self.mend)

    def _read_npz(self) -> Mapping[str, np.ndarray]:
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise self.error(f"the file cannot be read ({error})") from error

    def read(
        self, wanted: Mapping[str, Shape | None], *, beside: Sequence[str] = ()
    ) -> dict[str, np.ndarray]:
        """The wanted arrays by name, as float32.

        Args:
            wanted: name -> shape, None for any.
            beside: beginnings of the names of arrays that the network may have besides.

        Raises:
            UserError: an array that is missing, of another shape, not finite, or more than this
                network has: the weights of another one.
        """
        for name, shape in wanted.items():
            if name not in self.arrays:
                raise self.error(f"the file lacks {name}")
            found = self.arrays[name].shape
            if shape is not None and found != shape:
                raise self.error(f"{name} has the shape {found}, not {shape}")
            if not np.isfinite(self.arrays[name]).all():
                raise self.error(f"{name} holds values that are no numbers")
        for name in self.arrays:
            counts = name.endswith("num_batches_tracked")
            if name not in wanted and not counts and not name.startswith(tuple(beside)):
                raise self.error(f"the file holds {name} too, so it is of another network")
        return {name: self.arrays[name].astype(np.float32) for name in wanted}

    def error(self, fault: str) -> UserError:
        """The error of this file."""
        return UserError(f"Weights of {self.name} (={self.path}): {fault}; {self.mend}.")
