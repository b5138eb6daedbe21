"""Detectors on disk: what was changed, damaged or written by another version is refused."""

import hashlib
import json
import pickle
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from ad_core.errors import UserError
from ad_core.runtime.keys import image_keys
from ad_core.scoring.files import load_detector, load_method


def vouch(folder, name):
    """Puts a changed file's hash into the manifest."""
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "MANIFEST.json").write_text(json.dumps(manifest | {name: digest}))


def flip_a_byte(folder):
    content = bytearray((folder / "vqgan" / "parameters.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "vqgan" / "parameters.npz").write_bytes(content)


def put_a_pickle(folder):
    (folder / "classifier.skops").write_bytes(pickle.dumps({"not": "a classifier"}))


def raise_the_threshold(folder):
    text = (folder / "threshold.json").read_text().replace("0.", "9.")
    (folder / "threshold.json").write_text(text)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (flip_a_byte, r"parameters\.npz was changed or damaged"),
        (put_a_pickle, r"classifier\.skops was changed or damaged"),
        (raise_the_threshold, r"threshold\.json was changed or damaged"),
        (lambda folder: (folder / "normals.npz").unlink(), r"normals\.npz is missing"),
        (lambda folder: (folder / "MANIFEST.json").unlink(), r"MANIFEST\.json is missing"),
        (lambda folder: (folder / "MANIFEST.json").write_text("{"), r"MANIFEST\.json is damaged"),
        (lambda folder: (folder / "MANIFEST.json").write_text("{}"), r"is not in MANIFEST\.json"),
    ],
)
def test_a_detector_that_was_changed_is_refused(workdir, tmp_path, spoil, message):
    folder = shutil.copytree(workdir / "detector", tmp_path / "detector")
    spoil(folder)
    with pytest.raises(UserError, match=message):
        load_detector(folder)


def test_a_pickle_with_a_manifest_of_its_own_is_refused_too(workdir, tmp_path):
    folder = shutil.copytree(workdir / "detector", tmp_path / "detector")
    put_a_pickle(folder)
    vouch(folder, "classifier.skops")
    with pytest.raises(UserError, match="a pickle is never loaded"):
        load_detector(folder)


def test_a_detector_of_an_earlier_version_is_refused_in_one_message(workdir, tmp_path):
    folder = shutil.copytree(workdir / "detector", tmp_path / "detector")
    described = json.loads((folder / "detector.json").read_text()) | {"format": 2}
    (folder / "detector.json").write_text(json.dumps(described))
    vouch(folder, "detector.json")
    message = r"has format 2 and this version reads 5; train and calibrate again"
    with pytest.raises(UserError, match=message):
        load_detector(folder)


def test_a_method_is_found_in_its_detector(workdir):
    detector = load_detector(workdir / "detector", batch_size=8)
    method, state = load_method(workdir / "detector")
    image = jnp.zeros((2, 32, 32, 1))
    view = method.view(state, image, image_keys(image))
    drawn = detector.score(np.asarray(image)).drawn
    np.testing.assert_allclose(view.image, drawn, atol=1e-5)  # compiled or not: float32 rounds
    named, _ = load_method(workdir / "detector", "vqgan")
    assert named.maps == method.maps
    with pytest.raises(UserError, match="has no method 'padim'; it has vqgan"):
        load_method(workdir / "detector", "padim")
