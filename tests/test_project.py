"""What pyproject.toml, the locks and the launch of the checks promise each other."""

import os
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import hypothesis
import pytest
from packaging.requirements import Requirement
from setuptools import find_namespace_packages, find_packages

from ad_core.runtime.entry import LAUNCH, main

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {"": "requirements.lock"} | {
    extra: f"requirements-{extra}.lock" for extra in ("boosting", "cuda")
}
PIN = re.compile(r"^([a-z0-9.-]+)==(\S+)", re.MULTILINE)


def pins(lock):
    """Name -> the versions pinned; two where Python 3.11 needs another one."""
    found = {}
    for name, version in PIN.findall((ROOT / lock).read_text()):
        found.setdefault(name, []).append(version)
    return found


def test_every_package_is_found_for_installation():
    tops = [path.parent for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"]
    folders = {path.parent for top in tops for path in top.rglob("*.py")}
    names = sorted(".".join(folder.relative_to(ROOT).parts) for folder in folders)
    found = find_packages(ROOT, **PROJECT["tool"]["setuptools"]["packages"]["find"])
    assert sorted(found) == names


def test_the_entry_point_is_there_and_what_it_runs_is_installed_with_it():
    assert EntryPoint("zfn", PROJECT["project"]["scripts"]["zfn"], "console_scripts").load() is main
    found = find_namespace_packages(ROOT, **PROJECT["tool"]["setuptools"]["packages"]["find"])
    assert {"launch", "configs"} <= set(found)
    assert LAUNCH == ROOT / "launch" and list(LAUNCH.glob("train.py"))


@pytest.mark.parametrize("extra", ["", "test", "boosting"])
def test_the_locks_hold_what_the_project_requires(extra):
    project = PROJECT["project"]
    wanted = project["optional-dependencies"][extra] if extra else project["dependencies"]
    locked = pins(LOCKS["boosting" if extra == "boosting" else ""])
    for requirement in map(Requirement, wanted):
        versions = locked[requirement.name.lower()]
        assert all(requirement.specifier.contains(version) for version in versions), requirement


def test_the_main_lock_has_a_jax_for_python_3_11_and_one_for_later_ones():
    assert [version[:4] for version in pins("requirements.lock")["jax"]] == ["0.10", "0.12"]


@pytest.mark.parametrize("lock", LOCKS.values())
def test_a_lock_has_hashes_and_names_no_place(lock):
    text = (ROOT / lock).read_text()
    assert not re.search(r"://|file:|find-links|index-url|(^|\s)/", text)
    parts = PIN.split(text)
    assert len(parts) > 3
    for name, entry in zip(parts[1::3], parts[3::3], strict=True):
        assert "--hash=sha256:" in entry, name


def test_no_extra_changes_a_version_of_the_main_lock():
    main = set(pins("requirements.lock"))
    assert not main & set(pins("requirements-boosting.lock"))
    assert not main & set(pins("requirements-cuda.lock"))


@pytest.mark.parametrize("script", [".ci/run", ".ci/find-python"])
def test_the_scripts_of_ci_can_be_run(script):
    assert os.access(ROOT / script, os.X_OK)


def ci(folder, make, *, chromium=True, **others):
    """.ci/run where `make` does as this text says, as somebody who may install nothing."""
    texts = {"make": make, "id": "echo 1000"} | ({"chromium": ""} if chromium else {}) | others
    for name, text in texts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    for name in ("bash", "cat", "dirname", "mktemp"):
        (folder / name).symlink_to(shutil.which(name))
    command = [folder / "bash", ROOT / ".ci" / "run"]
    environment = os.environ | {"PATH": str(folder)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    return ended, re.findall(r"make (\S+) took \d+ s", ended.stdout)


TARGETS = ["test", "test-3.11", "test-families", "test-export", "test-browser"]


@pytest.mark.parametrize("failing", ["none", *TARGETS])
def test_ci_runs_its_targets_and_ends_with_the_first_failure(tmp_path, failing):
    ended, told = ci(tmp_path, f'test "$1" = {failing} && exit 2\nexit 0')
    if failing == "none":
        assert (told, ended.returncode) == (TARGETS, 0)
    else:
        together = TARGETS.index("test-export")  # what stands from there on runs side by side
        reached = TARGETS.index(failing) + 1
        assert (told, ended.returncode) == (TARGETS if reached > together else TARGETS[:reached], 2)


def test_ci_says_that_it_tries_no_browser_where_there_is_none(tmp_path):
    ended, told = ci(tmp_path, "exit 0", chromium=False)
    assert (told, ended.returncode) == (TARGETS[:-1], 0)
    assert "not tried in a browser" in ended.stdout


def test_the_slow_tests_that_ci_runs_are_there():
    (listed,) = re.findall(
        r"^SLOW_OF_FAMILIES := (.*) \\\n\t\$\(addprefix tests/launch/test_,(.*)\)$",
        (ROOT / "Makefile").read_text(),
        re.MULTILINE,
    )
    names = listed[0].split() + [f"tests/launch/test_{name}" for name in listed[1].split()]
    assert names and all((ROOT / path).exists() for path in names)
    planned = subprocess.run(
        ["make", "-n", "test-families"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    left_out = re.findall(r'--deselect "?([\w/.]+)::(\w+)', planned.stdout)
    assert len(left_out) == 3
    assert all(f"def {name}(" in (ROOT / path).read_text() for path, name in left_out)


def test_ci_installs_a_browser_as_root(tmp_path):
    browser = tmp_path / "chromium"
    apt_get = f'test "$1" = update && exit 0\n: > {browser}\n{shutil.which("chmod")} +x {browser}'
    made = {"id": "echo 0", "apt-get": apt_get}
    ended, told = ci(tmp_path, "exit 0", chromium=False, **made)
    assert (told[-1], ended.returncode) == ("test-browser", 0)
    assert "Installing Chromium" in ended.stdout


def test_the_tests_that_python_3_11_leaves_out_are_there():
    (listed,) = re.findall(
        r"^LONG := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    left_out = listed.replace("\\\n", " ").split()
    assert left_out and all((ROOT / path).is_file() for path in left_out)


def test_a_worker_takes_whole_files_and_the_scripts_together(pytestconfig):
    module = pytestconfig.pluginmanager.getplugin(str(ROOT / "tests" / "conftest.py"))
    for nodeid, group in (
        ("tests/ad_core/test_metrics.py::test_a[b::c]", "tests/ad_core/test_metrics.py"),
        ("tests/launch/test_score.py::test_a", "launch"),
        ("tests/launch/test_main_job.py::test_a", "launch"),
    ):
        assert module.group_of(nodeid) == group


def test_no_example_of_hypothesis_has_a_deadline():
    assert hypothesis.settings.default.deadline is None
