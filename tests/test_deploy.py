"""The files of deploy/ are what their programs take, as far as can be told without a cluster."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted(DEPLOY.glob("*.yaml"))
SCRIPT = DEPLOY / "slurm.sh"
# Kind -> its version, and the fields that it needs, by the API references of Kubernetes and JobSet.
KINDS = {
    "Job": ("batch/v1", ("metadata.name", "spec.template.spec.containers")),
    "JobSet": ("jobset.x-k8s.io/v1alpha2", ("metadata.name", "spec.replicatedJobs")),
}
# All fields of a JobSpec that may stand here; a name that the API does not know is refused there.
JOB = {"completionMode", "completions", "parallelism", "backoffLimit", "backoffLimitPerIndex"}
JOB |= {"template"}
POD = {"restartPolicy", "containers", "volumes"}
CONTAINER = {"name", "image", "command", "resources", "volumeMounts", "ports"}


def field(tree, path):
    for key in path.split("."):
        tree = tree[key]
    return tree


def jobs_of(manifest):
    """Each JobSpec in a manifest."""
    if manifest["kind"] == "Job":
        return [manifest["spec"]]
    return [replicated["template"]["spec"] for replicated in manifest["spec"]["replicatedJobs"]]


def flags_of(command):
    pairs = (flag.removeprefix("--").partition("=") for flag in command[2:])
    return {name: value for name, _, value in pairs}


def defined(script):
    """Flags that a launch script defines."""
    return set(re.findall(r'flags\.DEFINE_\w+\(\s*"(\w+)"', (ROOT / script).read_text()))


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_has_what_its_kind_needs_and_nothing_unknown(path):
    (manifest,) = yaml.safe_load_all(path.read_text())
    version, needed = KINDS[manifest["kind"]]
    assert manifest["apiVersion"] == version
    assert all(field(manifest, name) for name in needed)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", manifest["metadata"]["name"])
    for job in jobs_of(manifest):
        pod = job["template"]["spec"]
        assert set(job) <= JOB and set(pod) <= POD
        assert pod["restartPolicy"] in ("Never", "OnFailure")  # a Job takes no other
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert set(container) <= CONTAINER
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
        indexed = job.get("completionMode") == "Indexed"
        assert not indexed or job["completions"] >= job["parallelism"] > 0
        assert indexed or "backoffLimitPerIndex" not in job


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_a_manifest_gives_flags_that_its_script_has(path):
    manifest = yaml.safe_load(path.read_text())
    for job in jobs_of(manifest):
        (container,) = job["template"]["spec"]["containers"]
        flags = flags_of(container["command"])
        known = defined(container["command"][1])
        assert all(name in known or name.split(".")[0] == "config" for name in flags)
        for count in ("shards", "processes"):
            assert int(flags.get(count, job.get("completions", 1))) == job.get("completions", 1)
        if "processes" in flags:
            # All must run at once, or those that do wait for ever; the first is the coordinator.
            assert job["parallelism"] == job["completions"]
            name = manifest["metadata"]["name"]
            (replicated,) = manifest["spec"]["replicatedJobs"]
            host = f"{name}-{replicated['name']}-0-0.{name}"
            assert flags["coordinator"] == f"{host}:{container['ports'][0]['containerPort']}"


def test_the_slurm_script_is_sound_shell():
    assert subprocess.run(["bash", "-n", SCRIPT]).returncode == 0
    assert os.access(SCRIPT, os.X_OK)
    if shellcheck := shutil.which("shellcheck"):
        found = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True)
        assert found.returncode == 0, found.stdout


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (2, False), (143, True)])
def test_the_slurm_script_passes_status_and_flags_on(status, requeued, tmp_path):
    for name, line in (("srun", f"exit {status}"), ("scontrol", "")):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@"\n{line}\n')
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    command = ["bash", SCRIPT, "score", "--shards=4", "--input=a b"]
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert found.returncode == status
    first, *rest = found.stdout.splitlines()
    assert first == ("srun --kill-on-bad-exit=1 python launch/score.py --shards=4 --input=a b")
    assert rest == (["scontrol requeue 7"] if requeued else [])


def test_the_slurm_script_says_how_it_is_called():
    found = subprocess.run(["bash", SCRIPT], capture_output=True, text=True)
    assert found.returncode == 2 and "usage" in found.stderr
    flags = set(re.findall(r"--(\w+)", SCRIPT.read_text().split("#SBATCH")[0]))
    slurm = {"array", "dependency", "nodes"}
    assert flags - slurm <= defined("launch/score.py") | defined("launch/train.py") | {"config"}
