"""DICOM files made here, against the formulas of PS3.3 worked out by hand."""

import io
import logging
import sys

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
    generate_uid,
)

from ad_core.data.formats.image import count_images, read_image
from ad_core.data.formats.stored import Limits, Wanted
from ad_core.errors import UserError

LIMITS = {"max_pixels": 1_000_000, "max_bytes": 10_000_000, "min_side": 4}
SECRETS = ("Doe^Jane", "PID-4711", "19700101")


def header(**values):
    """An 8 x 8 CT header of unsigned 16-bit values, with a patient in it."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["test"])
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = SECRETS
    dataset.Rows = dataset.Columns = 8
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def save(path, stored, **values):
    dataset = header(**values)
    dataset.PixelData = np.ascontiguousarray(stored).tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def item(**values):
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def read(path, **options):
    return read_image(path, **{"size": 8, "channels": 1, **LIMITS, **options})


def grey(path, **options):
    return read(path, **options).image[..., 0]


RAMP = (np.arange(64).reshape(8, 8) * 64).astype(np.uint16)  # 0 .. 4032


def test_rescaled_values_through_the_window_of_the_file(tmp_path):
    path = save(
        tmp_path / "a.dcm", RAMP, RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=40,
        WindowWidth=400,
    )  # fmt: skip
    hounsfield = RAMP * 2.0 - 1024
    # PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5) * (ymax - ymin) + ymin, clipped.
    expected = np.clip(((hounsfield - 39.5) / 399 + 0.5) * 2 - 1, -1, 1)
    np.testing.assert_allclose(grey(path), expected, atol=1e-5)
    linear = pydicom.pixels.apply_windowing(hounsfield, pydicom.dcmread(path))
    scaled = (linear - linear.min()) / (linear.max() - linear.min()) * 2 - 1
    np.testing.assert_allclose(grey(path), scaled, atol=1e-4)


def test_a_stated_range_is_in_the_rescaled_unit_and_goes_before_the_window(tmp_path):
    path = save(
        tmp_path / "a.dcm", RAMP, RescaleSlope=1, RescaleIntercept=-1000, WindowCenter=40,
        WindowWidth=400,
    )  # fmt: skip
    expected = np.interp(RAMP - 1000.0, [-1000, 2000], [-1, 1])
    np.testing.assert_allclose(grey(path, value_range=(-1000, 2000)), expected, atol=1e-5)


def test_linear_exact_windows_have_their_own_formula(tmp_path):
    path = save(
        tmp_path / "a.dcm", RAMP, WindowCenter=["2000", "1"], WindowWidth=["1000", "1"],
        VOILUTFunction="LINEAR_EXACT",
    )  # fmt: skip
    np.testing.assert_allclose(grey(path), np.interp(RAMP, [1500, 2500], [-1, 1]), atol=1e-5)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ({"BitsStored": 12, "HighBit": 11}, 0, 4095),
        ({}, 0, 65535),
        ({"PixelRepresentation": 1}, -32768, 32767),
        ({"BitsStored": 12, "HighBit": 11, "RescaleSlope": -2, "RescaleIntercept": 5}, 0, 4095),
    ],
)
def test_without_a_window_the_range_is_what_the_bits_hold(tmp_path, values, low, high):
    path = save(tmp_path / "a.dcm", RAMP, **values)
    sign = -1 if values.get("RescaleSlope", 1) < 0 else 1  # a falling scale turns black and white
    expected = sign * np.interp(RAMP, [low, high], [-1, 1])
    np.testing.assert_allclose(grey(path), expected, atol=1e-5)


def test_bits_beyond_those_stored_do_not_count(tmp_path):
    path = save(tmp_path / "a.dcm", RAMP | 0xF000, BitsStored=12, HighBit=11)
    np.testing.assert_allclose(grey(path), np.interp(RAMP, [0, 4095], [-1, 1]), atol=1e-5)


def test_monochrome1_is_inverted(tmp_path):
    plain = save(tmp_path / "a.dcm", RAMP, WindowCenter=2000, WindowWidth=3000)
    other = save(
        tmp_path / "b.dcm", RAMP, WindowCenter=2000, WindowWidth=3000,
        PhotometricInterpretation="MONOCHROME1",
    )  # fmt: skip
    np.testing.assert_array_equal(grey(other), -grey(plain))
    assert grey(other)[0, 0] == 1


def test_frames_are_read_by_rule(tmp_path):
    frames = np.stack([RAMP // (k + 1) for k in range(3)])
    path = save(tmp_path / "a.dcm", frames, NumberOfFrames=3)
    with pytest.raises(UserError, match=r"several frames \(3\).*data\.page"):
        read(path)
    for rule in (2, "2"):
        expected = np.interp(frames[2], [0, 65535], [-1, 1])
        np.testing.assert_allclose(grey(path, page=rule), expected, atol=1e-5)
    with pytest.raises(UserError, match="3 frames and none of number 3"):
        read(path, page=3)
    with pytest.raises(UserError, match="data.max_frames"):
        read(path, page=0, max_frames=2)
    assert count_images(path, Wanted("all", "z"), Limits(10**6, 10**7, 4, 99)) == 3


def test_each_frame_of_an_enhanced_image_has_its_own_slope_and_window(tmp_path):
    frames = np.stack([RAMP, RAMP])
    own = [
        item(
            PixelValueTransformationSequence=Sequence(
                [item(RescaleSlope=slope, RescaleIntercept=slope * 10)]
            )
        )
        for slope in (1, 3)
    ]
    shared = item(FrameVOILUTSequence=Sequence([item(WindowCenter=5000.5, WindowWidth=8001)]))
    path = save(
        tmp_path / "a.dcm", frames, NumberOfFrames=2,
        PerFrameFunctionalGroupsSequence=Sequence(own),
        SharedFunctionalGroupsSequence=Sequence([shared]),
    )  # fmt: skip
    for frame, slope in enumerate((1, 3)):
        expected = np.interp(RAMP * float(slope) + slope * 10, [1000, 9000], [-1, 1])
        np.testing.assert_allclose(grey(path, page=frame), expected, atol=1e-5)


def test_rgb_ybr_and_palette_become_colours(tmp_path):
    stored = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    colour = {
        "SamplesPerPixel": 3, "PlanarConfiguration": 0, "BitsAllocated": 8, "BitsStored": 8,
        "HighBit": 7, "PhotometricInterpretation": "RGB",
    }  # fmt: skip
    path = save(tmp_path / "rgb.dcm", stored, **colour)
    np.testing.assert_allclose(read(path, channels=3).image, stored / 127.5 - 1, atol=1e-6)
    ybr = np.asarray(Image.fromarray(stored).convert("YCbCr"))
    path = save(tmp_path / "ybr.dcm", ybr, **colour | {"PhotometricInterpretation": "YBR_FULL"})
    np.testing.assert_allclose(read(path, channels=3).image, stored / 127.5 - 1, atol=0.04)

    index = (np.arange(64).reshape(8, 8) % 4).astype(np.uint8)
    table = np.array([[0, 65535, 0, 32768], [0, 0, 65535, 32768], [0, 0, 0, 65535]], np.uint16)
    names = ("Red", "Green", "Blue")
    palette = {
        f"{name}PaletteColorLookupTable{part}": value
        for name, row in zip(names, table, strict=True)
        for part, value in (("Descriptor", [4, 0, 16]), ("Data", row.tobytes()))
    }
    path = save(
        tmp_path / "p.dcm", index, BitsAllocated=8, BitsStored=8, HighBit=7,
        PhotometricInterpretation="PALETTE COLOR", **palette,
    )  # fmt: skip
    expected = table.T[index] / 32767.5 - 1
    np.testing.assert_allclose(read(path, channels=3).image, expected, atol=1e-5)


def test_compressed_frames_are_read_where_a_decoder_is_here(tmp_path):
    dataset = header(BitsStored=12, HighBit=11)
    dataset.PixelData = RAMP.tobytes()
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(tmp_path / "rle.dcm", enforce_file_format=True)
    expected = np.interp(RAMP, [0, 4095], [-1, 1])
    np.testing.assert_allclose(grey(tmp_path / "rle.dcm"), expected, atol=1e-5)

    stored = np.repeat(np.arange(0, 256, 4, dtype=np.uint8).reshape(8, 8), 8, 0).repeat(8, 1)
    stream = io.BytesIO()
    Image.fromarray(stored).save(stream, "JPEG", quality=95)
    dataset = header(Rows=64, Columns=64, BitsAllocated=8, BitsStored=8, HighBit=7)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate([stream.getvalue()])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "jpeg.dcm", enforce_file_format=True)
    decoded = np.asarray(Image.open(stream)) / 127.5 - 1
    np.testing.assert_allclose(grey(tmp_path / "jpeg.dcm", size=64), decoded, atol=1e-6)

    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.80"  # JPEG-LS
    dataset.save_as(tmp_path / "ls.dcm", enforce_file_format=True)
    with pytest.raises(UserError, match="compression that no decoder here reads"):
        read(tmp_path / "ls.dcm")


def _sigmoid(path):
    return save(path, RAMP, WindowCenter=1, WindowWidth=2, VOILUTFunction="SIGMOID")


def _table(path):
    return save(path, RAMP, VOILUTSequence=Sequence([item(LUTExplanation="x")]))


def _modality(path):
    return save(path, RAMP, ModalityLUTSequence=Sequence([item(LUTExplanation="x")]))


def _deflated(path):
    dataset = header()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.PixelData = RAMP.tobytes()
    dataset.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_sigmoid, "sigmoid.*value_range"),
        (_table, "VOI table.*value_range"),
        (lambda path: save(path, RAMP, WindowCenter=9, WindowWidth=1), "empty window"),
        (_modality, "modality LUT"),
        (_deflated, "deflated"),
        (lambda path: save(path, RAMP, RescaleSlope=0), "rescale slope"),
        (lambda path: save(path, RAMP[:4]), "damaged"),
        (lambda path: save(path, RAMP, Rows=60_000, Columns=60_000), "claims 60000 x 60000"),
        (lambda path: save(path, RAMP, Rows=2), "data.min_side"),
        (lambda path: save(path, RAMP, PhotometricInterpretation="HSV"), "neither grey"),
        (lambda path: header().save_as(path, enforce_file_format=True), "holds no image"),
        (lambda path: path.write_bytes(bytes(128) + b"DICM" + bytes(99)), "ends before it"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_not_read_is_refused_by_name(tmp_path, make, words):
    make(tmp_path / "a.dcm")
    with pytest.raises(UserError, match=rf"a\.dcm: .*{words}"):
        read(tmp_path / "a.dcm")


@pytest.mark.filterwarnings("always")
def test_nothing_of_the_patient_stands_in_a_message(tmp_path, capfd, caplog, recwarn):
    """Every third byte of the header is damaged in turn; nothing that is said may quote it."""
    data = save(tmp_path / "a.dcm", RAMP, WindowCenter=40, WindowWidth=400).read_bytes()
    path = tmp_path / "bad.dcm"
    messages = []
    for at in range(132, len(data) - RAMP.nbytes, 3):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x15]) + data[at + 1 :])
        try:
            read(path)
        except UserError as error:
            messages.append(str(error))
    warned = [str(warning.message) for warning in recwarn]
    said = "\n".join((*messages, *warned, *capfd.readouterr(), caplog.text))
    assert len(messages) > 10
    assert not any(secret in said for secret in SECRETS)


def test_odd_text_is_read_without_a_warning_and_pydicom_is_left_as_it_is(tmp_path):
    path = save(tmp_path / "a.dcm", np.stack([RAMP, RAMP]), NumberOfFrames=2)
    data = path.read_bytes()
    assert data.count(b"IS\x02\x002 ") == 1
    path.write_bytes(data.replace(b"IS\x02\x002 ", b"IS\x04\x002.0 "))
    settings = pydicom.config.settings
    before = settings.reading_validation_mode, logging.getLogger("pydicom").level
    np.testing.assert_allclose(grey(path, page=1), np.interp(RAMP, [0, 65535], [-1, 1]), atol=1e-5)
    assert count_images(path, Wanted("all", "z"), Limits(10**6, 10**7, 4, 99)) == 2
    assert (settings.reading_validation_mode, logging.getLogger("pydicom").level) == before
    with pytest.warns(UserWarning, match="Invalid value for VR IS: '2.0'"):
        _ = pydicom.dcmread(path).NumberOfFrames  # what pydicom itself would say
    path.write_bytes(data.replace(b"IS\x02\x002 ", b"IS\x04\x002.5 "))
    with pytest.raises(UserError, match=r"a\.dcm: cannot be decoded \(ValueError\)"):
        grey(path, page=1)


def test_without_pydicom_the_mend_is_told(tmp_path, monkeypatch):
    path = save(tmp_path / "a.dcm", RAMP)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"a\.dcm: .*pip install pydicom.*medical"):
        read(path)


COLOUR = {
    "SamplesPerPixel": 3, "BitsAllocated": 8, "BitsStored": 8, "HighBit": 7,
    "PhotometricInterpretation": "RGB",
}  # fmt: skip


def test_colour_that_does_not_say_how_it_lies_is_told_so(tmp_path):
    path = save(tmp_path / "a.dcm", np.zeros((8, 8, 3), np.uint8), **COLOUR)
    with pytest.raises(UserError, match=r"a\.dcm: lacks PlanarConfiguration, without which"):
        read(path, channels=3)


@pytest.mark.parametrize("name", ["Rows", "BitsStored", "PixelRepresentation", "SamplesPerPixel"])
def test_a_header_without_an_element_is_told_which(tmp_path, name):
    dataset = header()
    dataset.PixelData = RAMP.tobytes()
    delattr(dataset, name)
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    with pytest.raises(UserError, match=rf"a\.dcm: lacks {name}, without which"):
        read(tmp_path / "a.dcm")


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palette_of_16_bits_that_fills_8_is_not_nearly_black(tmp_path, bits):
    index = (np.arange(64).reshape(8, 8) % 4).astype(np.uint8)
    table = np.array([[0, 255, 0, 128], [0, 0, 255, 128], [0, 0, 0, 255]], np.uint16)
    palette = {
        f"{name}PaletteColorLookupTable{part}": value
        for name, row in zip(("Red", "Green", "Blue"), table, strict=True)
        for part, value in (
            ("Descriptor", [4, 0, bits]),
            ("Data", row.astype(np.uint8 if bits == 8 else np.uint16).tobytes()),
        )
    }
    path = save(
        tmp_path / "p.dcm", index, BitsAllocated=8, BitsStored=8, HighBit=7,
        PhotometricInterpretation="PALETTE COLOR", **palette,
    )  # fmt: skip
    expected = table.T[index] / 127.5 - 1
    np.testing.assert_allclose(read(path, channels=3).image, expected, atol=1e-5)


@pytest.mark.parametrize("signed", [False, True])
def test_bits_beyond_those_stored_do_not_count_in_compressed_files(tmp_path, signed):
    """Compressed as 16 bits, then declared as 12: pydicom drops such bits of plain files alone."""
    values = RAMP.astype(np.int16) - 2000 if signed else RAMP
    rubbish = (values.view(np.uint16) & 0x0FFF) | 0xA000
    for name, syntax in (("rle", RLELossless), ("plain", None)):
        dataset = header(PixelRepresentation=int(signed))
        dataset.PixelData = rubbish.tobytes()
        if syntax is not None:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
        image = grey(tmp_path / f"{name}.dcm", value_range=(-2048, 4095))
        np.testing.assert_allclose(image, np.interp(values, [-2048, 4095], [-1, 1]), atol=1e-5)


def test_the_clipped_share_is_of_rescaled_values(tmp_path):
    path = save(tmp_path / "a.dcm", RAMP, RescaleSlope=2, RescaleIntercept=-1000)
    assert read(path, value_range=(-1000, 2 * 4032 - 1000)).clipped == 0
    assert read(path, value_range=(-1000 + 2 * 64, 2 * 63 * 63 - 1000)).clipped == 2 / 64
