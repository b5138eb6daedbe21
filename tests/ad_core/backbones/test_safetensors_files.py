"""The reader of safetensors files, on one that the library wrote and on spoilt ones.

WRITTEN: safetensors 0.8.0, `safetensors.numpy.save({"a": arange(6, float32).reshape(2, 3), "half":
array([0.5, -2], float16), "count": array(7, int64), "double": array([0.1])}, {"format": "pt"})`.
"""

import base64
import json

import numpy as np
import pytest

from ad_core.backbones.safetensors_files import read_safetensors
from ad_core.errors import UserError

WRITTEN = base64.b64decode(
    "CAEAAAAAAAB7Il9fbWV0YWRhdGFfXyI6eyJmb3JtYXQiOiJwdCJ9LCJjb3VudCI6eyJkdHlwZSI6Ikk2NCIsInNoYXBlIjpb"
    "XSwiZGF0YV9vZmZzZXRzIjpbMCw4XX0sImRvdWJsZSI6eyJkdHlwZSI6IkY2NCIsInNoYXBlIjpbMV0sImRhdGFfb2Zmc2V0"
    "cyI6WzgsMTZdfSwiYSI6eyJkdHlwZSI6IkYzMiIsInNoYXBlIjpbMiwzXSwiZGF0YV9vZmZzZXRzIjpbMTYsNDBdfSwiaGFs"
    "ZiI6eyJkdHlwZSI6IkYxNiIsInNoYXBlIjpbMl0sImRhdGFfb2Zmc2V0cyI6WzQwLDQ0XX19ICAHAAAAAAAAAJqZmZmZmbk/"
    "AAAAAAAAgD8AAABAAABAQAAAgEAAAKBAADgAwA=="
)


def read(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    return read_safetensors(path, mend="write it anew")


def test_the_librarys_own_file_is_read(tmp_path):
    found = read(tmp_path, WRITTEN)
    assert {name: (x.dtype.name, x.shape) for name, x in found.items()} == {
        "a": ("float32", (2, 3)),
        "half": ("float16", (2,)),
        "count": ("int64", ()),
        "double": ("float64", (1,)),
    }
    np.testing.assert_array_equal(found["a"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["half"], [0.5, -2])
    assert found["count"] == 7 and found["double"] == 0.1


def test_bfloat16_is_the_upper_half_of_float32(tmp_path):
    table = {"x": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}
    upper = np.array([0.5, -2], "<f4").view("<u2")[1::2]
    found = read(tmp_path, made(json.dumps(table), upper.tobytes()))
    np.testing.assert_array_equal(found["x"].astype(np.float32), [0.5, -2])


def made(table, values):
    return len(table).to_bytes(8, "little") + table.encode() + values


def one(dtype="F32", shape=(2,), place=(0, 8)):
    return json.dumps({"x": {"dtype": dtype, "shape": shape, "data_offsets": place}})


TWICE = '{"x": {}, "x": {}}'
APART = json.dumps(
    {n: {"dtype": "U8", "shape": [2], "data_offsets": [p, p + 2]} for n, p in (("x", 0), ("y", 6))}
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (WRITTEN[:-1], "values of 43 bytes, of which 44 are listed"),
        (WRITTEN + b"\0", "values of 45 bytes"),
        (WRITTEN[:100], "a table of 264 bytes, in a file of 100"),
        (b"", "a table of 0 bytes|Expecting value"),
        (b"\xff" * 16, "a table of 18446744073709551615 bytes"),
        (made("[", b""), "Expecting value"),
        (made("[" * 100_000, b""), "recursion"),
        (made(TWICE, b""), "a name that stands twice"),
        (made(APART, bytes(8)), "y begins at 6, not at 2"),
        (made(one(shape=(3,)), bytes(8)), r"x of shape \(3,\) does not fit 8 bytes"),
        (made(one(shape=(-2,), place=(0, -8)), bytes(8)), "no count"),
        (made(one(shape=(2.0,)), bytes(8)), "no count"),
        (made(one(place=(-8, 0)), bytes(8)), "no count"),
        (made(one(dtype="F8_E4M3"), bytes(8)), "of the kind F8_E4M3"),
        (made('{"x": {"dtype": "F32"}}', bytes(8)), "shape"),
    ],
)
def test_a_file_that_is_not_whole_is_refused(tmp_path, content, message):
    with pytest.raises(UserError, match=rf"x\.safetensors are no whole .*({message}).*anew"):
        read(tmp_path, content)
