"""Medical, 16-bit and float files through the commands, sound and damaged."""

import hashlib
import json
import shutil

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian


def write_dicom(path, stored):
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "PID-4711"
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation, dataset.SamplesPerPixel = 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = stored.astype(np.uint16).tobytes()
    dataset.save_as(path, enforce_file_format=True)


def noise(*shape, top):
    return np.random.default_rng(len(shape)).integers(0, top + 1, shape)


@pytest.fixture
def ward(tmp_path):
    """Sound and damaged files of a hospital."""
    root = tmp_path / "ward"
    root.mkdir()
    write_dicom(root / "one.dcm", noise(1, 40, 50, top=4095))
    write_dicom(root / "series.dcm", noise(3, 40, 50, top=4095))
    volume = nibabel.Nifti1Image(noise(20, 24, 4, top=255).astype(np.uint8), np.eye(4))
    volume.to_filename(root / "volume.nii.gz")
    nibabel.Nifti1Image(noise(20, 24, 4, top=255) * 1.0, np.eye(4)).to_filename(root / "float.nii")
    Image.fromarray(noise(30, 30, top=65535).astype(np.uint16)).save(root / "deep.png")
    whole = (root / "one.dcm").read_bytes()
    (root / "cut.dcm").write_bytes(whole[:-200])
    (root / "flipped.dcm").write_bytes(whole[:150] + bytes(80) + whole[230:])
    (root / "cut.nii.gz").write_bytes((root / "volume.nii.gz").read_bytes()[:400])
    (root / "cut.nii").write_bytes((root / "float.nii").read_bytes()[:-1])
    return root


# A detector that has no range cannot give their values one grey: each is a row that says so.
RANGELESS = {
    "one.dcm", *(f"series.dcm#{k}" for k in range(3)), *(f"float.nii#z={k}" for k in range(4)),
}  # fmt: skip
SOUND = {"deep.png", *(f"volume.nii.gz#z={k}" for k in range(4))}
DAMAGED = {"cut.dcm", "flipped.dcm", "cut.nii.gz", "cut.nii"}


def with_pages(workdir, folder, value_range):
    """A copy of the detector that reads all pages; what it scores is beside the point."""
    shutil.copytree(workdir / "detector", folder)
    described = json.loads((folder / "detector.json").read_text())
    described["config"]["data"] |= {"page": "all", "value_range": value_range}
    (folder / "detector.json").write_text(json.dumps(described))
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    manifest["detector.json"] = hashlib.sha256((folder / "detector.json").read_bytes()).hexdigest()
    (folder / "MANIFEST.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("value_range", [None, (0, 4095)])
def test_every_page_has_a_row_and_a_damaged_file_is_inspected(
    launch, workdir, ward, tmp_path, capfd, value_range
):
    detector = with_pages(workdir, tmp_path / "detector", value_range)
    output = tmp_path / "out"
    argv = (f"--detector={detector}", f"--input={ward}", f"--output={output}", "--batch_size=8")
    assert launch("score", *argv, "--maps") == 3
    rows = {row["path"]: row for row in pq.read_table(output / "scores.parquet").to_pylist()}
    assert set(rows) == SOUND | DAMAGED | RANGELESS
    read = SOUND | RANGELESS if value_range else SOUND
    for name, row in rows.items():
        assert row["status"] == ("ok" if name in read else "error")
        if name not in read:
            assert row["decision"] == "inspect" and row["score"] is None
            assert name.split("#")[0] in row["error"]
            assert ("value_range" in row["error"]) == (name in RANGELESS)
    said = "".join(capfd.readouterr()) + "".join(
        path.read_bytes().decode("latin-1") for path in output.rglob("*") if path.is_file()
    )
    assert "Doe" not in said and "PID-4711" not in said
    with Image.open(output / "maps" / "volume.nii.gz#z=1.png") as image:
        assert image.size == (20, 24)


@pytest.fixture
def plates(tmp_path):
    """Float images of several sizes: smooth; abnormal ones with a bright bar, and masks."""
    rng = np.random.default_rng(3)
    root = tmp_path / "plates"
    for number in range(60):
        shape = ((40, 64), (64, 40), (48, 48))[number % 3]
        image = rng.normal(500, 20, shape).astype(np.float32)
        folder, defect = ("test" if number % 2 else "train"), ("bar" if number % 5 == 4 else "good")
        if defect == "bar":
            image[10:20, 12:30] += 400
            mask = np.zeros(shape, np.uint8)
            mask[10:20, 12:30] = 255
            truth = root / f"ground_truth{'' if number % 2 else '_train'}" / "bar"
            truth.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(truth / f"{number}_mask.png")
        (root / folder / defect).mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(root / folder / defect / f"{number}.tif", image)
    return root


@pytest.mark.slow
def test_a_robust_range_is_fixed_by_the_training_normals_alone(
    launch, job_arguments, plates, tmp_path
):
    root = tmp_path / "run"
    config, *rest = job_arguments
    argv = [
        config.replace("retina_oct.py:phantom,cpu", "folder.py:cpu"),
        *(word for word in rest if "phantom" not in word),
        f"--config.data.root={plates}", "--config.data.channels=1",
        "--config.data.resize=letterbox", "--config.data.value_range=robust",
        f"--workdir={root}",
    ]  # fmt: skip
    assert launch("train", *argv) == 0
    data = json.loads((root / "config.json").read_text())["data"]
    detector = json.loads((root / "detector" / "detector.json").read_text())["config"]["data"]
    assert detector["value_range"] == data["value_range"]
    low, high = data["value_range"]
    # The bars (900) are in no training image; a tenth of the span lies beyond both quantiles.
    quantiles = 500 + 20 * np.array([-2.5758, 2.5758])
    margin = 0.1 * (quantiles[1] - quantiles[0])
    np.testing.assert_allclose((low, high), quantiles + [-margin, margin], atol=1.5)
    # The same command finds the work done; test images decide nothing.
    for path in (plates / "test").rglob("*.tif"):
        tifffile.imwrite(path, tifffile.imread(path) + 1000)
    assert launch("train", *argv) == 0
    assert json.loads((root / "config.json").read_text())["data"] == data
    pixel = json.loads((root / "results.json").read_text())["pixel"]
    assert 0 <= pixel["auroc"] <= 1 and pixel["stride"] == 1
    output = tmp_path / "out"
    argv = (f"--detector={root / 'detector'}", f"--input={plates / 'test'}", f"--output={output}")
    assert launch("score", *argv, "--batch_size=8", "--maps") == 0
    for row in pq.read_table(output / "scores.parquet").to_pylist():
        height, width = tifffile.imread(plates / "test" / row["path"]).shape
        with Image.open(output / "maps" / f"{row['path']}.png") as image:
            assert image.size == (width, height)
