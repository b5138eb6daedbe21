"""Plug-ins by module path: a new reconstructor or data source is one new file."""

import importlib
import pkgutil
from types import ModuleType

from ad_core.errors import UserError

SOURCES = ("ad_core.data.layouts", "ad_core.data.sets", "ad_core.data.phantoms")
BACKBONES = ("ad_core.backbones",)
FAMILIES = ("vqgan_ad", "cyclegan_ad", "diffusion_ad", "baselines_ad")


def known(package: str, attribute: str) -> list[str]:
    """Module paths in `package` that define `attribute`; empty if there is no such package."""
    try:
        root = importlib.import_module(package)
    except ModuleNotFoundError:
        return []
    names = [f"{package}.{item.name}" for item in pkgutil.iter_modules(root.__path__)]
    return [name for name in names if hasattr(importlib.import_module(name), attribute)]


def resolve(name: str, attribute: str = "make") -> ModuleType:
    """The module called `name`, which must define `attribute`.

    Args:
        name: a module path such as "vqgan_ad.vqgan" or "ad_core.data.layouts.folder".
        attribute: "make" for a method (its `make(config)` gives a Reconstructor or Detector),
            "open_source" for a data source, "load" for a backbone.

    Raises:
        UserError: no such module, or it lacks the attribute; the message lists what exists.
    """
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A dependency that the plug-in itself fails to import is another error.
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise
        module = None
    if module is None or not hasattr(module, attribute):
        packages = {"make": FAMILIES, "load": BACKBONES}.get(attribute, SOURCES)
        choices = [path for package in packages for path in known(package, attribute)]
        raise UserError(f"Unknown module {name!r}; known: {', '.join(choices)}.")
    return module
