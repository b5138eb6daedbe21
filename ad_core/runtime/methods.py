"""The methods of a configuration: `config.method` names one, or several joined by commas.

One method reads its settings in `config.reconstructor`. Of several, each reads its own in
`config.reconstructor.<name>`, where a method's name is the last word of its module path.
"""

from collections.abc import Mapping

from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.runtime.registry import resolve


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
    configs = method_configs(config).values()
    return any(resolve(own.method).make(own).trains_on_abnormal for own in configs)
