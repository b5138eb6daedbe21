"""Who may import whom: launch -> ad_core <- families, configs -> ml_collections.

Within ad_core the rooms import downwards: LEVELS lists them from the ground up.
"""

import ast
import graphlib
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
GROUND = ("types", "errors", "metrics", "losses")  # modules, beside the front door estimator.py
LEVELS = (  # rooms of one level do not import each other either
    ("ground",), ("runtime",), ("data",), ("networks",), ("backbones",), ("training", "inspection"),
    ("statistics",), ("decision",), ("scoring",), ("reporting",), ("stages",),
    ("exporting", "console"), ("estimator",),
)  # fmt: skip
HEIGHT = {room: height for height, level in enumerate(LEVELS) for room in level}
NETWORKS = ("networks", "backbones")  # the rooms that define networks
METHOD = re.compile(r"(?<![\w.])[a-z]+_ad\.[a-z]\w*")  # a method by its module path


def zone(name):
    """The part of the project that a path or a module lies in, "" for everything else."""
    top = re.split(r"[./]", name)[0]
    return top if top in ZONES or FAMILY.fullmatch(top) else ""


def room(name):
    """The room of ad_core that a path or a module lies in, "" outside and for ad_core itself."""
    top, _, rest = name.removesuffix(".py").replace("/", ".").partition(".")
    inner = rest.split(".")[0]
    if top != "ad_core" or inner in ("", "__init__"):
        return ""
    return "ground" if inner in GROUND else inner


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


def breaches_of_zones(home, names):
    """Imports from a part of the project that `home` may not know."""
    found = []
    if home not in ("benchmarks", "tests"):
        found += [n for n in names if zone(n) and zone(n) not in allowed_zones(home)]
    if home == "configs":
        found += {name.split(".")[0] for name in names} - {"ml_collections"}
    return found


def breaches_of_rooms(path, names):
    """Imports that climb, and a place that is no room."""
    home = room(path)
    if home not in HEIGHT:
        return [f"{home} is no room"] if home else [n for n in names if room(n)]
    others = [n for n in names if room(n) and room(n) != home]
    return [f"{n} from {home}" for n in others if HEIGHT.get(room(n), 99) >= HEIGHT[home]]


def breaches_of_libraries(path, tree, names):
    """Libraries outside the one place that is meant for them."""
    home, tops = zone(path), {name.split(".")[0] for name in names}
    found = tops & (FRAMEWORKS - ({"torch", "torchvision"} if home == "benchmarks" else set()))
    if home == "tests":
        return sorted(found)
    found |= tops & (UNSAFE - ({"pickle"} if path == TORCH_FILES else set()))
    if path != CHECKPOINTS:
        found |= tops & {"orbax"}
    in_place = home != "ad_core" or room(path) in NETWORKS or path.endswith("/network.py")
    if any(is_within(n, "flax.linen") for n in names) and not (in_place and defines_network(tree)):
        found.add("flax.linen")
    return sorted(found)


def complaints(path, source):
    """What breaks the rule in the file at `path`, relative to the root of the project."""
    tree, home = ast.parse(source), zone(path)
    names = sorted(set(imports(tree, path)))
    found = breaches_of_zones(home, names) + breaches_of_libraries(path, tree, names)
    if home == "ad_core":
        found += breaches_of_rooms(path, names)
    if home in ("ad_core", "launch"):
        found += [f"{method} by name" for method in METHOD.findall(source)]
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


def test_rooms_import_each_other_in_no_circle():
    below = {}
    for path in filter(room, sources()):
        names = imports(ast.parse((ROOT / path).read_text()), path)
        below.setdefault(room(path), set()).update({room(n) for n in names} - {"", room(path)})
    order = list(graphlib.TopologicalSorter(below).static_order())  # CycleError names a circle
    assert order.index("ground") < order.index("scoring") < order.index("stages")


@pytest.mark.parametrize("path", list(sources()))
def test_imports_follow_the_rule(path):
    assert complaints(path, (ROOT / path).read_text()) == []


