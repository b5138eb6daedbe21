"""A benchmark for a GPU says so where there is none, before it times anything."""

import pytest

from benchmarks import device


@pytest.fixture
def asked(monkeypatch):
    def asked(name):
        monkeypatch.setattr(device, "FLAGS", type("Flags", (), {"device": name}))

    return asked


def test_what_asks_for_a_gpu_is_refused_without_one(asked):
    asked("gpu")
    with pytest.raises(SystemExit, match=r"`--device` \(=gpu\): JAX computes on cpu here"):
        device.require_device()
    for there in ("cpu", None):
        asked(there)
        device.require_device()


def test_jax_and_pytorch_must_compute_on_the_same_kind_of_device():
    device.require_same("cpu")
    with pytest.raises(SystemExit, match="JAX computes on cpu, PyTorch on NVIDIA H100"):
        device.require_same("NVIDIA H100 80GB HBM3")
