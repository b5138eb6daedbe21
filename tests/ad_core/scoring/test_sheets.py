"""Images larger than the network's: measured part by part, and told as one."""

import threading
import tracemalloc
from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from ad_core.data.formats.image import read_image
from ad_core.scoring.localisation import Localiser, blur
from ad_core.scoring.measuring import Measuring, begin_all, make_measurer
from ad_core.scoring.sheets import by_sheets, make_sheets
from ad_core.statistics import WindowSettings
from ad_core.types import Method, OnePass, TrainState, View
from tests.samples import whole

SIZE = (32, 48)


def local_view(state, image, keys):
    """Nothing but neighbours within 4 px."""
    drawn = blur(image[..., 0], sigma_px=1.0)[..., None]
    found = jnp.abs(image - drawn)[..., 0]
    return View(drawn, {"found": found}, {"highest": found.max(axis=(1, 2))}, anomaly="found")


def measurer_of(batch_size=2, methods=1):
    measuring = Measuring(
        Method(OnePass(lambda batches, key: None), local_view),
        (TrainState(jnp.int32(0), {}, (), {}), None),
        names=("loss_highest", "residual_abs_max"),
        windows=WindowSettings(),
        localise=Localiser(None, 0.0),
    )
    one = make_measurer([measuring] * methods, batch_size=batch_size)
    return by_sheets(one, size=SIZE, overlap=16)


@pytest.fixture(scope="module")
def measurer():
    return measurer_of()


def draw(height, width, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.1, 0.1, (height, width, 1)).astype(np.float32)


@pytest.mark.parametrize("size", [(32, 48), (33, 48), (200, 49), (90, 130), (20, 100), (31, 47)])
def test_own_parts_of_sheets_cover_every_pixel_once(size):
    covered = np.zeros(size, int)
    for sheet in make_sheets(size, SIZE, 16):
        left, top, right, bottom = sheet.own
        covered[top:bottom, left:right] += 1
        x, y, x1, y1 = sheet.box
        assert x <= left < right <= x1 <= size[1] and y <= top < bottom <= y1 <= size[0]
        assert sheet.content == (0, 0, x1 - x, y1 - y)
        # Where a sheet ends within the image, its own part ends half of the overlap before.
        assert all(own - begin >= 8 for own, begin in ((left, x), (top, y)) if begin)
    assert (covered == 1).all()


def test_the_map_of_a_large_image_holds_the_highest_value_of_each_cell(measurer):
    image = draw(96, 144)  # three pixels a cell
    measured = measurer.measure(image[None], None)
    whole = np.asarray(local_view(None, jnp.asarray(image[None]), None).maps["found"])[0]
    cells = whole.reshape(32, 3, 48, 3).max(axis=(1, 3))
    np.testing.assert_allclose(measured.anomaly_map[0], cells, rtol=0, atol=1e-6)
    assert measured.drawn.shape == (1, *SIZE, 1)
    drawn = np.asarray(local_view(None, jnp.asarray(image[None]), None).image)[0, 1::3, 1::3]
    np.testing.assert_allclose(measured.drawn[0], drawn, rtol=0, atol=1e-6)


