"""Images a second, decoded and resized: the project's pipeline against a thread pool of Pillow.

    python benchmarks/decoding.py [--images=64 --side=512 --size=256]

Writes smooth made-up images of every format to a temporary folder and reads them in batches of 16.
Workers are decoding threads; 0 decodes in the caller's. The pool opens, converts to grey and
resizes by Pillow's bicubic on bytes, with neither checks nor 16 bits; what it cannot read is left
out. Where other work runs, wall time says little: the processor's time an image stands beside it.
"""

# ruff: noqa: E402
import os
import platform
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel
import numpy as np
import PIL
import pydicom
import tifffile
from absl import app, flags
from PIL import Image
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from scipy import ndimage

sys.path[0] = str(Path(__file__).resolve().parents[1])

from ad_core.data.batches import eval_batches
from ad_core.data.formats.pages import spread
from ad_core.data.layouts.files import FileSource
from ad_core.data.layouts.listing import list_images
from ad_core.runtime.defaults import defaults

flags.DEFINE_integer("images", 64, "Images of each format.")
flags.DEFINE_integer("side", 512, "Side of the files' images in pixels.")
flags.DEFINE_integer("size", 256, "Side to which they are resized.")
FLAGS = flags.FLAGS
BATCH = 16
WORKERS = (0, 1, 2, 4)


def picture(number):
    """A smooth image with some noise, 16 bits, which compresses as photographs do."""
    rng = np.random.default_rng(number)
    coarse = ndimage.zoom(rng.uniform(size=(8, 8)), FLAGS.side / 8, order=1)
    noisy = 0.8 * coarse + 0.1 + rng.normal(0, 0.01, coarse.shape)
    return (np.clip(noisy, 0, 1) * 65535).astype(np.uint16)


def write_dicom(path, deep):
    """An uncompressed 16-bit grey image."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.Rows, dataset.Columns = deep.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation, dataset.SamplesPerPixel = 15, 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = deep.tobytes()
    dataset.save_as(path, enforce_file_format=True)


def eight(deep):
    """The image in 8 bits."""
    return Image.fromarray((deep >> 8).astype(np.uint8))


WRITERS = {
    "PNG": lambda path, deep: eight(deep).save(f"{path}.png"),
    "PNG, 16 bits": lambda path, deep: Image.fromarray(deep).save(f"{path}.png"),
    "JPEG": lambda path, deep: eight(deep).save(f"{path}.jpg", quality=90),
    "BMP": lambda path, deep: eight(deep).save(f"{path}.bmp"),
    "WebP": lambda path, deep: eight(deep).save(f"{path}.webp", quality=90),
    "TIFF, 16 bits, zlib": lambda path, deep: tifffile.imwrite(
        f"{path}.tif", deep, compression="zlib"
    ),
    "DICOM, 16 bits": lambda path, deep: write_dicom(f"{path}.dcm", deep),
}
POOLED = ("PNG", "JPEG", "BMP", "WebP")  # what the pool reads right


def write(folder, kind):
    """The files of one format."""
    folder.mkdir()
    if kind == "NIfTI, 16 bits, gzip":
        slices = np.stack([picture(n) for n in range(FLAGS.images)], axis=2)
        nibabel.Nifti1Image(slices, np.eye(4)).to_filename(folder / "volume.nii.gz")
        return
    for number in range(FLAGS.images):
        WRITERS[kind](folder / f"{number:04}", picture(number))


def pipeline(folder, workers):
    """(wall s, processor s, s to the first batch) of reading all images by the project."""
    data = defaults("cpu").data
    data.update({"image_size": FLAGS.size, "page": "all"})
    data.value_range = (0, 65535) if "NIfTI" in folder.name else None
    began, cpu, first = time.perf_counter(), time.process_time(), None
    source = FileSource(folder, spread(folder, list_images(folder), data), data)
    indices = np.arange(len(source))
    for reading in eval_batches(source, indices, batch_size=BATCH, workers=workers):
        first = first or time.perf_counter() - began
        assert not reading.errors, reading.errors
    return time.perf_counter() - began, time.process_time() - cpu, first


def pool(folder, workers):
    """The same of a thread pool of Pillow; 0 workers: no pool."""

    def read(path):
        with Image.open(path) as image:
            small = image.convert("L").resize((FLAGS.size, FLAGS.size), Image.Resampling.BICUBIC)
        return np.asarray(small, np.float32) / 127.5 - 1

    began, cpu, first, batch = time.perf_counter(), time.process_time(), None, []
    paths = sorted(folder.iterdir())
    with ThreadPoolExecutor(max(1, workers)) as threads:
        for image in threads.map(read, paths) if workers else map(read, paths):
            batch.append(image)
            if len(batch) == BATCH:
                np.stack(batch)
                first, batch = first or time.perf_counter() - began, []
    return time.perf_counter() - began, time.process_time() - cpu, first


def row(kind, how, reader, folder):
    """One line of the table."""
    reader(folder, 0)  # imports, and the files into the system's cache
    cells = []
    for workers in WORKERS:
        wall, cpu, first = min(reader(folder, workers) for _ in range(2))
        cells.append(
            f"{FLAGS.images / wall:.0f} / {1000 * cpu / FLAGS.images:.1f} / {1000 * first:.0f}"
        )
    print(f"| {kind} | {how} | " + " | ".join(cells) + " |", flush=True)


def main(_):
    """Prints the table."""
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}, Pillow {PIL.__version__}, NumPy {np.__version__}, "
        f"pydicom {pydicom.__version__}, nibabel {nibabel.__version__}"
    )
    print("images/s / processor ms an image / ms to the first batch, by workers")
    print("| format | by | " + " | ".join(map(str, WORKERS)) + " |")
    print("| --- " * (2 + len(WORKERS)) + "|")
    with tempfile.TemporaryDirectory() as top:
        for kind in (*WRITERS, "NIfTI, 16 bits, gzip"):
            folder = Path(top) / kind
            write(folder, kind)
            row(kind, "pipeline", pipeline, folder)
            if kind in POOLED:
                row(kind, "Pillow in a pool", pool, folder)
    print(f"load average at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    app.run(main)
