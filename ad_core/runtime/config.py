"""Configurations: the defaults, a recipe over them, and the command line over both.

A recipe (configs/NAME.py) states only what is particular to it. `complete` fills in the rest,
so that a resolved config.json holds every value and every value can be overridden by
`--config.section.key=value`. `ad_core.runtime.defaults` holds the defaults.
"""

import difflib
import json
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from ad_core.errors import UserError
from ad_core.runtime.defaults import SIZES, defaults
from ad_core.runtime.methods import (
    default_settings,
    earlier_settings,
    learns_in_one_pass,
    method_configs,
    method_modules,
)
from ad_core.runtime.registry import known_modules


def complete(recipe: ConfigDict) -> ConfigDict:
    """`recipe` over the defaults of ad_core and of its method; locked. Idempotent.

    Raises:
        UserError: the recipe names no method, sets a key that nothing knows, or a value of
            another type.
    """
    if not recipe.get("method"):
        raise UserError(f"`config.method` is missing; known: {', '.join(known_modules('make'))}.")
    config = defaults(str(recipe.get("size", SIZES[0])))
    config.method = str(recipe.method)
    config.reconstructor = default_settings(config.method, config.size)
    config.lock()
    known = flat(config)
    for key, value in flat(recipe).items():
        require_key(key, known)
        try:
            config.update_from_flattened_dict({key: value})
        except TypeError as error:
            kind = type(known[key]).__name__
            raise UserError(f"`config.{key}` (={value!r}) must be of type {kind}.") from error
    for key, value in _suited(config).items():
        if key not in flat(recipe):
            config.update_from_flattened_dict({key: value})
    return config


def _suited(config: ConfigDict) -> dict[str, Any]:
    """Defaults by what the methods are like, among them whether all learn in one pass.

    Pretrained networks see little at 64 px, they know things by their proportions, and hundreds of
    statistics are made for drawn images.
    """
    if not learns_in_one_pass(config):
        return {}
    of_data = {"data.image_size": 256, "data.resize": "proportions"}
    return {**of_data, "statistics.names": ("default",)}


def for_normals_alone(config: ConfigDict) -> ConfigDict:
    """The complete configuration by `without_abnormal` in place of `method`, where it names one.

    Methods that stand in both keep their settings.
    """
    if not config.without_abnormal:
        return config
    own = {name: of.reconstructor.to_dict() for name, of in method_configs(config).items()}
    before, after = (method_modules(name) for name in (config.method, config.without_abnormal))
    kept = {name: own[name] for name, path in after.items() if before.get(name) == path}
    settings = kept if len(after) > 1 else kept.get(next(iter(after)), {})
    instead = {"method": config.without_abnormal, "without_abnormal": ""}
    return complete(ConfigDict(config.to_dict() | instead | {"reconstructor": settings}))


def flat(config: ConfigDict) -> dict[str, Any]:
    """Every value by its dotted key: {"seed": 0, "train.steps": 800, ...}."""
    values = {}
    for key, value in config.items():
        if isinstance(value, ConfigDict):
            values.update({f"{key}.{rest}": leaf for rest, leaf in flat(value).items()})
        else:
            values[key] = value
    return values


def require_key(key: str, known: Mapping[str, Any]) -> None:
    """Refuses a dotted key that is not in `known` (see `flat`), naming those it may mean.

    Raises:
        UserError: the key is unknown, or names a section.
    """
    if key in known:
        return
    inside = [other for other in known if other.startswith(f"{key}.")]
    if inside:
        raise UserError(f"`config.{key}` is a section; its keys: {', '.join(inside)}.")
    leaves = {other: other.rpartition(".")[2] for other in known}
    leaf = key.rpartition(".")[2]
    close = difflib.get_close_matches(leaf, sorted(set(leaves.values())), cutoff=0.75)
    close = [leaf] if leaf in close else close
    near = [other for name in close for other, last in leaves.items() if last == name]
    section = key.rpartition(".")[0]
    siblings = [other for other in known if other.rpartition(".")[0] == section]
    sections = sorted({other.partition(".")[0] for other in known})
    listing = f"known: {', '.join(siblings or sections)}."
    hint = f"did you mean {' or '.join(near)}?" if near else listing
    raise UserError(f"`config.{key}` is unknown; {hint}")


def to_json(config: ConfigDict) -> str:
    """The configuration as it stands in config.json; tuples become lists."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + "\n"


def from_json(text: str) -> ConfigDict:
    """The configuration that `to_json` wrote; lists become tuples again. Locked.

    One without `data.grouping` was written when nothing was grouped by likeness: none; one without
    `localisation.position` when maps stayed as they were; methods' settings: `earlier_settings`.

    Raises:
        UserError: not such a text, or written by a version with other keys.
    """
    try:
        content = json.loads(text)
        content.get("data", {}).setdefault("grouping", "none")
        content.get("localisation", {}).setdefault("position", "none")
        if content.get("method") and "reconstructor" in content:
            _fill_in_earlier(content)
        return complete(ConfigDict(content))
    except (json.JSONDecodeError, TypeError, AttributeError, KeyError) as error:
        raise UserError(f"Not a configuration in JSON: {error}.") from error


def _fill_in_earlier(content: dict[str, Any]) -> None:
    """Gives the methods' settings that a configuration lacks the effect that they had."""
    for key, value in earlier_settings(content["method"]).items():
        *sections, name = key.split(".")
        section = content["reconstructor"]
        for part in sections:
            section = section[part]
        section.setdefault(name, value)


def differences(a: ConfigDict, b: ConfigDict) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> its values in `a` and in `b`, where they differ (None: not set).

    A list equals a tuple with the same elements, so a config read from JSON equals its origin.
    """
    left, right = (json.loads(json.dumps(flat(config))) for config in (a, b))
    keys = sorted(left.keys() | right.keys())
    pairs = {key: (left.get(key), right.get(key)) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
