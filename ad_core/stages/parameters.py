"""Parameters of a program's own training, as a configuration and back."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from ad_core.data.layouts import memory
from ad_core.errors import UserError
from ad_core.runtime.config import complete, differences, flat, require_key
from ad_core.runtime.invocation import PROJECT
from ad_core.runtime.methods import method_modules
from ad_core.runtime.recipes import load_recipe
from ad_core.runtime.registry import resolve
from ad_core.stages.choice import NORMALS_ONLY
from ad_core.stages.photos import RECIPE
from ad_core.stages.readable import REFUSE

KEYS = {  # parameter -> the key of a configuration that it sets
    "image_size": "data.image_size",
    "channels": "data.channels",
    "resize": "data.resize",
    "value_range": "data.value_range",
    "classifier": "decision.classifier",
    "rule": "decision.rule",
    "miss_rate": "decision.miss_rate",
    "seed": "seed",
}
# Images in memory lie in no folder, and none of them is a test.
FIXED = {"data.source": memory.__name__, "data.root": "", "data.protocol": "folders"}
OWN = {"name": "estimator", "data.unreadable": REFUSE}  # unless an override says otherwise
_DERIVED = "train.epoch_steps"  # a training sets it by its images
_BY_PARAMETER = ("method", "size", *FIXED)
_FLAG = re.compile(r"--config\.(\w+(?:\.\w+)*)(?:=([^\s`;)]*))?")  # as messages name a key


def config_of(parameters: Mapping[str, Any], *, any_abnormal: bool) -> ConfigDict:
    """The complete configuration of a training on images in memory.

    Args:
        parameters: those of KEYS, "method", "size", "backbone" and "overrides"; None is what
            the recipe for any folder of images has.
        any_abnormal: without any, the rule "auto" is the one that needs none.

    Raises:
        UserError: an unknown or doubled key, a value of another type, or a backbone for methods
            that have none.
    """
    recipe = load_recipe(str(PROJECT / RECIPE), size=parameters["size"] or "")
    without = "" if any_abnormal else recipe.get("without_abnormal", "")
    recipe.method = parameters["method"] or without or recipe.method
    recipe.without_abnormal = ""
    config = complete(recipe)
    named = {key: parameters[name] for name, key in KEYS.items() if parameters[name] is not None}
    if parameters["backbone"] is not None:
        named |= dict.fromkeys(_backbones(config), parameters["backbone"])
    values = OWN | named | _overrides(parameters["overrides"], named) | FIXED
    if not any_abnormal and values.get("decision.rule", "auto") == "auto":
        values["decision.rule"] = NORMALS_ONLY
    _update(config, values)
    return config


def parameters_of(config: ConfigDict) -> dict[str, Any]:
    """The parameters of which `config_of` makes a configuration like that of a detector."""
    values = flat(config)
    parameters = {name: values[key] for name, key in KEYS.items()}
    parameters |= {"method": config.method, "size": config.size}
    parameters |= {"backbone": None, "overrides": None}
    changed = differences(config_of(parameters, any_abnormal=True), config)
    others = {k: values[k] for k in changed if k in values and k not in (*FIXED, _DERIVED)}
    return parameters | {"overrides": others or None}


def _backbones(config: ConfigDict) -> list[str]:
    """The keys of the methods' backbones. Raises UserError where none has one."""
    modules = method_modules(config.method)
    having = [name for name, path in modules.items() if "backbone" in _settings(path, config)]
    if not having:
        raise UserError(f"`backbone`: {config.method} has none; leave it out.")
    if len(modules) == 1:
        return ["reconstructor.backbone"]
    return [f"reconstructor.{name}.backbone" for name in having]


def _settings(path: str, config: ConfigDict) -> ConfigDict:
    return resolve(path).defaults(config.size)


def _overrides(given: Any, named: Mapping[str, Any]) -> dict[str, Any]:
    """`given`, of which no parameter says anything too. Raises UserError."""
    if not isinstance(given, Mapping | None):
        raise UserError(f"`overrides` (={given!r}) must map keys of a configuration to values.")
    overrides = dict(given or {})
    for key, value in overrides.items():
        if key in named or key in _BY_PARAMETER:
            raise UserError(
                f"`overrides` names {key!r}, which X or a parameter sets; leave it out."
            )
        if (key, value) == ("data.page", "all"):
            raise UserError(
                "`overrides` has data.page (='all'), and an entry of X is one image; name the "
                'pages one by one, as in "stack.tif#2".'
            )
    return overrides


def _update(config: ConfigDict, values: Mapping[str, Any]) -> None:
    known = flat(config)
    for key, value in values.items():
        require_key(key, known)
        value = _as_stored(key, value, known[key])
        try:
            config.update_from_flattened_dict({key: value})
        except TypeError as error:
            kind = type(known[key]).__name__
            raise UserError(f"`{key}` (={value!r}) must be of type {kind}.") from error


def _as_stored(key: str, value: Any, known: Any) -> Any:
    """A value of NumPy's as Python's; words for several names as the command line takes them."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, str) and (isinstance(known, tuple) or key == KEYS["value_range"]):
        value = value.split(",")
    return tuple(value) if isinstance(value, list) else value


@contextmanager
def told_by_parameters() -> Iterator[None]:
    """Tells errors within it to a program: `by_parameters`."""
    try:
        yield
    except UserError as error:
        raise UserError(by_parameters(str(error))) from error


def by_parameters(message: str) -> str:
    """A message for the command line with parameters of a program in place of its flags.

    `--config.decision.rule=zfn` is `rule="zfn"`; a key without a parameter is one of `overrides`.
    """
    return _FLAG.sub(_by_parameter, message)


def _by_parameter(found: re.Match[str]) -> str:
    key, value = found.group(1), found.group(2)
    name = {own: parameter for parameter, own in KEYS.items()}.get(key, key)
    known = name != key or name in (*KEYS, "method", "size")
    if value is None:
        return name if known else f'overrides["{key}"]'
    given = value.rstrip(".,:")
    told = f"{name}={_literal(given)}" if known else f'overrides={{"{key}": {_literal(given)}}}'
    return told + value[len(given) :]


def _literal(value: str) -> str:
    """The value in Python; words in capitals stand for a value, and so does nothing at all."""
    if not value:
        return "..."
    if "," in value:
        return f"({', '.join(map(_literal, value.split(',')))})"
    plain = re.fullmatch(r"[A-Z_]+|-?[\d.]+(e-?\d+)?|True|False|None", value)
    return value if plain else f'"{value}"'
