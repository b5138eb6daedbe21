"""The reader of PyTorch's weight files, on files put together by hand, opcode by opcode.

tests/golden/torch_saved.npz holds files that PyTorch 2.13.0 wrote, byte by byte, by
`python benchmarks/torch_resnet.py --golden=FILE --saved=FILE`.
"""

import hashlib
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ad_core.backbones.torch_files import read_tensors
from ad_core.errors import UserError

SAVED = Path(__file__).parents[2] / "golden" / "torch_saved.npz"
HEAD = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}]


def word(text):
    return b"X" + len(text).to_bytes(4, "little") + text.encode()


def numbers(values):
    return b"(" + b"".join(f"I{value}\n".encode() for value in values) + b"t"


def tensor(key, shape, strides, *, offset=0, count=6, kind="FloatStorage"):
    storage = f"ctorch\n{kind}\n".encode() + word(key) + word("cpu") + f"I{count}\nN".encode()
    arguments = b"((" + word("storage") + storage + b"tQ" + f"I{offset}\n".encode()
    arguments += numbers(shape) + numbers(strides) + b"I00\n" + b"ccollections\nOrderedDict\n)Rt"
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"R"


def state(**tensors):
    items = b"".join(word(name) + opcodes for name, opcodes in tensors.items())
    return b"\x80\x02ccollections\nOrderedDict\n)R(" + items + b"u."


def storages(**arrays):
    parts = (len(x).to_bytes(8, "little") + x.tobytes() for x in arrays.values())
    return pickle.dumps(list(arrays), 2) + b"".join(parts)


def written(path, *parts):
    path.write_bytes(b"".join(parts))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def head():
    return b"".join(pickle.dumps(x, 2) for x in HEAD)


SIX = np.arange(6, dtype="<f4")


