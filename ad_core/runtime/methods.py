"""The methods of a configuration: `config.method` names one, or several joined by commas.

One method reads its settings in `config.reconstructor`. Of several, each reads its own in
`config.reconstructor.<name>`, where a method's name is the last word of its module path.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.runtime.registry import resolve

if TYPE_CHECKING:  # it imports JAX, and a finished run is told without
    from ad_core.types import Method

# Normals that calibrate where a method learns step by step: it may not learn from these.
CALIBRATING_SHARE = 0.4


def method_modules(method: str) -> dict[str, str]:
    """Name -> module path of each method that `config.method` names, in its order.

    Raises:
        UserError: two of them have the same name.
    """
    paths = [path.strip() for path in method.split(",")]
    named = {path.rpartition(".")[2]: path for path in paths}
    if len(named) < len(paths):
        raise UserError(f"`config.method` (={method}) names two methods alike; name each once.")
    return named


def default_settings(method: str, size: str) -> ConfigDict:
    """The section `config.reconstructor` of one method, or a section each of several."""
    modules = method_modules(method)
    sections = {name: resolve(path).defaults(size) for name, path in modules.items()}
    return ConfigDict(sections) if len(sections) > 1 else next(iter(sections.values()))


def earlier_settings(method: str) -> dict[str, Any]:
    """Dotted key below `config.reconstructor` -> what held where a configuration lacks it.

    Only of settings whose default has another effect: a method's module names them in `EARLIER`.
    """
    modules = method_modules(method)
    return {
        f"{name}.{key}" if len(modules) > 1 else key: value
        for name, path in modules.items()
        for key, value in getattr(resolve(path), "EARLIER", {}).items()
    }


def method_configs(config: ConfigDict) -> Mapping[str, ConfigDict]:
    """Name -> the configuration of that method alone, as its `make` takes it; copies."""
    modules = method_modules(config.method)
    return {name: _alone(config, name, path, len(modules)) for name, path in modules.items()}


def _alone(config: ConfigDict, name: str, path: str, count: int) -> ConfigDict:
    own = ConfigDict(config.to_dict())
    own.method = path
    if count > 1:
        own.reconstructor = ConfigDict(config.reconstructor[name].to_dict())
    own.lock()
    return own


def learns_from_abnormal(config: ConfigDict) -> bool:
    """Tells whether any method of a configuration trains on abnormal images too."""
    return any(method.trains_on_abnormal for method in _made(config))


def learns_in_one_pass(config: ConfigDict) -> bool:
    """Tells whether every method of a configuration learns in one pass."""
    from ad_core.types import OnePass

    return all(isinstance(method.learn, OnePass) for method in _made(config))


def most_folds(config: ConfigDict) -> int:
    """Parts of the finest cross-fitting that a method of a configuration affords.

    1 where none learns in one pass, so that none is cross-fitted.
    """
    from ad_core.types import OnePass

    made = _made(config)
    return max((own.folds for own in made if isinstance(own.learn, OnePass)), default=1)


def with_share(config: ConfigDict) -> ConfigDict:
    """A copy with a number for `data.calibration.normal`: the one given, or what suits the methods.

    1.0 where every method learns in one pass and is cross-fitted: all normals then learn and
    calibrate. CALIBRATING_SHARE where one learns step by step.
    """
    config = ConfigDict(config.to_dict())
    config.lock()
    shares = config.data.calibration
    if shares.normal is None:
        shares.normal = 1.0 if learns_in_one_pass(config) else CALIBRATING_SHARE
    return config


def make_for_network(config: ConfigDict) -> "Method":
    """The method of a configuration of one method, for images as its network sees them.

    Where images go by tiles, these are tiles: `data.image_size` is then their side too.
    """
    if config.tiling.tile:
        values = config.to_dict()
        values["data"]["image_size"] = values["tiling"]["tile"]
        config = ConfigDict(values).lock()
    return resolve(config.method).make(config)


def _made(config: ConfigDict) -> "list[Method]":
    return [make_for_network(own) for own in method_configs(config).values()]
