import os
import random
import struct
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from ad_core.data.formats.image import read_image
from ad_core.data.formats.masks import read_mask
from ad_core.data.formats.stored import Limits, Wanted
from ad_core.errors import UserError

LIMITS = {"max_pixels": 1_000_000, "max_bytes": 10_000_000, "min_side": 4}


def _read(path, size=8, channels=1, **options):
    return read_image(path, size=size, channels=channels, **{**LIMITS, **options})


def _noise(shape, dtype, seed=0):
    high = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, high, shape, dtype=dtype, endpoint=True)


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width, height, depth, colour, rows):
    """A PNG by the letter of its specification: signature, IHDR, IDAT, IEND."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".webp"])
def test_eight_bits_map_0_to_minus_1_and_255_to_1(tmp_path, suffix):
    stored = _noise((8, 8), np.uint8)
    stored[0, :2] = 0, 255
    path = tmp_path / f"a{suffix}"
    Image.fromarray(stored).save(path, lossless=True)
    picture = _read(path)
    assert picture.image.dtype == np.float32
    assert picture.image[0, 0, 0] == -1 and picture.image[0, 1, 0] == 1
    np.testing.assert_allclose(picture.image[..., 0], stored / 127.5 - 1, atol=1e-6)


def test_jpeg_is_read_as_pillow_decodes_it(tmp_path):
    path = tmp_path / "a.JPG"
    Image.fromarray(_noise((8, 8, 3), np.uint8)).save(path)
    expected = np.asarray(Image.open(path)) / 127.5 - 1
    np.testing.assert_allclose(_read(path, channels=3).image, expected, atol=1e-6)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (8, 8, 4)])
def test_all_sixteen_bits_of_a_tiff_count(tmp_path, shape, compression, order):
    stored = _noise(shape, np.uint16)
    path = tmp_path / "a.tif"
    kind = "minisblack" if len(shape) == 2 else "rgb"
    tifffile.imwrite(path, stored, photometric=kind, compression=compression, byteorder=order)
    expected = np.atleast_3d(stored)[..., :3] / 32767.5 - 1
    image = _read(path, channels=3).image
    np.testing.assert_allclose(image, np.broadcast_to(expected, (8, 8, 3)), atol=1e-6)


@pytest.mark.parametrize("colour, bands", [(0, 1), (2, 3), (6, 4)])
def test_all_sixteen_bits_of_a_png_count(tmp_path, colour, bands):
    stored = _noise((8, 8, bands), np.uint16)
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in stored)
    path = tmp_path / "a.png"
    path.write_bytes(_png(8, 8, 16, colour, rows))
    expected = np.broadcast_to(stored[..., :3] / 32767.5 - 1, (8, 8, 3))
    np.testing.assert_allclose(_read(path, channels=3).image, expected, atol=1e-6)


def test_a_declared_range_is_stretched_and_clipped(tmp_path):
    stored = np.linspace(0, 6000, 64).reshape(8, 8).astype(np.uint16)
    path = tmp_path / "a.png"
    Image.fromarray(stored).save(path)
    sample = _read(path, value_range=(1000, 4095))
    expected = np.interp(stored, [1000, 4095], [-1, 1])
    np.testing.assert_allclose(sample.image[..., 0], expected, atol=1e-5)
    assert sample.clipped == ((stored < 1000).sum() + (stored > 4095).sum()) / 64


def test_the_ends_of_a_range_are_not_clipped_and_each_colour_counts(tmp_path):
    stored = np.full((8, 8, 3), 100, np.uint8)
    stored[0, :2] = (90, 110, 89)
    stored[1, 0] = (111, 100, 100)
    path = tmp_path / "a.png"
    Image.fromarray(stored).save(path)
    for channels in (1, 3):
        assert _read(path, channels=channels, value_range=(90, 110)).clipped == 3 / 192
    tifffile.imwrite(tmp_path / "a.tif", np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8))
    assert _read(tmp_path / "a.tif", value_range=(0, 1)).clipped == 0
    assert _read(tmp_path / "a.tif", value_range=(-1e300, 0.5)).clipped == 0.5


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.int16])
def test_a_type_without_a_natural_range_needs_one(tmp_path, dtype):
    stored = np.linspace(-900, 3000, 64).reshape(8, 8).astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored)
    with pytest.raises(UserError, match=r"a\.tif.*value_range"):
        _read(path)
    image = _read(path, value_range=(-1000, 3000)).image[..., 0]
    np.testing.assert_allclose(image, (stored.astype(float) + 1000) / 2000 - 1, atol=1e-5)


def test_large_integers_keep_their_digits(tmp_path):
    stored = 2**30 + np.arange(64, dtype=np.int32).reshape(8, 8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored)
    image = _read(path, value_range=(2**30, 2**30 + 63)).image[..., 0]
    np.testing.assert_allclose(image, np.arange(64).reshape(8, 8) / 31.5 - 1, atol=1e-6)


@pytest.mark.parametrize("low_high", [(5, 5), (5, 1), (0, np.inf), (np.nan, 1)])
def test_an_impossible_range_is_refused(tmp_path, low_high):
    path = tmp_path / "a.png"
    Image.fromarray(_noise((8, 8), np.uint8)).save(path)
    with pytest.raises(UserError, match="value_range"):
        _read(path, value_range=low_high)


@pytest.mark.parametrize(
    "stored, options, word",
    [
        (_noise((8, 8), np.uint32), {}, "32-bit"),
        (_noise((8, 8), np.uint16), {"photometric": "miniswhite"}, "white as zero"),
        (
            _noise((3, 8, 8), np.uint16),
            {"photometric": "rgb", "planarconfig": "separate"},
            "separate planes",
        ),
        (
            _noise((8, 8, 4), np.uint16),
            {"photometric": "rgb", "extrasamples": ["assocalpha"]},
            "16-bit colour",
        ),
    ],
)
def test_what_pillow_would_change_in_silence_is_refused(tmp_path, stored, options, word):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored, **options)
    with pytest.raises(UserError, match=word):
        _read(path, value_range=(0, 1))


def test_grey_from_colour_is_the_rec_601_luma(tmp_path):
    stored = _noise((8, 8, 3), np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(stored).save(path)
    luma = stored @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(_read(path).image[..., 0], luma / 127.5 - 1, atol=1e-5)


def test_colour_from_grey_repeats_it(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(_noise((8, 8), np.uint8)).save(path)
    image = _read(path, channels=3).image
    assert image.shape == (8, 8, 3)
    np.testing.assert_array_equal(image, np.repeat(_read(path).image, 3, axis=2))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1", "CMYK", "RGBa", "P with alpha"])
def test_every_mode_keeps_its_visible_colours(tmp_path, mode):
    stored = np.zeros((8, 8, 3), np.uint8)
    stored[:4], stored[4:, :4] = (255, 255, 255), (0, 0, 0)
    stored[4:, 4:] = (0, 0, 0) if mode in ("1", "LA") else (255, 0, 0)
    image = Image.fromarray(stored)
    path = tmp_path / ("a.tif" if mode in ("CMYK", "RGBa") else "a.png")
    if mode == "P with alpha":
        image = image.quantize(4)
        image.save(path, transparency=bytes([0, 255, 255, 255]))
    elif mode == "RGBa":
        opaque = np.dstack([stored, np.full((8, 8), 255, np.uint8)])
        tifffile.imwrite(path, opaque, photometric="rgb", extrasamples=["assocalpha"])
    else:
        image.convert(mode).save(path)
    read = _read(path, channels=3).image
    np.testing.assert_allclose(read, stored / 127.5 - 1, atol=1e-6)


def test_alpha_is_dropped_and_not_blended(tmp_path):
    stored = _noise((8, 8, 4), np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(stored).save(path)
    expected = stored[..., :3] / 127.5 - 1
    np.testing.assert_allclose(_read(path, channels=3).image, expected, atol=1e-6)


# Where the pixel of the upright image's top left corner lies in the stored one (TIFF 6.0, tag
# 274: the visual position of the 0th row and 0th column), and whether the sides are swapped.
UPRIGHT_CORNER = {
    1: (0, 0, False),
    2: (0, -1, False),
    3: (-1, -1, False),
    4: (-1, 0, False),
    5: (0, 0, True),
    6: (-1, 0, True),
    7: (-1, -1, True),
    8: (0, -1, True),
}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("orientation", UPRIGHT_CORNER)
def test_exif_orientation_turns_the_image_upright(tmp_path, orientation, suffix):
    row, column, swapped = UPRIGHT_CORNER[orientation]
    stored = np.zeros((16, 32), np.uint8)
    stored[:8, :8] = 60  # every corner has a grey of its own
    stored[:8, -8:] = 120
    stored[-8:, :8] = 180
    stored[-8:, -8:] = 240
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(stored).save(path, exif=exif, quality=95)
    picture = _read(path, size=32)
    assert picture.placement[:2] == ((16, 32) if swapped else (32, 16))
    upright = np.round((picture.image[..., 0] + 1) * 127.5)
    assert abs(upright[0, 0] - stored[row, column]) <= 3
    beside = (-1 - row, column) if swapped else (row, -1 - column)
    assert abs(upright[0, -1] - stored[beside]) <= 3


@pytest.mark.parametrize("shape", [(40, 20), (8, 30), (5, 5)])
def test_resizing_is_pillows_bicubic_on_floats(tmp_path, shape):
    stored = _noise(shape, np.uint16)
    path = tmp_path / "a.png"
    Image.fromarray(stored).save(path)
    full = Image.fromarray((stored / 32767.5 - 1).astype(np.float32))
    expected = np.clip(np.asarray(full.resize((16, 16), Image.Resampling.BICUBIC)), -1, 1)
    np.testing.assert_allclose(_read(path, size=16).image[..., 0], expected, atol=1e-5)


def test_fine_stripes_shrink_to_their_mean(tmp_path):
    """Without antialiasing they would leave a pattern or one of the two greys."""
    stored = np.tile(np.array([0, 255], np.uint8), (128, 64))
    path = tmp_path / "a.png"
    Image.fromarray(stored).save(path)
    inside = _read(path, size=16).image[2:-2, 2:-2]
    np.testing.assert_allclose(inside, 0, atol=0.02)


def _good(path):
    Image.fromarray(_noise((16, 16, 3), np.uint8)).save(path, lossless=True)
    return path.read_bytes()


def _write(path, data):
    path.write_bytes(data)
    return path


def test_a_png_that_claims_a_hundred_thousand_squared_is_refused_unopened(tmp_path):
    path = _write(tmp_path / "huge.png", _png(100_000, 100_000, 8, 0, b"\x00" * 100))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=r"huge\.png: claims 100000 x 100000.*max_pixels"):
            _read(path, max_pixels=10**9)


def test_an_image_above_pillows_own_limit_is_read_within_ours(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    path = tmp_path / "a.png"
    _good(path)
    assert _read(path).placement.width == 16


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
def test_a_truncated_image_is_refused(tmp_path, suffix):
    data = _good(tmp_path / f"good{suffix}")
    for share in (0.1, 0.5, 0.9):
        path = _write(tmp_path / f"cut{suffix}", data[: int(len(data) * share)])
        with pytest.raises(UserError, match=r"cut\..*copy it again|cut\..*remove"):
            _read(path)


@pytest.mark.parametrize(
    "name, data, word",
    [
        ("zero.png", b"", "empty"),
        ("text.png", b"this is no image at all", "whatever its name"),
        ("short.png", b"\x89PNG\r\n\x1a\n", "decoded"),
        ("gif.png", b"GIF89a" + bytes(40), "whatever its name"),
    ],
)
def test_what_is_no_image_is_refused_by_name(tmp_path, name, data, word):
    with pytest.raises(UserError, match=f"{name}.*{word}"):
        _read(_write(tmp_path / name, data))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "none.png", tmp_path, f"{tmp_path}/{'a' * 300}.png"):
        with pytest.raises(UserError, match="check|give"):
            _read(path)


def test_a_named_pipe_does_not_hang_the_reader(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match="not a file"):
        _read(tmp_path / "pipe.png")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_are_refused(tmp_path, value):
    stored = np.zeros((8, 8), np.float32)
    stored[3, 4] = value
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, stored)
    with pytest.raises(UserError, match=r"a\.tif.*not finite"):
        _read(path, value_range=(0, 1))


def test_limits_of_bytes_pixels_and_sides_name_their_setting(tmp_path):
    path = tmp_path / "a.png"
    _good(path)
    for option, value in (("max_bytes", 100), ("max_pixels", 255), ("min_side", 17)):
        with pytest.raises(UserError, match=f"data.{option}"):
            _read(path, **{option: value})


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_several_frames_are_refused(tmp_path, suffix):
    frames = [Image.fromarray(_noise((8, 8, 3), np.uint8, seed)) for seed in range(3)]
    path = tmp_path / f"a{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match="several frames"):
        _read(path)


def test_pixel_data_of_a_png_that_fails_its_checksum_is_refused(tmp_path):
    """Stored (uncompressed) blocks, so that no flipped byte breaks the compression itself."""
    stored = _noise((16, 16), np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(stored).save(path, compress_level=0)
    data = path.read_bytes()
    start = data.index(b"IDAT") + 15
    for at in range(start, len(data) - 24, 37):
        damaged = data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :]
        with pytest.raises(UserError, match="damaged"):
            _read(_write(path, damaged))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
@pytest.mark.filterwarnings("ignore")
def test_any_damaged_file_is_read_or_refused(tmp_path, suffix):
    data = _good(tmp_path / f"good{suffix}")
    rng = random.Random(suffix)
    outcomes = set()
    for case in range(60):
        damaged = bytearray(data)
        for _ in range(rng.choice((1, 3, 20))):
            # Half of the damage goes to the header, where the structure is.
            at = rng.randrange(60 if rng.random() < 0.5 else len(data))
            damaged[at] = rng.randrange(256)
        if case % 3 == 0:
            cut = rng.randrange(len(data))
            damaged[cut : cut + rng.randrange(50)] = rng.randbytes(rng.randrange(50))
        path = _write(tmp_path / f"bad{suffix}", bytes(damaged))
        try:
            picture = _read(path, channels=3, value_range=rng.choice((None, (0, 200))))
        except UserError as error:
            assert path.name in str(error)
            outcomes.add("refused")
        else:
            assert picture.image.shape == (8, 8, 3) and picture.image.dtype == np.float32
            assert np.abs(picture.image).max() <= 1
            outcomes.add("read")
    assert "refused" in outcomes


def test_an_opaque_black_mask_with_alpha_is_empty(tmp_path):
    stored = np.zeros((8, 8, 4), np.uint8)
    stored[..., 3] = 255
    Image.fromarray(stored).save(tmp_path / "a.png")
    mask = read_mask(tmp_path / "a.png", Wanted("refuse", "z"), Limits(100, 1000, 1, 1))
    assert not mask.abnormal.any()


def test_channels_other_than_1_and_3_are_refused(tmp_path):
    with pytest.raises(UserError, match="channels"):
        _read(tmp_path / "a.png", channels=2)
