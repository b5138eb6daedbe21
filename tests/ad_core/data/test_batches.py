import itertools
import json
import threading
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from ad_core.data import draws
from ad_core.data.batches import eval_batches, train_batches
from ad_core.data.draws import Share
from ad_core.data.layouts.files import FileSource
from ad_core.data.layouts.folder import open_source
from ad_core.data.layouts.listing import list_images
from ad_core.data.source import Record
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults
from ad_core.training.loop import Batches
from tests.samples import whole


class Numbered:
    """Image i holds i / 100 and, in its corners, which way up it is. Counts what it decodes."""

    def __init__(self, count, *, wait=0.0):
        self.records = tuple(
            Record(f"{i}.png", i % 2, "x" if i % 2 else "good", f"{i}", "train", False)
            for i in range(count)
        )
        self.calls = []
        self.threads = set()
        self._wait = wait

    image_shape, letterboxed = (4, 4, 1), False

    def read(self, index):
        # The later half comes sooner, so that threads overtake each other.
        time.sleep(self._wait * (index % 2))
        self.calls.append(index)
        self.threads.add(threading.get_ident())
        image = np.full((4, 4, 1), index / 100, np.float32)
        image[0, 0], image[0, 3], image[3, 0] = -1, -0.5, 0.5
        return whole(image)

    def read_mask(self, index):
        return None


def _train(source, *, indices=None, batch_size=4, seed=0, augment="none", workers=2):
    chosen = np.arange(len(source.records)) if indices is None else np.array(indices)
    return train_batches(
        source, chosen, batch_size=batch_size, seed=seed, augment=augment, workers=workers
    )


def _take(batches, count):
    return [next(batches) for _ in range(count)]


def _order(batches):
    return [int(i) for batch in batches for i in batch.index]


def _assert_equal(first, second):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.index, other.index)


