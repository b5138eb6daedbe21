"""The reader of PyTorch's weight files, on files put together by hand, opcode by opcode."""

import hashlib
import os
import pickle

import numpy as np
import pytest

from ad_core.backbones.torch_files import read_tensors
from ad_core.errors import UserError

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
        "torch DoubleStorage",
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
