"""Images that training draws, in an order that depends on the seed and the position alone."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from ad_core.data.augment import augment, check_augment, version, versions_of_each
from ad_core.data.crops import Crop, part_of
from ad_core.data.formats.resizing import mask_to_network
from ad_core.data.source import DataSource
from ad_core.errors import UserError
from ad_core.types import Sample

CACHE_BYTES = 512 * 2**20  # decoded training images are kept in memory up to this
ENDLESS = 2**50  # images in one training: more than any will draw


class Share(NamedTuple):
    """Part of every batch that a process reads: the `own`th of `count` equal ones."""

    own: int = 0
    count: int = 1


WHOLE = Share()  # of the only process


class Draws:
    """The images that training draws, one after the other for ever, for grain to index."""

    def __init__(
        self,
        source: DataSource,
        indices: np.ndarray,
        *,
        seed: int,
        kind: str,
        crop: Crop | None = None,
    ):
        shape = source.image_shape
        if crop is not None:
            shape = (crop.tiling.tile, crop.tiling.tile, shape[2])
        check_augment(kind, shape)  # before a thread does
        self.indices = indices
        self._crop = crop
        self.seed = seed
        self.labels = {int(i): source.records[int(i)].label for i in indices}
        self._source = source
        self._kind = kind
        # Two threads may decode one image and count it twice; no harm.
        self._decoded: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}
        self._held = 0  # bytes of what is decoded

    def __len__(self) -> int:
        return ENDLESS

    def __getitem__(self, position: int) -> tuple[int, np.ndarray]:
        epoch, place = divmod(position, len(self.indices))
        index = int(self.indices[_permutation(len(self.indices), self.seed, epoch)[place]])
        return index, self._drawn(index, epoch)

    def _drawn(self, index: int, epoch: int) -> np.ndarray:
        image = self._cropped(index, epoch)
        return augment(image, kind=self._kind, seed=self.seed, epoch=epoch, index=index)

    def _cropped(self, index: int, epoch: int) -> np.ndarray:
        image, mask = self._read(index)
        if self._crop is None:
            size = self._source.image_shape[:2]
            return image if image.shape[:2] == size else part_of(image, size, seed=index)
        return self._crop(image, mask, seed=self.seed, epoch=epoch, index=index)

    def _read(self, index: int) -> tuple[np.ndarray, np.ndarray | None]:
        """An image, and of an abnormal one that is cropped its mask, at the network's size."""
        found = self._decoded.get(index)
        if found is None:
            sample = self._source.read(index)
            image, mask = sample.image, None
            if sample.large is not None:
                image = sample.large()
            if self._crop is not None and self.labels[index]:
                mask = self._mask(index, sample)
            found = image, mask
            size = image.nbytes + (0 if mask is None else mask.nbytes)
            if self._held + size <= CACHE_BYTES:
                self._decoded[index] = found
                self._held += size
        return found

    def _mask(self, index: int, sample: Sample) -> np.ndarray:
        if sample.mask is None:
            self._source.read_mask(index)  # says why not
        if sample.mask is None or not sample.mask.any():
            raise UserError(
                f"{self._source.records[index].path}: its mask marks nothing, and a crop of an "
                "abnormal image must show the defect; draw it, or leave the image out."
            )
        if sample.large is not None:
            return sample.mask
        mask = mask_to_network(sample.mask, sample.placement)
        if sample.motion is None:
            return mask
        moved = sample.motion(mask.astype(np.float32)) > 0
        return moved if moved.any() else mask


class OwnDraws:
    """Images that a process draws: its part of each batch, for grain to index."""

    def __init__(self, draws: Draws, share: Share, size: int):
        self._draws, self._share, self._size = draws, share, size

    def __len__(self) -> int:
        return ENDLESS // self._share.count

    def __getitem__(self, position: int) -> tuple[int, np.ndarray]:
        batch, row = divmod(position, self._size)
        return self._draws[(batch * self._share.count + self._share.own) * self._size + row]


class PairDraws(Draws):
    """The images of the pairs that training draws: normal, abnormal, normal, ..."""

    def __init__(
        self,
        source: DataSource,
        indices: np.ndarray,
        *,
        seed: int,
        kind: str,
        crop: Crop | None = None,
    ):
        if crop is not None:
            indices = _that_crops_can_show(source, indices)
        super().__init__(source, indices, seed=seed, kind=kind, crop=crop)
        labels = np.array([self.labels[int(i)] for i in indices])
        self._pairs = make_pairs(indices[labels == 0], indices[labels == 1], seed=seed)
        self._versions = versions_of_each(kind)

    def __getitem__(self, position: int) -> tuple[int, np.ndarray]:
        drawn, side = divmod(position, 2)
        count = len(self._pairs) * self._versions
        epoch, place = divmod(drawn, count)
        item = int(_permutation(count, self.seed, epoch)[place])
        pair, number = divmod(item, self._versions)
        index = int(self._pairs[pair, side])
        if self._versions > 1:
            return index, version(self._cropped(index, epoch), kind=self._kind, number=number)
        return index, self._drawn(index, epoch)


def _that_crops_can_show(source: DataSource, indices: np.ndarray) -> np.ndarray:
    """Those that are normal or have a mask. Raises UserError if no abnormal one has."""
    records = [source.records[int(i)] for i in indices]
    shown = np.array([record.label == 0 or record.has_mask for record in records], bool)
    if any(record.label for record in records) and not any(
        record.label and record.has_mask for record in records
    ):
        raise UserError(
            "This method learns from tiles of abnormal images too, and none that trains has a mask "
            "that tells which tiles are abnormal; give masks, or set `--config.tiling.tile=0`."
        )
    return indices[shown]


@lru_cache(maxsize=8)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)


def make_pairs(
    normal: Int[np.ndarray, "_"], abnormal: Int[np.ndarray, "_"], *, seed: int
) -> Int[np.ndarray, "p 2"]:
    """Pairs (normal, abnormal), the same in every epoch; p is the size of the larger class.

    Each image of both classes is in a pair. Images of the smaller class, drawn with replacement,
    fill the rest. Source: Bougaham et al., CycleGAN-AD, whose draw has no seed.

    Raises:
        UserError: a class without images.
    """
    if not len(normal) or not len(abnormal):
        raise UserError(
            f"{len(normal)} normal and {len(abnormal)} abnormal images train, and this method "
            "needs pairs of both; give more, or choose a `--config.method` that needs no "
            "abnormal images."
        )
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    count = max(len(normal), len(abnormal))
    sides = [
        np.concatenate([rng.permutation(side), rng.choice(side, count - len(side))])
        for side in (normal, abnormal)
    ]
    return np.stack(sides, axis=1)


def epoch_images(labels: Int[np.ndarray, "_"], *, pairs: bool, augment: str) -> int:
    """Number of images that an epoch over training images with these labels draws."""
    if not pairs:
        return len(labels)
    abnormal = int(np.sum(labels))
    return 2 * max(abnormal, len(labels) - abnormal) * versions_of_each(augment)