def test_the_statistics_are_those_of_the_worst_sheet(measurer):
    image = draw(96, 144)
    image[70, 100] = 1.0
    measured = measurer.measure(image[None], None)
    whole = np.asarray(local_view(None, jnp.asarray(image[None]), None).maps["found"])
    np.testing.assert_allclose(measured.statistics[0], whole.max(), rtol=1e-6)
    y, x = np.unravel_index(measured.anomaly_map[0].argmax(), SIZE)
    assert (y, x) == (70 // 3, 100 // 3)


def test_a_sheet_that_is_no_number_decides(measurer):
    image = draw(96, 144)
    image[5, 5] = np.nan
    image[90, 140] = 1.0
    assert not np.isfinite(measurer.measure(image[None], None).statistics).all()


def test_small_and_large_images_keep_their_order(measurer):
    small = np.stack([draw(*SIZE, seed=n) for n in range(3)])
    plain = whole(small[0])
    samples = [plain, plain._replace(large=lambda: draw(70, 60, seed=9)), None]
    content = np.array([[0, 0, 48, 32]] * 3, np.int32)
    measured = begin_all(measurer, small, content, samples).result()
    alone = measurer.measure(draw(70, 60, seed=9)[None], None)
    np.testing.assert_array_equal(measured.statistics[1], alone.statistics[0])
    own = measurer.measure(small, content)
    np.testing.assert_array_equal(measured.statistics[::2], own.statistics[::2])
    np.testing.assert_array_equal(measured.anomaly_map[::2], own.anomaly_map[::2])


def test_the_next_large_image_is_read_while_one_is_measured(measurer):
    asked, plain = [threading.Event() for _ in range(3)], whole(draw(*SIZE))

    def read(number):
        asked[number].set()
        return draw(70, 60, seed=number)

    def begin(image, content):
        """The image after this one is being read, and no other."""
        number = next(n for n in range(3) if np.array_equal(image[0], draw(70, 60, seed=n)))
        assert all(event.wait(30) for event in asked[: number + 2])
        assert not any(event.is_set() for event in asked[number + 2 :])
        return measurer.begin(image, content)

    samples = [plain._replace(large=partial(read, number)) for number in range(3)]
    begun = begin_all(measurer._replace(begin=begin), np.zeros((3, *SIZE, 1)), None, samples)
    assert asked[0].wait(30)
    measured = begun.result()
    for number in range(3):
        alone = measurer.measure(draw(70, 60, seed=number)[None], None)
        np.testing.assert_array_equal(measured.statistics[number], alone.statistics[0])


def test_twenty_sizes_compile_one_program():
    measurer = measurer_of()
    content = np.array([[0, 0, 48, 32]], np.int32)
    for number in range(20):
        height, width = 20 + 7 * number, 160 - 6 * number
        image = draw(height, width)
        if height <= 32 and width <= 48:
            continue
        measurer.measure(image[None], None)
    measurer.measure(draw(*SIZE)[None], content)
    assert measurer.compilations() == 1


def test_an_image_with_fewer_pixels_than_cells_along_a_side_has_a_whole_map(measurer):
    image = draw(20, 130)
    measured = measurer.measure(image[None], None)
    assert np.isfinite(measured.anomaly_map).all()
    whole = np.asarray(local_view(None, jnp.asarray(image[None]), None).maps["found"])[0]
    assert measured.anomaly_map.max() == pytest.approx(whole.max(), abs=1e-6)
    rows = np.arange(32) * 20 // 32
    columns = np.arange(130) * 48 // 130
    cells = np.stack([whole[:, columns == n].max(axis=1) for n in range(48)], axis=1)[rows]
    np.testing.assert_allclose(measured.anomaly_map[0], cells, atol=1e-6)


def test_a_file_is_read_at_its_own_size_and_whole(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (70, 60), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "large.png")
    Image.fromarray(pixels[:20, :30]).save(tmp_path / "small.png")
    options = {
        "size": (32, 48), "channels": 3, "resize": "own_size", "max_pixels": 10**6,
        "max_bytes": 10**6, "min_side": 8,
    }  # fmt: skip
    large = read_image(tmp_path / "large.png", **options)
    scaled = pixels.astype(np.float32) * np.float32(2 / 255) - 1
    np.testing.assert_allclose(large.large(), np.stack([scaled] * 3, axis=-1), atol=1e-6)
    assert large.image.shape == (32, 48, 3) and large.placement.content == (0, 0, 48, 32)
    small = read_image(tmp_path / "small.png", **options)
    assert small.large is None and small.placement.content == (0, 0, 30, 20)
    np.testing.assert_allclose(small.image[:20, :30, 0], scaled[:20, :30], atol=1e-6)
    np.testing.assert_array_equal(small.image[20], small.image[19])


def peak_of(call, *, times=3):
    """Most bytes of NumPy and of files that are held at a time while `call` runs.

    The least of several runs: threads that other tests have left allocate too.
    """
    peaks = []
    for _ in range(times):
        tracemalloc.start()
        try:
            call()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return min(peaks)


def test_measuring_takes_no_more_memory_of_a_longer_image(measurer):
    short, long = draw(300, 100), draw(2400, 100)
    measurer.measure(short[None], None)
    one, other = (peak_of(lambda x=x: measurer.measure(x[None], None)) for x in (short, long))
    more = len(make_sheets((2400, 100), SIZE, 16)) - len(make_sheets((300, 100), SIZE, 16))
    # Of each sheet more only where it lies is kept: a tenth of its 6 kB is much.
    assert more > 200 and other - one < 0.1 * more * 4 * SIZE[0] * SIZE[1]


def test_reading_takes_a_few_bytes_a_pixel(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (2000, 300), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "scan.tif")
    options = {
        "size": (32, 48), "channels": 1, "resize": "own_size", "max_pixels": 10**6,
        "max_bytes": 10**6, "min_side": 8,
    }  # fmt: skip
    sample = read_image(tmp_path / "scan.tif", **options)
    # The file, its content for the decoder, the values, and the image in float32 twice.
    assert peak_of(lambda: read_image(tmp_path / "scan.tif", **options)) < 12 * pixels.size
    assert peak_of(sample.large) < 12 * pixels.size


def test_each_method_that_localises_has_its_map_of_the_whole_image(measurer):
    image = draw(2 * SIZE[0], 3 * SIZE[1])[None]
    one = measurer.measure(image, None)
    both = measurer_of(methods=2).measure(image, None)
    assert both.maps.shape == (1, 2, *SIZE) and np.isfinite(both.maps).all()
    for number in range(2):
        np.testing.assert_array_equal(both.maps[:, number], one.anomaly_map)
    np.testing.assert_array_equal(both.statistics, np.tile(one.statistics, 2))
