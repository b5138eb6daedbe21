"""Names in every Python file: what is read is defined, what is imported exists.

Ruff's own check is off (pyproject.toml says why) and pyright reads the product alone.
"""

import ast
import builtins
import importlib
import symtable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOPS = ("ad_core", "benchmarks", "configs", "launch", "tests")
OF_MODULES = {"__file__", "__name__", "__doc__", "__path__", "__spec__"}
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for top in ROOT.iterdir()
    if top.is_dir() and (top.name in TOPS or top.name.endswith("_ad"))
    for path in top.rglob("*.py")
)


def tables(table):
    """A scope and all scopes within."""
    yield table
    for child in table.get_children():
        yield from tables(child)


def undefined(source):
    """Global names that are read somewhere and bound nowhere."""
    top = symtable.symtable(source, "file", "exec")
    scopes = list(tables(top))
    own = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}
    told = {  # by a `global` statement
        s.get_name() for t in scopes for s in t.get_symbols() if s.is_global() and s.is_assigned()
    }
    read = {
        s.get_name()
        for table in scopes
        for s in table.get_symbols()
        # symtable takes a function called "top" for the module, and so its locals for global.
        if s.is_referenced() and (table is top or s.is_global() and not s.is_local())
    }
    return sorted(read - own - told - set(dir(builtins)) - OF_MODULES)


def taken(source):
    """(module, name) of every `from MODULE import NAME` of this project's packages."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if (top := node.module.split(".")[0]) == "ad_core" or top.endswith("_ad"):
                yield from ((node.module, alias.name) for alias in node.names)


def missing(source):
    """What a file takes from this project and is not there."""
    return [f"{module}.{name}" for module, name in taken(source) if not exists(module, name)]


def exists(module, name):
    try:
        if hasattr(importlib.import_module(module), name):
            return True
        importlib.import_module(f"{module}.{name}")
    except ModuleNotFoundError:
        return False
    return True


def test_every_part_of_the_project_is_read():
    assert {path.split("/")[0] for path in FILES} >= {*TOPS, "vqgan_ad", "cyclegan_ad"}


@pytest.mark.parametrize("path", FILES)
def test_every_name_is_defined(path):
    assert undefined((ROOT / path).read_text()) == []


@pytest.mark.parametrize("path", [path for path in FILES if path.startswith("benchmarks/")])
def test_what_a_benchmark_imports_exists(path):
    """Also of those that need PyTorch, which is not installed here."""
    assert missing((ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("print(a)", ["a"]),
        ("def f(x):\n    return x + y", ["y"]),
        ("class A:\n    b = c\n    def d(self): return b", ["b", "c"]),
        ("x = [k for n in range(3)]", ["k"]),
        ("def f(x: T) -> 'b h w': ...", ["T"]),
        ("import a.b as c\ndef f(): return (a, c)", ["a"]),
        ("def f():\n    def g(): return n\n    return g", ["n"]),
    ],
)
def test_an_undefined_name_is_found(source, names):
    assert undefined(source) == names


@pytest.mark.parametrize(
    "source",
    [
        "import a.b\nfrom c import d as e\nprint(a, e, __file__, len)",
        "def f(): return later\nlater = 1",
        "def top(n): return n",
        "def f():\n    global n\n    n = 1\ndef g(): return n",
        "def f(x: Float[A, 'b h w']): ...\nFloat = A = {}",
        "def f(n):\n    return [m for m in range(n) if (k := m)], k",
        "try:\n    pass\nexcept OSError as error:\n    print(error)",
        "class A:\n    b = 1\n    c = b",
        "def outer(n):\n    def inner(): return n\n    return inner",
    ],
)
def test_a_defined_name_passes(source):
    assert undefined(source) == []


def test_an_import_of_what_is_not_there_is_found():
    assert missing("from ad_core.types import View, Reconstruction") == [
        "ad_core.types.Reconstruction"
    ]
    assert missing("from ad_core.reconstructors import load") == ["ad_core.reconstructors.load"]
    assert missing("from ad_core import types\nfrom ad_core.data import shape") == []
