"""Frozen pretrained networks: one record, one loader, one way to save.

A backbone is one file with NAMES, `network(name) -> Network` and `load(spec) -> Backbone`: in this
folder, where its names are found, as NAME_ad/backbone.py of a family, or anywhere else by its
module path. Where the network depends on what is given, `named(spec) -> name` tells its whole name;
where the weights come of a training on images, `taught(spec) -> ConfigDict` tells which.
"""

import functools
from types import ModuleType

from ml_collections import ConfigDict

from ad_core.backbones.backbone import Backbone, Level, Network, digest, with_weights
from ad_core.backbones.saved import read_saved, save_backbone
from ad_core.errors import UserError
from ad_core.runtime.registry import known_modules, resolve


def load_backbone(spec: str, *, family: str = "") -> Backbone:
    """The backbone that `spec` names, with its weights.

    Args:
        spec: a name ("efficientnet_lite0"); a name and the file that its weights need, perhaps with
            its hash ("resnet18:FILE.pth", "vgg16:FILE.safetensors#SHA256"), or the detector
            ("vqgan:DETECTOR"); either after the path of another module
            ("my_package.my_backbone:NAME").
        family: a name that needs a file; `spec` may be that file alone.

    Raises:
        UserError: no such backbone, weights that are missing or not the expected ones.
    """
    module, rest = _find(spec, family)
    return module.load(rest)


def network_of(spec: str, *, family: str = "") -> Network:
    """The network of `load_backbone(spec)`, for weights at hand; reads none.

    Raises:
        UserError: no such backbone.
    """
    module, rest = _find(spec, family)
    named = getattr(module, "named", _first)
    return module.network(named(rest))


def portable(spec: str) -> str:
    """A name of the network of `spec` by which `network_of` finds it without any file."""
    network = network_of(spec)
    return network.name if network.name in _modules() else f"{network.module}:{network.name}"


def taught(spec: str, *, family: str = "") -> ConfigDict | None:
    """Configuration of the training that the weights of `spec` come of, if one of this project.

    Raises:
        UserError: no such backbone, or what it names cannot be read.
    """
    module, rest = _find(spec, family)
    return module.taught(rest) if hasattr(module, "taught") else None


def _first(spec: str) -> str:
    return spec.partition(":")[0]


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
    "portable",
    "read_saved",
    "save_backbone",
    "taught",
    "with_weights",
]