def test_an_epoch_holds_each_image_once_and_batches_run_on_into_the_next():
    batches = _take(_train(Numbered(10)), 15)
    assert all(batch.image.shape == (4, 4, 4, 1) and batch.valid.all() for batch in batches)
    order = _order(batches)
    epochs = [order[start : start + 10] for start in range(0, 60, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_image_label_and_index_of_a_row_belong_together():
    source = Numbered(20, wait=0.002)
    for batch in _take(_train(source, indices=[3, 4, 11, 18], batch_size=3), 8):
        assert set(batch.index.tolist()) <= {3, 4, 11, 18}
        np.testing.assert_allclose(batch.image[:, 2, 2, 0], batch.index / 100)
        np.testing.assert_array_equal(batch.label, batch.index % 2)
        assert (
            batch.image.dtype == np.float32 and batch.index.dtype == batch.label.dtype == np.int32
        )


def test_the_order_is_numpys_permutation_of_seed_and_epoch():
    order = _order(_take(_train(Numbered(8), seed=5), 4))
    expected = [np.random.default_rng((5, epoch)).permutation(8) for epoch in (0, 1)]
    assert order == np.concatenate(expected).tolist()
    assert order != _order(_take(_train(Numbered(8), seed=6), 4))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_and_cache_change_nothing(workers, monkeypatch):
    usual = _take(_train(Numbered(10), augment="flips_and_turns"), 8)
    monkeypatch.setattr(draws, "CACHE_BYTES", 200)
    source = Numbered(10, wait=0.002)
    _assert_equal(usual, _take(_train(source, augment="flips_and_turns", workers=workers), 8))
    caller = {threading.get_ident()}
    assert source.threads == caller if workers == 0 else not source.threads & caller


def test_batch_size_changes_nothing_but_the_cuts():
    source = Numbered(10)
    small = _take(_train(source, batch_size=2, augment="hflip"), 10)
    large = _take(_train(source, batch_size=5, augment="hflip"), 4)
    images = [np.concatenate([batch.image for batch in batches]) for batches in (small, large)]
    np.testing.assert_array_equal(*images)


def test_an_image_is_turned_another_way_in_another_epoch():
    batches = _take(_train(Numbered(1), batch_size=1, augment="flips_and_turns"), 60)
    assert len({batch.image[0].tobytes() for batch in batches}) == 8


def test_images_that_fit_into_memory_are_decoded_once(monkeypatch):
    source = Numbered(6)
    _take(_train(source, workers=0), 9)
    assert sorted(source.calls) == list(range(6))
    monkeypatch.setattr(draws, "CACHE_BYTES", 2 * 64)
    source = Numbered(6)
    _take(_train(source, workers=0), 9)  # six epochs; two images stay
    assert len(source.calls) == 2 + 4 * 6


def test_what_is_done_to_a_batch_does_not_reach_the_images_in_memory():
    batches = _train(Numbered(3), batch_size=3)
    for _ in range(3):
        next(batches).image[:] = 9
    _assert_equal(_take(batches, 3), _take(_train(Numbered(3), batch_size=3), 6)[3:])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("at", [0, 1, 2, 3, 7])
def test_a_resumed_run_equals_the_undisturbed_one(at, workers):
    """10 images in fours: position 2 is within an epoch, 3 over its border, 7 in a third."""

    def fresh():
        return _train(Numbered(10), augment="flips_and_turns", workers=workers)

    undisturbed = _take(fresh(), 14)
    first = fresh()
    assert isinstance(first, Batches)
    _assert_equal(undisturbed[:at], _take(first, at))
    state = json.loads(json.dumps(first.get_state()))
    second = fresh()
    _take(second, 2)  # a start elsewhere leaves no trace
    second.set_state(state)
    assert second.get_state() == state
    _assert_equal(undisturbed[at : at + 1], _take(second, 1))
    again = json.loads(json.dumps(second.get_state()))  # a second time, one batch on
    third = fresh()
    third.set_state(again)
    _assert_equal(undisturbed[at + 1 :], _take(third, 13 - at))
    third.set_state(state)  # and backwards
    _assert_equal(undisturbed[at:], _take(third, 14 - at))


@pytest.mark.parametrize("changed", [{"seed": 1}, {"indices": [0, 1, 2]}])
def test_a_position_of_another_training_is_refused(changed):
    state = _train(Numbered(10)).get_state()
    with pytest.raises(UserError, match="checkpoint was trained with (seed|images) = "):
        _train(Numbered(10), **changed).set_state(state)


def test_training_on_nothing_or_in_empty_batches_is_refused():
    with pytest.raises(UserError, match="no image"):
        _train(Numbered(0))
    with pytest.raises(UserError, match="batch_size"):
        _train(Numbered(3), batch_size=0)
    with pytest.raises(UserError, match="upside"):
        next(_train(Numbered(3), augment="upside"))


@pytest.fixture
def folder(tmp_path):
    """Five normals, of which 1.png is cut off and 3.png is text."""
    place = tmp_path / "train/good"
    place.mkdir(parents=True)
    for number in range(5):
        Image.new("L", (20, 30), 40 * number).save(place / f"{number}.png")
    (place / "1.png").write_bytes((place / "1.png").read_bytes()[:50])
    (place / "3.png").write_text("no image")
    data = defaults("cpu").data
    data.root = str(tmp_path)
    data.image_size = 16
    return data


@pytest.mark.parametrize("workers", [0, 2])
def test_a_damaged_training_image_stops_the_run_by_name(folder, workers):
    source = open_source(folder)
    with pytest.raises(
        UserError, match=r"train/good/1\.png: cannot be decoded.*remove it"
    ) as caught:
        _take(_train(source, indices=[0, 1, 2], workers=workers), 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 16])
def test_judging_keeps_the_order_and_pads_the_last_batch(batch_size, workers):
    indices = np.array([9, 2, 3, 0, 11, 12, 5])
    source = Numbered(14, wait=0.002)
    results = list(eval_batches(source, indices, batch_size=batch_size, workers=workers))
    assert len(results) == -(-7 // batch_size)
    assert all(result.batch.image.shape == (batch_size, 4, 4, 1) for result in results)
    batches = [result.batch for result in results if not result.errors]
    index = np.concatenate([batch.index for batch in batches])
    valid = np.concatenate([batch.valid for batch in batches])
    image = np.concatenate([batch.image for batch in batches])
    label = np.concatenate([batch.label for batch in batches])
    assert index[:7].tolist() == indices.tolist() and valid[:7].all()
    assert (index[7:] == -1).all() and not valid[7:].any() and not image[7:].any()
    np.testing.assert_allclose(image[:7, 2, 2, 0], indices / 100)
    np.testing.assert_array_equal(label[:7], indices % 2)


def test_an_unreadable_image_is_an_invalid_row_with_its_message(folder):
    source = FileSource(folder.root, list_images(folder.root), folder)
    (batch, samples, errors), (last, last_samples, last_errors) = eval_batches(
        source, np.arange(5), batch_size=4, workers=2
    )
    assert batch.index.tolist() == [0, 1, 2, 3]
    assert batch.valid.tolist() == [True, False, True, False]
    assert set(errors) == {1, 3} and "1.png" in errors[1] and "whatever its name" in errors[3]
    assert not batch.image[[1, 3]].any() and batch.label.tolist() == [0] * 4
    np.testing.assert_allclose(batch.image[2], 80 / 127.5 - 1, atol=1e-6)
    assert last.valid.tolist() == [True, False, False, False] and not last_errors
    sizes = [s and (s.placement.width, s.placement.height) for s in (*samples, *last_samples)]
    assert sizes == [(20, 30), None, (20, 30), None, (20, 30), None, None, None]


def test_a_batch_of_unreadable_images_has_the_shape_of_the_others(folder):
    source = FileSource(folder.root, list_images(folder.root), folder)
    ((batch, samples, errors),) = eval_batches(source, np.array([3, 1]), batch_size=3, workers=2)
    assert batch.image.shape == (3, 16, 16, 1) and not batch.valid.any()
    assert batch.index.tolist() == [3, 1, -1] and list(errors) == [3, 1] and samples == (None,) * 3


def test_an_error_of_our_own_is_not_taken_for_a_damaged_image():
    class Wrong(Numbered):
        def read(self, index):
            raise KeyError(index)

    with pytest.raises(KeyError):
        list(eval_batches(Wrong(3), np.arange(3), batch_size=2, workers=2))


def test_nothing_to_judge_gives_no_batch():
    assert list(eval_batches(Numbered(3), np.arange(0), batch_size=2, workers=2)) == []


def test_judging_reads_one_batch_ahead_and_no_more():
    source = Numbered(400)
    batches = eval_batches(source, np.arange(400), batch_size=8, workers=4)
    for number, _ in enumerate(itertools.islice(batches, 20), start=1):
        time.sleep(0.002)
        assert len(source.calls) <= 8 * (number + 1)


def test_memory_of_judging_does_not_grow_with_the_number_of_images():
    class Large(Numbered):
        image_shape = (64, 64, 1)

        def read(self, index):
            return whole(np.zeros((64, 64, 1), np.float32))

    peaks = []
    for count in (100, 1000):
        source = Large(count)
        tracemalloc.start()
        for _ in eval_batches(source, np.arange(count), batch_size=10, workers=2):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 900 more images are 14.7 MB; ten are 0.16 MB.
    assert peaks[1] < peaks[0] + 500_000


def test_leaving_early_stops_the_threads():
    before = threading.active_count()
    batches = eval_batches(Numbered(1000, wait=0.001), np.arange(1000), batch_size=8, workers=4)
    next(batches)
    batches.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


@pytest.mark.parametrize("pairs", [False, True])
def test_parts_of_processes_make_the_batches_of_one(pairs):
    source = Numbered(10)

    def begin(own=0, count=1):
        return train_batches(
            source,
            np.arange(10),
            batch_size=8,
            seed=3,
            augment="flips_and_turns",
            workers=1,
            pairs=pairs,
            share=Share(own, count),
        )

    alone, together = (
        begin(),
        [begin(own, 4 if not pairs else 2) for own in range(2 if pairs else 4)],
    )
    for _ in range(4):
        batch, parts = next(alone), [next(each) for each in together]
        for name in ("image", "label", "index"):
            joined = np.concatenate([getattr(part, name) for part in parts])
            np.testing.assert_array_equal(joined, getattr(batch, name))
        assert all(each.get_state() == alone.get_state() for each in together)
    resumed = begin(1, 2)
    resumed.set_state(json.loads(json.dumps(alone.get_state())))
    np.testing.assert_array_equal(next(resumed).index, next(alone).index[4:])


def test_processes_that_do_not_divide_a_batch_are_refused():
    options = {"seed": 0, "augment": "none", "workers": 0}
    with pytest.raises(UserError, match=r"`train.batch_size` \(=8\) .* processes \(=3\)"):
        train_batches(Numbered(4), np.arange(4), batch_size=8, share=Share(0, 3), **options)
    with pytest.raises(UserError, match="and by 2: this method trains on pairs"):
        train_batches(
            Numbered(4), np.arange(4), batch_size=6, share=Share(0, 2), pairs=True, **options
        )
