import pkgutil

import pytest

from ad_core.errors import UserError
from ad_core.runtime.registry import known_modules, resolve


def test_resolve_lists_what_exists_when_the_name_is_unknown():
    with pytest.raises(UserError, match=r"Unknown module 'vqgan_ad.vqgam'; known: "):
        resolve("vqgan_ad.vqgam")


def test_resolve_refuses_a_module_without_the_attribute():
    with pytest.raises(UserError, match="Unknown module 'ad_core.types'"):
        resolve("ad_core.types")


def test_a_family_is_known_by_its_name_wherever_python_finds_it(tmp_path, monkeypatch):
    for name, text in (
        ("toy_ad", ""),
        ("toy_ad/method", "def make(config): ..."),
        ("toy_ad/part", "def made(config): ..."),
        ("toy_ad/broken", "import nothing_of_the_kind"),
        ("toy", "def make(config): ..."),
        ("single_ad", "def make(config): ..."),
    ):
        path = tmp_path / (f"{name}/__init__.py" if name == "toy_ad" else f"{name}.py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    known = known_modules("make")
    assert [name for name in known if "toy" in name] == ["toy_ad.method"]
    assert {"vqgan_ad.vqgan", "cyclegan_ad.cyclegan"} <= {*known}
    assert "single_ad" not in known


def test_resolving_a_known_module_looks_for_no_other(monkeypatch):
    monkeypatch.setattr(pkgutil, "iter_modules", lambda *_: pytest.fail("looked around"))
    assert resolve("vqgan_ad.vqgan").__name__ == "vqgan_ad.vqgan"


def test_sources_are_known_by_module():
    assert {"ad_core.data.layouts.folder", "ad_core.data.phantoms.worlds"} <= {
        *known_modules("open_source")
    }
