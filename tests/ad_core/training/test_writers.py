import json

import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto import event_pb2
from tensorboardX.record_writer import masked_crc32c

from ad_core.training.writers import Writers, read_metrics, side_by_side, to_pixels


def events(folder):
    """(tag, step, value) of each scalar, (tag, step, size) of each picture, as stored."""
    found = []
    for file in sorted(folder.glob("events*")):
        data = file.read_bytes()
        while data:
            length = int.from_bytes(data[:8], "little")
            body = data[12 : 12 + length]
            assert int.from_bytes(data[8:12], "little") == masked_crc32c(data[:8])
            event = event_pb2.Event.FromString(body)
            for value in event.summary.value:
                what = (value.image.height, value.image.width)
                what = what if value.HasField("image") else value.simple_value
                found.append((value.tag, event.step, what))
            data = data[16 + length :]
    return found


def test_rows_of_a_lost_future_and_a_torn_line_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2, "a": 1.0}\n{"step": 4, "a": 2.0}\n{"step": 6, "a": 3}\n{"st')
    writers = Writers(tmp_path, resume_at=4)
    writers.metrics(6, {"a": 4.0})
    writers.close()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert rows == [{"step": 2, "a": 1.0}, {"step": 4, "a": 2.0}, {"step": 6, "a": 4.0}]


def test_values_that_are_not_finite_are_null_and_the_file_is_json(tmp_path):
    writers = Writers(tmp_path, resume_at=0)
    writers.metrics(1, {"a": float("nan"), "b": float("-inf"), "c": 0.5})
    writers.close()

    def refuse(name):
        raise AssertionError(name)

    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=refuse) == {"step": 1, "a": None, "b": None, "c": 0.5}
    assert read_metrics(tmp_path / "metrics.jsonl") == [json.loads(line)]
    assert events(tmp_path / "tensorboard") == [("c", 1, 0.5)]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_is_a_row_an_image_with_the_reconstruction_on_the_right(tmp_path, channels):
    image = np.full((2, 4, 5, channels), -1.0, np.float32)
    image[1] = 0.0
    writers = Writers(tmp_path, resume_at=0)
    writers.sample(30, image, image + 1)
    writers.close()
    picture = np.asarray(Image.open(tmp_path / "samples" / "step_000030.png"))
    picture = picture.reshape(8, 10, channels)
    corners = [picture[i, j, 0] for i in (0, 7) for j in (0, 9)]
    assert corners == [0, 128, 128, 255]
    assert events(tmp_path / "tensorboard") == [("sample", 30, (8, 10))]


def test_pixels_are_clipped_and_nan_is_black():
    pixels = to_pixels(np.array([-2.0, -1.0, 0.0, 1.0, 3.0, np.nan, np.inf], np.float32))
    np.testing.assert_array_equal(pixels, [0, 0, 128, 255, 255, 0, 255])
    assert side_by_side(np.zeros((3, 2, 2, 1), np.float32), np.zeros((3, 2, 2, 1))).shape == (
        6,
        4,
        1,
    )
