import io
import json
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from ad_core.data.layouts.tfds import find, open_images
from ad_core.data.source import open_source
from ad_core.errors import UserError
from ad_core.runtime.defaults import defaults
from tests.known_trees import scene

NAMES = ("ok", "scratch")


def png(seed):
    stream = io.BytesIO()
    Image.fromarray(scene(seed)).save(stream, "PNG")
    return io.BytesIO(stream.getvalue())


class Plates(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A user's own set: other names, no path, no group, a mask for some."""

    VERSION = tfds.core.Version("2.0.1")
    code_path = None

    def _info(self):
        features = {
            "picture": tfds.features.Image(shape=(None, None, 1)),
            "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
            "kind": tfds.features.ClassLabel(names=list(NAMES)),
        }
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0), "validation": self._generate_examples(8)}

    def _generate_examples(self, start):
        for number in range(start, start + 8):
            yield (
                number,
                {
                    "picture": png(number),
                    "segmentation_mask": png(99),
                    "kind": NAMES[number % 2],
                },
            )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    Plates(data_dir=root, file_format="array_record").download_and_prepare()
    return root


def data_of(name, root="", **options):
    data = defaults("cpu").data
    data.source, data.root, data.image_size = f"tfds:{name}", str(root), 32
    data.update(options)
    return data


def test_a_set_with_other_names_is_read_by_the_kinds_of_its_features(data_dir):
    source = open_source(data_of("plates", data_dir, normal_classes=("ok",)))
    assert [r.path for r in source.records[:2]] == ["train/000000", "train/000001"]
    assert len(source.records) == 16 and {r.folder for r in source.records} == {"train"}
    assert sum(r.label for r in source.records) == 8
    assert {(r.label, r.defect, r.has_mask) for r in source.records} == {
        (0, "good", True),
        (1, "scratch", True),
    }
    known = {scene(number).tobytes() for number in range(16)}
    for index, record in enumerate(source.records):
        pixels = np.uint8(np.round((source.read(index).image[..., 0] + 1) * 127.5))
        assert pixels.tobytes() in known
        if record.label:
            np.testing.assert_array_equal(source.read(index).mask, scene(99) != 0)


def test_the_path_of_its_folder_and_the_environment_find_it_too(data_dir, monkeypatch):
    folder = data_dir / "plates" / "2.0.1"
    assert find("plates", str(data_dir)) == find(str(folder), "") == folder
    assert find(str(data_dir / "plates"), "") == find("plates:2.0.1", str(data_dir)) == folder
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    assert find("plates", "") == folder
    images = open_images("tfds:plates", data_of(""))
    assert len(images) == 16 and images.read(3).placement[:2] == (32, 32)


def test_the_newest_version_is_taken(data_dir, tmp_path):
    for version in ("2.0.1", "10.0.0", "9.1.0"):
        shutil.copytree(data_dir / "plates" / "2.0.1", tmp_path / "plates" / version)
    assert find("plates", str(tmp_path)).name == "10.0.0"
    assert find("plates:9.1.0", str(tmp_path)).name == "9.1.0"


def test_several_configurations_must_be_told_apart(data_dir, tmp_path):
    for config in ("big", "small"):
        shutil.copytree(data_dir / "plates" / "2.0.1", tmp_path / "plates" / config / "1.0.0")
    with pytest.raises(UserError, match="name one of big, small after a slash"):
        find("plates", str(tmp_path))
    assert find("plates/small", str(tmp_path)).parent.name == "small"


@pytest.mark.parametrize("name", ["", "plates:3.0.0", "nothing"])
def test_an_unknown_set_is_refused_with_those_that_are_there(data_dir, name):
    with pytest.raises(UserError, match=rf"`tfds:{name}`: no such data set in .*there: plates"):
        find(name, str(data_dir))


@pytest.mark.parametrize("normal", [(), ("good",)])
def test_normal_classes_must_be_stated(data_dir, normal):
    with pytest.raises(UserError, match="normal_classes.*ok, scratch"):
        open_source(data_of("plates", data_dir, normal_classes=normal))


def test_a_set_in_the_default_format_says_how_to_prepare_it(data_dir, tmp_path):
    folder = shutil.copytree(data_dir / "plates" / "2.0.1", tmp_path / "plates" / "2.0.1")
    info = json.loads((folder / "dataset_info.json").read_text())
    info["fileFormat"] = "tfrecord"
    (folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match="tfrecord, not array_record; .*file_format="):
        open_source(data_of("plates", tmp_path, normal_classes=("ok",)))
