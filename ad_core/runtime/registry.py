"""Plug-ins by module path: a new method or data source is one new file."""

import importlib
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

from ad_core.errors import UserError

SOURCES = ("ad_core.data.layouts", "ad_core.data.sets", "ad_core.data.phantoms")
BACKBONES = ("ad_core.backbones",)
FAMILY = "_ad"  # ends the name of a package of methods
OF_FAMILY = "backbone"  # module of a family that makes a backbone of what its methods learn


def known_modules(attribute: str) -> list[str]:
    """Module paths that `resolve` takes for `attribute`: what can be found, for a message.

    Methods lie in the packages NAME_ad beside ad_core and on Python's path; of each, the module
    NAME_ad.backbone may define a backbone.
    """
    known = {"make": _families, "load": lambda: BACKBONES}
    packages = known.get(attribute, lambda: SOURCES)()
    found = [name for package in packages for name in _defining(package, attribute)]
    if attribute == "load":
        modules = (f"{family}.{OF_FAMILY}" for family in _families())
        found += [name for name in modules if hasattr(_import(name), attribute)]
    return found


def _families() -> list[str]:
    places = [str(Path(__file__).parents[2]), *sys.path]
    found = {item.name for item in pkgutil.iter_modules(places) if item.ispkg}
    return sorted(name for name in found if name.endswith(FAMILY))


def _defining(package: str, attribute: str) -> list[str]:
    items = pkgutil.iter_modules(getattr(_import(package), "__path__", []))
    names = [f"{package}.{item.name}" for item in items]
    return [name for name in names if hasattr(_import(name), attribute)]


def _import(name: str) -> ModuleType | None:
    """The module, None where it cannot be imported, and so not be used either."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def resolve(name: str, attribute: str = "make") -> ModuleType:
    """The module called `name`, which must define `attribute`.

    Args:
        name: a module path such as "FAMILY_ad.METHOD" or "ad_core.data.layouts.folder".
        attribute: "make" for a method, "open_source" for a data source, "load" for a backbone.

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
        choices = ", ".join(known_modules(attribute))
        raise UserError(f"Unknown module {name!r}; known: {choices}.")
    return module
