"""Batches for training (endless, resumable) and for judging (in order, never dropping one)."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import grain
import numpy as np
from jaxtyping import Int

from ad_core.data.crops import Crop, part_of
from ad_core.data.draws import WHOLE, Draws, OwnDraws, PairDraws, Share
from ad_core.data.source import DataSource, Source
from ad_core.errors import UserError
from ad_core.types import Batch, Sample


class Reading(NamedTuple):
    """A batch of a source, and what else was read of each of its rows.

    samples: by row; None in padding and where the image could not be read. errors: index -> why it
    could not.
    """

    batch: Batch
    samples: tuple[Sample | None, ...]
    errors: dict[int, str]


class TrainBatches:
    """Endless training batches; the position can be saved and set. Made by `train_batches`."""

    def __init__(self, draws: Draws, *, share: Share, batch_size: int, workers: int):
        self._draws = draws
        self._share = share
        self._batch_size = batch_size // share.count  # of this process
        own = draws if share.count == 1 else OwnDraws(draws, share, self._batch_size)
        self._images = _in_threads(own, workers=workers, ahead=2 * self._batch_size)

    def __iter__(self) -> "TrainBatches":
        return self

    def __next__(self) -> Batch:
        drawn = [next(self._images) for _ in range(self._batch_size)]
        return _batch(
            image=np.stack([image for _, image in drawn]),
            label=np.array([self._draws.labels[index] for index, _ in drawn], np.int32),
            valid=np.ones(self._batch_size, bool),
            index=np.array([index for index, _ in drawn], np.int32),
        )

    def get_state(self) -> dict[str, int]:
        """The position after the batches given so far, as JSON values."""
        return {
            "drawn": int(self._images.get_state()["next_index"]) * self._share.count,
            "images": len(self._draws.indices),
            "seed": self._draws.seed,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Moves to a position that `get_state` gave, in this process or another.

        Raises:
            UserError: it was given for another number of images or another seed.
        """
        for name, own in self.get_state().items():
            if name != "drawn" and state[name] != own:
                raise UserError(
                    f"The checkpoint was trained with {name} = {state[name]}, and this run "
                    f"has {name} = {own}; use the same training images and seed, or a new workdir."
                )
        self._images.set_state({"next_index": state["drawn"] // self._share.count})


def train_batches(
    source: DataSource,
    indices: Int[np.ndarray, "_"],
    *,
    batch_size: int,
    seed: int,
    augment: str,
    workers: int,
    pairs: bool = False,
    crop: Crop | None = None,
    share: Share = WHOLE,
) -> TrainBatches:
    """Endless batches of the images at `indices`, never a partial one.

    Each epoch is another permutation, by (seed, epoch), and runs on into the next. An image's
    augmentation depends on (seed, epoch, index) alone. So the order depends on nothing but
    `seed`, the indices and the position: not on workers, nor on interruptions.

    With `pairs`, rows 2i and 2i + 1 are a normal and an abnormal image, and an epoch holds each
    pair of `make_pairs` once, or once in each of the versions that `augment` gives it.

    Args:
        augment: a kind of `ad_core.data.augment`.
        workers: decoding threads; 0 decodes in the caller's.
        crop: what is cut of each image, each time it is drawn; None: all of it. Of abnormal images
            only those with a mask are then drawn.
        share: of each batch, in its order; the batches of all processes together are those of one.

    Raises:
        UserError: no image (of a class, with `pairs`), processes that do not divide a batch, an
            augmentation that is unknown or does not suit the images' shape, a batch that is empty
            or does not divide into pairs; or, from the iterator, a training image that cannot be
            read.
    """
    if len(indices) == 0:
        raise UserError("The training split holds no image; give more or other shares.")
    if batch_size < 1:
        raise UserError(f"`train.batch_size` (={batch_size}) must be 1 or more.")
    if pairs and batch_size % 2:
        raise UserError(
            f"`train.batch_size` (={batch_size}) must be even: this method trains on pairs of a "
            f"normal and an abnormal image; use {batch_size - 1 or 2} or {batch_size + 1}."
        )
    if batch_size % (share.count * (2 if pairs else 1)):
        raise UserError(
            f"`train.batch_size` (={batch_size}) must be divisible by the number of processes "
            f"(={share.count})" + (", and by 2: this method trains on pairs." if pairs else ".")
        )
    kind = PairDraws if pairs else Draws
    draws = kind(source, np.asarray(indices), seed=seed, kind=augment, crop=crop)
    return TrainBatches(draws, share=share, batch_size=batch_size, workers=workers)


def eval_batches(
    source: Source, indices: Int[np.ndarray, "_"], *, batch_size: int, workers: int
) -> Iterator[Reading]:
    """The images at `indices` in order, each file read once.

    Of an image that is larger than the source's a batch shows it reduced; its sample reads all of
    it, and `teaching` a part. The last batch is padded (`valid` False, `index` -1). An image that
    cannot be read is a row of zeros with `valid` False that keeps its index, and has a message. A
    source without labels gives label 0. Memory does not grow with the number of images: one batch
    is read ahead.

    Args:
        workers: decoding threads; 0 decodes in the caller's.
    """
    rows = _in_threads(_Reads(source, np.asarray(indices)), workers=workers, ahead=batch_size)
    try:
        while taken := list(itertools.islice(rows, batch_size)):
            yield _padded(taken, batch_size, source)
    finally:
        rows.close()


class _Read(NamedTuple):
    index: int
    label: int
    sample: Sample | None
    error: str = ""


class _Reads:
    """The images at `indices`, each read or with the reason why not, for grain to index."""

    def __init__(self, source: Source, indices: np.ndarray):
        self._source = source
        self._indices = indices
        self._records = source.records if isinstance(source, DataSource) else None

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, position: int) -> _Read:
        index = int(self._indices[position])
        label = self._records[index].label if self._records is not None else 0
        try:
            return _Read(index, label, self._source.read(index))
        except UserError as error:
            return _Read(index, label, None, str(error))


def _padded(rows: Sequence[_Read], batch_size: int, source: Source) -> Reading:
    image = np.zeros((batch_size, *source.image_shape), np.float32)
    label = np.zeros(batch_size, np.int32)
    valid = np.zeros(batch_size, bool)
    index = np.full(batch_size, -1, np.int32)
    samples: list[Sample | None] = [None] * batch_size
    for place, row in enumerate(rows):
        label[place], index[place] = row.label, row.index
        if row.sample is not None:
            image[place], valid[place] = row.sample.image, True
            samples[place] = row.sample._replace(image=image[place])  # held once
    batch = _batch(image=image, label=label, valid=valid, index=index)
    errors = {row.index: row.error for row in rows if row.error}
    content = contents(source, samples)
    return Reading(batch._replace(content=content), tuple(samples), errors)


def teaching(reading: Reading) -> Batch:
    """The batch to learn from: of each image that is larger, a part that its index draws."""
    image = np.asarray(reading.batch.image)
    large = [row for row, one in enumerate(reading.samples) if one is not None and one.large]
    if not large:
        return reading.batch
    image = image.copy()
    for row in large:
        seed, sample = int(np.asarray(reading.batch.index)[row]), reading.samples[row]
        assert sample is not None and sample.large is not None
        image[row] = part_of(sample.large(), image.shape[1:3], seed=seed)
    held: Any = image
    return reading.batch._replace(image=held)


def contents(source: Source, samples: Sequence[Sample | None]) -> Int[np.ndarray, "b 4"] | None:
    """`Batch.content` of samples of a source; None where it does not letterbox."""
    if not source.letterboxed:
        return None
    h, w, _ = source.image_shape
    whole = (0, 0, w, h)
    boxes = [whole if sample is None else sample.placement.content for sample in samples]
    return np.array(boxes, np.int32).reshape(-1, 4)


def _batch(*, image: Any, label: Any, valid: Any, index: Any) -> Batch:
    """Batch of host arrays; the type names the arrays that a compiled step sees."""
    return Batch(image=image, label=label, valid=valid, index=index)


def _in_threads(items: Any, *, workers: int, ahead: int) -> grain.DatasetIterator:
    """`items` in order, up to `ahead` of them made in advance by `workers` threads."""
    options = grain.ReadOptions(
        num_threads=workers, prefetch_buffer_size=max(ahead, workers) if workers else 0
    )
    return iter(grain.MapDataset.source(items).to_iter_dataset(options))
