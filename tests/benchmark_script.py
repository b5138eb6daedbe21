"""Scripts of benchmarks/, as modules to test."""

import importlib.util
import sys
from pathlib import Path

import pytest


def script(name):
    """The module of benchmarks/NAME.py."""
    path = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.path", ["", *sys.path])  # whose first place the script takes
        spec.loader.exec_module(module)
    return module
