"""Weights of a user's file: in each format, converted once, kept, and told apart from others."""

import hashlib
import json
import logging

import numpy as np
import pytest

from ad_core.backbones import given, load_backbone, resnet, vgg16
from ad_core.errors import UserError
from tests.ad_core.backbones.test_torch_files import head, state, storages, tensor


def draw(widths=(2, 3, 3, 4, 4)):
    """VGG-16's arrays with few channels: the code takes the widths from them."""
    rng, arrays, inside = np.random.default_rng(0), {}, 3
    for numbers, width in zip(vgg16.BLOCKS, widths, strict=True):
        for n in numbers:
            arrays[f"features.{n}.weight"] = rng.normal(0, 0.3, (width, inside, 3, 3))
            arrays[f"features.{n}.bias"] = rng.normal(0, 0.1, width)
            inside = width
    return {name: x.astype(np.float32) for name, x in arrays.items()}


WEIGHTS = draw()


def write_npz(path, arrays):
    np.savez(path, **arrays)


def write_safetensors(path, arrays):
    table, values = {"__metadata__": {"format": "pt"}}, b""
    for name, x in arrays.items():
        place = [len(values), len(values) + x.nbytes]
        table[name] = {"dtype": "F32", "shape": list(x.shape), "data_offsets": place}
        values += x.tobytes()
    text = json.dumps(table).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + values)


def write_pth(path, arrays):
    tensors = {}
    for number, (name, x) in enumerate(arrays.items()):
        strides = [step // x.itemsize for step in x.strides]
        tensors[name] = tensor(str(number), x.shape, strides, count=x.size)
    flat = {str(number): x.ravel() for number, x in enumerate(arrays.values())}
    path.write_bytes(head() + state(**tensors) + storages(**flat))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZFN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "backbones" / f"v{given.VERSION}"


@pytest.fixture
def path(tmp_path):
    write_npz(tmp_path / "vgg.npz", WEIGHTS)
    return tmp_path / "vgg.npz"


@pytest.mark.parametrize(
    "write, suffix",
    [(write_npz, "npz"), (write_safetensors, "safetensors"), (write_pth, "pth"), (write_pth, "pt")],
)
def test_every_format_gives_the_same_weights_and_tells_its_file(tmp_path, write, suffix):
    beside = {"classifier.0.weight": np.ones((2, 2), np.float32)}
    path = tmp_path / f"vgg.{suffix}"
    write(path, WEIGHTS | beside)
    found = load_backbone(f"vgg16:{path}")
    assert set(found.params) == set(WEIGHTS)
    for name, x in WEIGHTS.items():
        np.testing.assert_array_equal(found.params[name], x)
    hashed = hashlib.sha256(path.read_bytes()).hexdigest()
    told = f"vgg.{suffix}, a file of SHA-256 {hashed} that the user gave"
    assert found.facts == {
        "name": "vgg16",
        "origin": told,
        "licence": "that of the given file",
        "sha256": found.sha256,
    }


def test_a_file_is_converted_once_and_then_needed_no_more(path, cache, caplog, monkeypatch):
    first = load_backbone(f"vgg16:{path}")
    (kept,) = cache.glob("vgg16-*")
    assert (kept / "MANIFEST.json").is_file()

    def converted(file):
        raise AssertionError("converted again")

    monkeypatch.setattr(vgg16, "_convert", converted)
    again = load_backbone(f"vgg16:{path}")
    path.unlink()
    with caplog.at_level(logging.INFO):
        alone = load_backbone("vgg16")
    assert "Backbone vgg16: vgg.npz, a file of SHA-256 " in caplog.text
    for found in (again, alone):
        assert found.facts == first.facts
        np.testing.assert_array_equal(found.params["features.28.bias"], WEIGHTS["features.28.bias"])
    with pytest.raises(UserError, match="no such file"):
        load_backbone(f"vgg16:{path}")


def test_a_name_alone_is_refused_without_a_file_and_with_several(path, tmp_path):
    mend = r"needs its weights: vgg16:FILE; write one where torchvision is: torch\.save\(torchvis"
    with pytest.raises(UserError, match=mend):
        load_backbone("vgg16")
    load_backbone(f"vgg16:{path}")
    write_npz(tmp_path / "other.npz", draw((1, 1, 1, 1, 1)))
    load_backbone(f"vgg16:{tmp_path / 'other.npz'}")
    with pytest.raises(UserError, match=r"2 files were given before \(SHA-256 .*; name the file"):
        load_backbone("vgg16")


def test_what_was_kept_and_is_damaged_is_made_anew(path, cache, caplog):
    load_backbone(f"vgg16:{path}")
    (kept,) = cache.glob("vgg16-*")
    (kept / "vgg16.npz").write_bytes(b"spoilt")
    with pytest.raises(UserError, match="are damaged; give their file again"):
        load_backbone("vgg16")
    found = load_backbone(f"vgg16:{path}")
    assert "was changed or damaged; they are made anew" in caplog.text
    assert load_backbone("vgg16").sha256 == found.sha256


def test_a_place_that_cannot_be_written_costs_a_line_and_nothing_else(path, monkeypatch, caplog):
    monkeypatch.setenv("ZFN_CACHE", str(path / "below_a_file"))
    found = load_backbone(f"vgg16:{path}")
    np.testing.assert_array_equal(found.params["features.0.bias"], WEIGHTS["features.0.bias"])
    assert "Weights of vgg16 are not kept for the next time" in caplog.text


def test_a_stated_hash_is_compared(path):
    hashed = hashlib.sha256(path.read_bytes()).hexdigest()
    whole = load_backbone(f"vgg16:{path}#{hashed}")
    assert load_backbone(f"vgg16:{path}#{hashed[:8].upper()}").sha256 == whole.sha256
    with pytest.raises(UserError, match=rf"the file has SHA-256 {hashed}, not 0123abcd"):
        load_backbone(f"vgg16:{path}#0123abcd")
    for digits in ("0123abc", "none"):
        with pytest.raises(UserError, match="is no SHA-256: 64 digits, or the first 8"):
            load_backbone(f"vgg16:{path}#{digits}")
    odd = path.rename(path.with_name("vgg#0123abcd.npz"))
    assert load_backbone(f"vgg16:{odd}").sha256 == whole.sha256


def without(name):
    return {key: x for key, x in WEIGHTS.items() if key != name}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (without("features.28.weight"), "the file lacks features.28.weight"),
        (
            WEIGHTS | {"features.30.weight": WEIGHTS["features.0.weight"]},
            "the file holds features.30.weight too, so it is of another network",
        ),
        (
            WEIGHTS | {"features.7.weight": np.zeros((3, 9, 3, 3), np.float32)},
            "its arrays do not fit together",
        ),
        (
            WEIGHTS | {"features.0.bias": np.array([np.nan, 0], np.float32)},
            "features.0.bias holds values that are no numbers",
        ),
    ],
)
def test_weights_that_are_not_this_networks_are_refused_and_not_kept(
    tmp_path, cache, arrays, message
):
    write_npz(tmp_path / "x.npz", arrays)
    with pytest.raises(UserError, match=rf"Weights of vgg16 \(=.*x\.npz\): {message}.*torchvision"):
        load_backbone(f"vgg16:{tmp_path / 'x.npz'}")
    assert not cache.exists()


