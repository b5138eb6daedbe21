"""Images with made-up defects as a source: the normals of another source, each with a defect."""

import zlib
from collections.abc import Mapping, Sequence
from copy import copy

import numpy as np
from jaxtyping import Float, Int

from ad_core.data.crops import part_of
from ad_core.data.source import DataSource, Record
from ad_core.data.synthetic.defects import check_kinds, make_defect, refilled
from ad_core.errors import UserError
from ad_core.types import Sample


class SyntheticSource:
    """Source of `count` images, each a normal one with a made-up defect.

    The normals come in random order, and again where they are fewer; so do the kinds, each equally
    often. What is drawn depends on `seed`, the normal's pixels and the number of the image alone.

    Attributes: `bases` [count], the index of the normal behind each image; `kinds` of each.
    """

    def __init__(
        self,
        source: DataSource,
        normals: Int[np.ndarray, "n"],
        *,
        count: int,
        kinds: Sequence[str],
        seed: int,
    ):
        """Draws which normal gets which kind; reads nothing.

        Raises:
            UserError: an unknown kind, or none.
        """
        check_kinds(kinds)
        self.image_shape, self.letterboxed = source.image_shape, source.letterboxed
        self._source, self._seed = source, seed
        self._drawn: dict[int, np.ndarray] = {}
        order = np.random.default_rng(seed).permutation(np.asarray(normals))
        self.bases = np.resize(order, count if len(order) else 0)
        self.kinds = tuple(kinds[number % len(kinds)] for number in range(len(self.bases)))

    def read(self, index: int) -> Sample:
        """Image at an index; the same bits each time. It has no mask in the file's pixels.

        Raises:
            UserError: the normal cannot be read, or the kind has nothing to change in it.
        """
        sample = self._normal(index)
        rng = np.random.default_rng([self._seed, index, zlib.crc32(sample.image.tobytes())])
        left, top, right, bottom = sample.placement.content
        image = sample.image[top:bottom, left:right]
        defect = make_defect(self.kinds[index], image, rng)
        if not defect.mask.any():
            kind = self.kinds[index]
            raise UserError(f"{self.record(index).path}: {kind} finds nothing to change.")
        if index in self._drawn:
            drawn = self._drawn[index]
            drawn = drawn if sample.motion is None else sample.motion(drawn)
            defect = refilled(image, defect, drawn[top:bottom, left:right])
        height, width, _ = sample.image.shape
        # What lies beyond the content of a letterboxed image is its mirror image.
        around = ((top, height - bottom), (left, width - right), (0, 0))
        return sample._replace(image=np.pad(defect.image, around, mode="symmetric"), mask=None)

    def with_normal_versions(
        self, drawn: Mapping[int, Float[np.ndarray, "h w c"]]
    ) -> "SyntheticSource":
        """The same images, some of whose missing parts are filled as `refilled` says.

        Args:
            drawn: index of an image -> a method's normal version of it, as measurers give it.
        """
        other = copy(self)
        other._drawn = dict(drawn)
        return other

    def _normal(self, index: int) -> Sample:
        sample = self._source.read(int(self.bases[index]))
        if sample.large is None:
            return sample
        # A part is judged, as of a normal to learn from.
        part = part_of(sample.large(), sample.placement.size, seed=index)
        return sample._replace(image=part, large=None)

    def record(self, index: int) -> Record:
        """Entry of an image in a table: of the normal's group, with the kind as its defect."""
        base = self._source.records[int(self.bases[index])]
        path = f"{base.path}#{self.kinds[index]}-{index}"
        return Record(path, 1, self.kinds[index], base.group, base.folder, has_mask=False)
