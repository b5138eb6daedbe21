"""Frozen pretrained networks: one record, one loader, one way to save.

A backbone is one file with NAMES, `network(name) -> Network` and `load(spec) -> Backbone`: in this
folder, where its names are found, or anywhere else by its module path.
"""

import functools
from types import ModuleType

from ad_core.backbones.backbone import Backbone, Level, Network, digest, with_weights
from ad_core.backbones.saved import read_saved, save_backbone
from ad_core.errors import UserError
from ad_core.runtime.registry import known_modules, resolve


def load_backbone(spec: str, *, family: str = "") -> Backbone:
    """The backbone that `spec` names, with its weights.

    Args:
        spec: a name ("efficientnet_lite0"); a name and the file that its weights need
            ("inception:FILE.npz", "vgg16:FILE.npz"); either after the path of another module
            ("my_package.my_backbone:NAME").
        family: a name that needs a file; `spec` may be that file alone.

    Raises:
        UserError: no such backbone, weights that are missing or not the expected ones.
    """
    module, rest = _find(spec, family)
    return module.load(rest)


def network_of(spec: str, *, family: str = "") -> Network:
    """The network of `load_backbone(spec)`, for weights at hand; reads no file."""
    module, rest = _find(spec, family)
    return module.network(rest.partition(":")[0])


def _find(spec: str, family: str) -> tuple[ModuleType, str]:
    """The module that defines a backbone, and what its `load` takes."""
    head, _, rest = spec.partition(":")
    if head in _modules():
        return _modules()[head], spec
    if "." in head and rest:
        return resolve(head, "load"), rest
    if family:
        return _modules()[family], f"{family}:{spec}"
    raise UserError(
        f"Unknown backbone {spec!r}; known: {', '.join(_modules())} (NAME:FILE where the weights "
        "come from a file), or MODULE.PATH:NAME."
    )


@functools.cache
def _modules() -> dict[str, ModuleType]:
    modules = (resolve(path, "load") for path in known_modules("load"))
    return {name: module for module in modules for name in module.NAMES}


__all__ = [
    "Backbone",
    "Level",
    "Network",
    "digest",
    "load_backbone",
    "network_of",
    "read_saved",
    "save_backbone",
    "with_weights",
]