def test_a_resnet_tells_the_array_that_has_another_shape(tmp_path):
    """A ResNet-50 has the arrays of the wide one by name, and a ResNet-34 those of ResNet-18."""
    blank = {}
    for place in resnet.places("resnet18"):
        blank[f"{place.convolution}.weight"] = np.zeros(place.shape, np.float32)
        for part in ("weight", "bias", "running_mean", "running_var"):
            blank[f"{place.norm}.{part}"] = np.ones(place.shape[:1], np.float32)
    blank |= {"fc.weight": np.ones((2, 2)), "bn1.num_batches_tracked": np.array(3)}
    deeper = blank | {"layer1.2.conv1.weight": blank["layer1.1.conv1.weight"]}
    wider = blank | {"layer2.0.conv1.weight": np.zeros((256, 64, 3, 3), np.float32)}
    for arrays, message in (
        (deeper, r"holds layer1\.2\.conv1\.weight too, so it is of another network"),
        (wider, r"layer2\.0\.conv1\.weight has the shape \(256, 64, 3, 3\), not \(128, 64, 3, 3\)"),
    ):
        write_npz(tmp_path / "x.npz", arrays)
        with pytest.raises(UserError, match=message):
            load_backbone(f"resnet18:{tmp_path / 'x.npz'}")
    write_npz(tmp_path / "x.npz", blank)
    assert load_backbone(f"resnet18:{tmp_path / 'x.npz'}").name == "resnet18"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npz", b"spoilt", "the file cannot be read"),
        ("x.onnx", b"", r"a file of weights ends in \.npz, \.safetensors, \.pth, \.pt"),
        ("x.pth", b"spoilt", "hold something but tensors"),
        ("x.safetensors", b"spoilt", "are no whole safetensors file"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_message(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{message}.*; write one where torchvision is"):
        load_backbone(f"vgg16:{tmp_path / name}")
