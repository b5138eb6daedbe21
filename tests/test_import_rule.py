"""Who may import whom: launch -> ad_core <- families, configs -> ml_collections."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ZONES = ("ad_core", "benchmarks", "configs", "launch", "tests")
FAMILY = re.compile(r"[a-z]+_ad")
UNSAFE = {"joblib", "pickle", "cloudpickle", "dill", "shelve", "marshal"}
FRAMEWORKS = {"tensorflow", "torch", "torchvision", "keras"}
CHECKPOINTS = "ad_core/training/checkpoint.py"
TORCH_FILES = "ad_core/backbones/torch_files.py"  # admits tensors of files with a known hash


def zone(name):
    """The part of the project that a path or a module lies in, "" for everything else."""
    top = re.split(r"[./]", name)[0]
    return top if top in ZONES or FAMILY.fullmatch(top) else ""


def imports(tree, path):
    """Dotted names of all modules imported anywhere in a file, and of what is taken from them."""
    package = path.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}".lstrip(".") for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (arg.value for arg in node.args if isinstance(arg, ast.Constant))


def defines_network(tree):
    """Whether a class of the file derives from flax.linen.Module."""
    bases = [b for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for b in node.bases]
    return any(ast.unparse(base).split(".")[-1] == "Module" for base in bases)


def is_within(name, module):
    return name == module or name.startswith(module + ".")


def allowed_zones(home):
    if home == "configs":
        return set()
    if home in ("ad_core", "launch"):
        return {"ad_core"}
    return {"ad_core", home}


def complaints(path, source):
    """What breaks the rule in the file at `path`, relative to the root of the project."""
    tree, home = ast.parse(source), zone(path)
    names = sorted(set(imports(tree, path)))
    tops = {name.split(".")[0] for name in names}
    found = []
    if home not in ("benchmarks", "tests"):
        found += [n for n in names if zone(n) and zone(n) not in allowed_zones(home)]
    if home == "configs":
        found += tops - {"ml_collections"}
    if home != "tests":
        found += tops & (UNSAFE - ({"pickle"} if path == TORCH_FILES else set()))
        if path != CHECKPOINTS:
            found += tops & {"orbax"}
        if any(is_within(n, "flax.linen") for n in names) and not defines_network(tree):
            found.append("flax.linen")
    found += tops & (FRAMEWORKS - ({"torch", "torchvision"} if home == "benchmarks" else set()))
    return found


def sources():
    for top in sorted(ROOT.iterdir()):
        if top.is_dir() and zone(top.name):
            yield from (path.relative_to(ROOT).as_posix() for path in top.rglob("*.py"))


def test_the_rule_sees_the_whole_project():
    seen = list(sources())
    assert CHECKPOINTS in seen and TORCH_FILES in seen
    assert "tests/test_import_rule.py" in seen
    assert {"ad_core", "configs", "tests", "vqgan_ad"} <= {zone(path) for path in seen}
    assert all(zone(p.parent.name) for p in ROOT.glob("*/__init__.py")), "a package of no zone"


@pytest.mark.parametrize("path", list(sources()))
def test_imports_follow_the_rule(path):
    assert complaints(path, (ROOT / path).read_text()) == []


NETWORK = "import flax.linen as nn\nclass Net(nn.Module): ...\n"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ad_core/new.py", "import vqgan_ad.vqgan"),
        ("ad_core/new.py", "from baselines_ad import padim"),
        ("ad_core/new.py", "def f():\n    from launch import train"),
        ("ad_core/new.py", "import importlib\nimportlib.import_module('cyclegan_ad.cyclegan')"),
        ("ad_core/training/new.py", "from ... import vqgan_ad"),
        ("ad_core/new.py", "import tests.conftest"),
        ("ad_core/new.py", "from orbax import checkpoint"),
        ("ad_core/new.py", "import orbax.checkpoint as ocp"),
        ("ad_core/new.py", "import flax.linen as nn"),
        ("ad_core/new.py", "from flax import linen"),
        ("ad_core/new.py", "from flax.linen import Conv\nclass A: ..."),
        ("ad_core/new.py", "import pickle"),
        ("ad_core/backbones/new.py", "from pickle import Unpickler"),
        (TORCH_FILES, "import joblib"),
        (TORCH_FILES, "import torch"),
        ("ad_core/new.py", "def f():\n    import joblib.numpy_pickle"),
        ("ad_core/new.py", "try:\n    import torch\nexcept ImportError: ..."),
        ("vqgan_ad/new.py", "from cyclegan_ad.networks import Generator"),
        ("vqgan_ad/new.py", "import configs.folder"),
        ("diffusion_ad/new.py", "from vqgan_ad import vqgan"),
        ("launch/new.py", "from vqgan_ad import vqgan"),
        ("launch/new.py", "from launch.train import main"),
        ("launch/new.py", "import tensorflow as tf"),
        ("configs/new.py", "import jax"),
        ("configs/new.py", "import os"),
        ("configs/new.py", "from ad_core.runtime.config import complete"),
        ("configs/new.py", "from . import folder"),
        ("benchmarks/new.py", "import tensorflow"),
        ("benchmarks/new.py", "import pickle"),
        ("tests/test_new.py", "import torch"),
    ],
)
def test_a_planted_breach_is_found(path, source):
    assert complaints(path, source)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ad_core/new.py", "import jax, flax.traverse_util\nfrom ad_core.types import Batch"),
        ("ad_core/training/new.py", "from .. import types\nfrom . import loop"),
        ("ad_core/networks/new.py", NETWORK),
        ("vqgan_ad/new.py", NETWORK + "from ad_core import losses\nfrom vqgan_ad import step"),
        ("vqgan_ad/new.py", "from . import networks"),
        (CHECKPOINTS, "import orbax.checkpoint as ocp"),
        (TORCH_FILES, "import pickle"),
        ("ad_core/data/new.py", "import tensorflow_datasets as tfds"),
        ("launch/new.py", "from absl import flags\nfrom ad_core.runtime.command import run"),
        ("configs/new.py", "from ml_collections import ConfigDict"),
        ("benchmarks/new.py", "import torch\nfrom vqgan_ad import vqgan"),
        ("tests/test_new.py", "import pickle\nfrom vqgan_ad import vqgan"),
    ],
)
def test_what_the_rule_permits_passes(path, source):
    assert complaints(path, source) == []