def test_tensors_lie_as_their_strides_and_offsets_say(tmp_path):
    tensors = {
        "rows": tensor("7", (2, 3), (3, 1)),
        "columns": tensor("7", (3, 2), (1, 3)),
        "end": tensor("7", (2,), (1,), offset=4),
        "count": tensor("8", (), (), count=1, kind="LongStorage"),
    }
    values = storages(**{"7": SIX, "8": np.array([-5], "<i8")})
    path, sha256 = written(tmp_path / "x.pth", head(), state(**tensors), values)
    found = read_tensors(path, sha256=sha256)
    np.testing.assert_array_equal(found["rows"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["columns"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(found["end"], [4, 5])
    assert found["count"].shape == () and found["count"] == -5
    assert found["rows"].dtype == np.float32 and found["count"].dtype == np.int64


class Makes:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("place", range(5))
def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path, place):
    trace = tmp_path / "trace"
    pickles = [*(pickle.dumps(x, 2) for x in HEAD), state(a=tensor("7", (6,), (1,)))]
    pickles.append(storages(**{"7": SIX}))
    pickles[place] = pickle.dumps(Makes(str(trace)), 2)
    path, sha256 = written(tmp_path / "x.pth", *pickles)
    with pytest.raises(UserError, match=r"but tensors: \w+\.mkdir is no part of a tensor"):
        read_tensors(path, sha256=sha256)
    assert not trace.exists()
    pickle.loads(pickles[place])
    assert trace.exists(), "the file would not have run anything"


@pytest.mark.parametrize(
    "name",
    [
        "builtins eval",
        "os system",
        "torch.storage _load_from_bytes",
        "torch._utils _rebuild_tensor",
        "torch ComplexFloatStorage",
        "collections Counter",
        "collections OrderedDict.fromkeys",
        "collections.abc OrderedDict",
        "ad_core.backbones.torch_files read_tensors",
    ],
)
@pytest.mark.parametrize("stacked", [False, True])
def test_every_other_global_is_refused(tmp_path, name, stacked):
    module, attribute = name.split()
    if stacked:  # protocol 4 takes both names from the stack, and dots in the second
        opcodes = b"\x80\x04" + word(module) + word(attribute) + b"\x93."
    else:
        opcodes = b"\x80\x02c" + f"{module}\n{attribute}\n.".encode()
    path, sha256 = written(tmp_path / "x.pth", head(), opcodes, storages(**{"7": SIX}))
    with pytest.raises(UserError, match=rf"{module}\.{attribute} is no part of a tensor"):
        read_tensors(path, sha256=sha256)


def test_another_file_than_the_expected_is_refused_before_it_is_interpreted(tmp_path):
    trace = tmp_path / "trace"
    path, _ = written(tmp_path / "x.pth", pickle.dumps(Makes(str(trace))))
    with pytest.raises(UserError, match=r"have SHA-256 [0-9a-f]{64}, not 00"):
        read_tensors(path, sha256="00")
    assert not trace.exists()
    with pytest.raises(UserError, match="no such file"):
        read_tensors(tmp_path / "none.pth", sha256="00")


@pytest.mark.parametrize(
    ("opcodes", "message"),
    [
        (tensor("7", (7,), (1,)), "beyond its storage"),
        (tensor("7", (2, 3), (4, 1)), "beyond its storage"),
        (tensor("7", (2,), (1,), offset=-1), "beyond its storage"),
        (tensor("7", (2,), (-1,), offset=4), "beyond its storage"),
        (tensor("7", (2, 3), (1,)), "without a storage"),
        (tensor("7", (7,), (1,), count=7), "holds 6 values, not 7"),
        (tensor("9", (6,), (1,)), "do not match"),
        # Told of 900 values, a tensor would show what lies in memory behind the six.
        (
            tensor("7", (900,), (1,), count=900) + word("b") + tensor("7", (6,), (1,)),
            "storage 7 is of two sizes",
        ),
    ],
)
def test_a_tensor_that_its_storage_cannot_hold_is_refused(tmp_path, opcodes, message):
    path, sha256 = written(tmp_path / "x.pth", head(), state(a=opcodes), storages(**{"7": SIX}))
    with pytest.raises(UserError, match=message):
        read_tensors(path, sha256=sha256)


def test_a_file_that_is_cut_off_or_of_another_format_is_refused(tmp_path):
    whole = [head(), state(a=tensor("7", (6,), (1,))), storages(**{"7": SIX})]
    path, sha256 = written(tmp_path / "x.pth", b"".join(whole)[:-1])
    with pytest.raises(UserError, match="storage 7 is cut off"):
        read_tensors(path, sha256=sha256)
    path, sha256 = written(tmp_path / "x.pth", head()[:-3])
    with pytest.raises(UserError, match="hold something but tensors"):
        read_tensors(path, sha256=sha256)
    path, sha256 = written(tmp_path / "x.pth", pickle.dumps(1, 2), head()[14:], *whole[1:])
    with pytest.raises(UserError, match="hold something but tensors"):
        read_tensors(path, sha256=sha256)


@pytest.fixture
def saved(tmp_path):
    """Writes one of PyTorch's files and gives its path and hash."""
    with np.load(SAVED) as files:
        contents = {name: files[name].tobytes() for name in files}
    return lambda name: written(tmp_path / f"{name}.pt", contents[name])


@pytest.mark.parametrize("name", ["plain", "legacy", "nested"])
def test_pytorchs_own_files_are_read(saved, name):
    path, sha256 = saved(name)
    found = read_tensors(path, sha256=sha256)
    assert set(found) == {"a", "turned", "half", "brain", "double", "count"}
    np.testing.assert_array_equal(found["a"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(found["turned"], [[0, 3], [1, 4], [2, 5]])
    for kind in ("half", "brain"):
        np.testing.assert_array_equal(found[kind].astype(np.float32), [0.5, -2])
    assert found["half"].dtype == np.float16 and found["brain"].dtype.name == "bfloat16"
    assert found["double"].dtype == np.float64 and found["double"] == 0.1
    assert found["count"].shape == () and found["count"] == 7


def test_parameters_count_as_tensors_and_a_whole_module_is_refused(saved):
    path, sha256 = saved("parameters")
    np.testing.assert_array_equal(read_tensors(path, sha256=sha256)["a"], [[0, 1, 2], [3, 4, 5]])
    path, sha256 = saved("module")
    message = r"but tensors: torch\.nn\.modules\.linear\.Linear is no part of a tensor; save it so"
    with pytest.raises(UserError, match=message):
        read_tensors(path, sha256=sha256, mend="save it so")


def archive(path, *, compression=zipfile.ZIP_STORED, **changed):
    """PyTorch's file `plain` with other contents in the place of some of its own."""
    file = io.BytesIO()
    with np.load(SAVED) as files, zipfile.ZipFile(io.BytesIO(files["plain"].tobytes())) as old:
        with zipfile.ZipFile(file, "w", compression) as new:
            for name in old.namelist():
                content = changed.get(name.rpartition("/")[2].replace(".", "_"), old.read(name))
                if content is not None:
                    new.writestr(name, content)
    return written(path, file.getvalue())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data_pkl": pickle.dumps(Makes("/tmp/never"), 2)}, "mkdir is no part of a tensor"),
        ({"0": b""}, "storage 0 is cut off"),
        ({"0": bytes(28)}, "storage 0 holds more than 6 values"),
        ({"0": None}, "archive/data/0"),
        ({"byteorder": b"big"}, "not little-endian"),
        ({"data_pkl": None}, "not enough values"),
        ({"compression": zipfile.ZIP_DEFLATED}, "is compressed"),
    ],
)
def test_an_archive_that_is_not_pytorchs_is_refused(tmp_path, changed, message):
    path, sha256 = archive(tmp_path / "x.pth", **changed)
    with pytest.raises(UserError, match=f"hold something but tensors: .*{message}"):
        read_tensors(path, sha256=sha256)
