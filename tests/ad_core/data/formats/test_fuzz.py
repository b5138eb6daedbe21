"""Damaged files of every format: each is read or refused by name, in bounded memory and time."""

import io
import random
import signal
import time
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless

from ad_core.data.formats.image import count_images, read_image
from ad_core.data.formats.stored import Limits, Wanted
from ad_core.errors import UserError

OPTIONS = {
    "size": 16, "channels": 1, "max_pixels": 1_000_000, "max_bytes": 4_000_000, "min_side": 4,
    "max_frames": 100,
}  # fmt: skip
SECONDS = 10  # of the processor, for one file
MEGABYTES = 250  # beyond what the process had; a sound file of a million pixels takes 40


class Hang(BaseException):
    """Passes through every `except Exception`."""


def noise(*shape, dtype=np.uint8):
    top = np.iinfo(dtype).max
    return np.random.default_rng(5).integers(0, top, shape, dtype=dtype, endpoint=True)


def _saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _tiff(**options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, noise(2, 24, 20, dtype=np.uint16), photometric="minisblack", **options)
    return stream.getvalue()


def _dicom(compressed):
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.PatientName, dataset.SOPClassUID = "Doe^Jane", CTImageStorage
    dataset.Rows, dataset.Columns, dataset.NumberOfFrames = 24, 20, 2
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation, dataset.SamplesPerPixel = 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.WindowCenter, dataset.WindowWidth, dataset.RescaleSlope = 2000, 3000, 1
    dataset.PixelData = (noise(2, 24, 20, dtype=np.uint16) >> 4).tobytes()
    if compressed:
        dataset.compress(RLELossless, generate_instance_uid=False)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _nifti(folder, name):
    nibabel.Nifti1Image(noise(20, 24, 3), np.diag([1.0, 2, 3, 1])).to_filename(folder / name)
    return (folder / name).read_bytes()


def sound_files(folder):
    """Suffix -> content of a sound file, some with two pages or three slices."""
    grey, colour = Image.fromarray(noise(24, 20)), Image.fromarray(noise(24, 20, 3))
    frames = [Image.fromarray(frame) for frame in noise(2, 24, 20, 3)]
    return {
        "8.png": _saved(grey, "PNG"),
        "16.png": _saved(Image.fromarray(noise(24, 20, dtype=np.uint16)), "PNG"),
        "a.png": _saved(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "c.jpg": _saved(colour, "JPEG", quality=90),
        "p.jpg": _saved(colour, "JPEG", quality=90, progressive=True),
        "c.bmp": _saved(colour, "BMP"),
        "p.bmp": _saved(colour.quantize(16), "BMP"),
        "l.webp": _saved(colour, "WEBP", lossless=True),
        "a.webp": _saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "raw.tif": _tiff(),
        "zip.tif": _tiff(compression="zlib", predictor=True),
        "lzw.tif": _saved(colour, "TIFF", compression="tiff_lzw"),
        "raw.dcm": _dicom(compressed=False),
        "rle.dcm": _dicom(compressed=True),
        "v.nii": _nifti(folder, "v.nii"),
        "v.nii.gz": _nifti(folder, "v.nii.gz"),
    }


CHECKED = ("8.png", "16.png", "v.nii.gz")  # a checksum guards all that is an image in them


def damage(data, rng):
    """Truncated, flipped or spliced; half of the damage goes to where the structure is."""
    broken = bytearray(data)
    how = rng.choice(("truncate", "flip", "flip", "splice", "extend"))
    if how == "truncate":
        return bytes(broken[: rng.randrange(len(broken))])
    if how == "extend":
        return bytes(broken) + rng.randbytes(rng.randrange(1, 200))
    for _ in range(rng.choice((1, 1, 3, 12))):
        at = rng.randrange(min(600, len(broken)) if rng.random() < 0.5 else len(broken))
        if how == "flip":
            broken[at] ^= 1 << rng.randrange(8)
        else:
            source = rng.randrange(len(data))
            piece = data[source : source + rng.randrange(1, 60)]
            broken[at : at + rng.randrange(60)] = rng.choice((piece, rng.randbytes(len(piece))))
    return bytes(broken)


def peak_megabytes():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def fuzz(folder, count):
    """Reads `count` damaged files; how many were read, and how many refused, by kind."""
    rng, outcomes = random.Random(2024), {}
    kinds = sound_files(folder)
    whole = {}
    for name, data in kinds.items():
        (folder / name).write_bytes(data)
        whole[name] = read_image(folder / name, value_range=(0, 255), page="1", **OPTIONS).image
    limits = Limits(*(OPTIONS[name] for name in Limits._fields))
    for case in range(count):
        name = list(kinds)[case % len(kinds)]
        path = folder / f"bad-{name}"
        path.write_bytes(damage(kinds[name], rng))
        began = time.process_time()
        signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        try:
            count_images(path, Wanted("all", "z"), limits)
            picture = read_image(path, value_range=(0, 255), page="1", **OPTIONS)
        except UserError as error:
            assert path.name in str(error) and "Doe" not in str(error)
            outcomes[name, "refused"] = outcomes.get((name, "refused"), 0) + 1
        else:
            assert picture.image.shape == (16, 16, 1) and picture.image.dtype == np.float32
            assert np.abs(picture.image).max() <= 1
            if name in CHECKED:
                np.testing.assert_array_equal(picture.image, whole[name])
            outcomes[name, "read"] = outcomes.get((name, "read"), 0) + 1
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        assert time.process_time() - began < SECONDS, path
    return outcomes


@pytest.fixture
def alarm():
    def ring(*_):
        raise Hang

    before = signal.signal(signal.SIGVTALRM, ring)
    yield
    signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize(
    "count", [pytest.param(256, id="256"), pytest.param(2_000, id="2000", marks=pytest.mark.slow)]
)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("alarm")
def test_every_damaged_file_is_read_or_refused_by_name(tmp_path, count):
    try:
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak to what is in use now
    except OSError:
        pytest.skip("the peak of memory can be measured on Linux only")
    before = peak_megabytes()
    outcomes = fuzz(tmp_path, count)
    assert peak_megabytes() - before < MEGABYTES
    assert sum(outcomes.values()) == count
    for name in sound_files(tmp_path):
        assert outcomes[name, "refused"] > 0
    assert sum(n for (_, how), n in outcomes.items() if how == "read") > count // 20