NETWORK = "import flax.linen as nn\nclass Net(nn.Module): ...\n"
BY_NAME = "import importlib\nimportlib.import_module('cyclegan_ad.cyclegan')"
WITHIN = "def f():\n    from ad_core.decision import table"


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("ad_core/data/new.py", "import vqgan_ad.vqgan", "vqgan_ad.vqgan"),
        ("ad_core/data/new.py", "from baselines_ad import padim", "baselines_ad.padim"),
        ("ad_core/data/new.py", "def f():\n    from launch import train", "launch.train"),
        ("ad_core/runtime/new.py", BY_NAME, "cyclegan_ad.cyclegan"),
        ("ad_core/training/new.py", "from ... import vqgan_ad", "vqgan_ad"),
        ("ad_core/data/new.py", "import tests.conftest", "tests.conftest"),
        ("ad_core/data/new.py", "MEND = 'use vqgan_ad.vqgan'", "vqgan_ad.vqgan by name"),
        ("launch/new.py", "NAME = '--config.method=any_ad.padim'", "any_ad.padim by name"),
        ("ad_core/new.py", "", "new is no room"),
        ("ad_core/attic/new.py", "import numpy", "attic is no room"),
        ("ad_core/data/new.py", "import ad_core.attic.old", "ad_core.attic.old from data"),
        ("ad_core/__init__.py", "from ad_core.types import View", "ad_core.types"),
        ("ad_core/types.py", "import ad_core.data.shape", "ad_core.data.shape from ground"),
        ("ad_core/metrics.py", "from ad_core import runtime", "ad_core.runtime from ground"),
        ("ad_core/runtime/new.py", "from .. import data", "ad_core.data from runtime"),
        ("ad_core/statistics/deep/new.py", WITHIN, "ad_core.decision.table from statistics"),
        ("ad_core/training/new.py", "from orbax import checkpoint", "orbax"),
        ("ad_core/training/new.py", "import orbax.checkpoint as ocp", "orbax"),
        ("vqgan_ad/new.py", "import orbax.checkpoint as ocp", "orbax"),
        ("ad_core/networks/new.py", "import flax.linen as nn", "flax.linen"),
        ("ad_core/networks/new.py", "from flax import linen", "flax.linen"),
        ("ad_core/networks/new.py", "from flax.linen import Conv\nclass A: ...", "flax.linen"),
        ("ad_core/training/new.py", NETWORK, "flax.linen"),
        ("vqgan_ad/new.py", "import flax.linen as nn", "flax.linen"),
        ("ad_core/runtime/new.py", "import pickle", "pickle"),
        ("ad_core/backbones/new.py", "from pickle import Unpickler", "pickle"),
        (TORCH_FILES, "import joblib", "joblib"),
        (TORCH_FILES, "import torch", "torch"),
        ("ad_core/decision/new.py", "def f():\n    import joblib.numpy_pickle", "joblib"),
        ("ad_core/data/new.py", "try:\n    import torch\nexcept ImportError: ...", "torch"),
        ("vqgan_ad/new.py", "from cyclegan_ad.networks import G", "cyclegan_ad.networks.G"),
        ("vqgan_ad/new.py", "import configs.folder", "configs.folder"),
        ("diffusion_ad/new.py", "from vqgan_ad import vqgan", "vqgan_ad.vqgan"),
        ("launch/new.py", "from vqgan_ad import vqgan", "vqgan_ad.vqgan"),
        ("launch/new.py", "from launch.train import main", "launch.train.main"),
        ("launch/new.py", "import tensorflow as tf", "tensorflow"),
        ("configs/new.py", "import jax", "jax"),
        ("configs/new.py", "import os", "os"),
        ("configs/new.py", "from ad_core.runtime import config", "ad_core.runtime.config"),
        ("configs/new.py", "from . import folder", "configs.folder"),
        ("benchmarks/new.py", "import tensorflow", "tensorflow"),
        ("benchmarks/new.py", "import pickle", "pickle"),
        ("tests/test_new.py", "import torch", "torch"),
    ],
)
def test_a_planted_breach_is_found(path, source, complaint):
    assert complaint in complaints(path, source)


def planted(home, other):
    path = "ad_core/types.py" if home == "ground" else f"ad_core/{home}/new.py"
    name = "ad_core.types" if other == "ground" else f"ad_core.{other}"
    return f"{name} from {home}" in complaints(path, f"import {name}")


def test_a_room_imports_those_below_it_and_no_other():
    for home in HEIGHT:
        for other in set(HEIGHT) - {home}:
            assert planted(home, other) == (HEIGHT[other] >= HEIGHT[home]), (home, other)
    beside = [("training", "inspection"), ("inspection", "training"), ("console", "exporting")]
    up = [("ground", "runtime"), ("data", "backbones"), ("decision", "scoring")]
    assert all(planted(*pair) for pair in [*beside, *up])
    assert not planted("stages", "reporting") and not planted("reporting", "scoring")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ad_core/data/new.py", "import jax, flax.traverse_util\nfrom ad_core.types import Batch"),
        ("ad_core/training/new.py", "from .. import types\nfrom . import loop"),
        ("ad_core/losses.py", "from ad_core.types import View\nfrom ad_core import errors"),
        ("ad_core/estimator.py", "from ad_core.stages import job\nimport ad_core.console.app"),
        ("ad_core/stages/new.py", "from ad_core.reporting import page\nimport ad_core.data.shape"),
        ("ad_core/data/sets/new.py", '"""As in mvtec_ad. Protocol cyclegan_ad."""'),
        ("ad_core/runtime/new.py", "SETS = 'ad_core.data.sets.mvtec_ad.open_source'"),
        ("ad_core/networks/new.py", NETWORK),
        ("ad_core/decision/classifiers/network.py", NETWORK),
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
