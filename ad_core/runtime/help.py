"""Help on the keys of a configuration: by section, a line each, and only what it can use."""

from collections.abc import Callable, Iterator, Mapping

from ml_collections import ConfigDict

from ad_core.runtime.config import flat
from ad_core.runtime.defaults import Key, Keys, shared_keys
from ad_core.runtime.methods import learns_in_one_pass, method_configs
from ad_core.runtime.registry import resolve

PHANTOMS = "ad_core.data.phantoms."
CLASSES = ("ad_core.data.layouts.class_folders", "ad_core.data.layouts.any_depth")
COLUMN = 46  # where the explanations begin


def method_keys(config: ConfigDict) -> dict[str, Key]:
    """The Keys of the section `reconstructor`, dotted, in a section each of several methods.

    A method's module explains its settings in EXPLAINED, name -> line; a setting that it does not
    explain has an empty one.
    """
    alone, found = method_configs(config), {}
    for name, own in alone.items():
        explained = getattr(resolve(own.method), "EXPLAINED", {})
        prefix = f"{name}." if len(alone) > 1 else ""
        for key, value in flat(own.reconstructor).items():
            found[prefix + key] = Key(value, explained.get(key, ""))
    return found


# Who can use a key (`Key.only`) -> whether a configuration is of theirs.
USERS: Mapping[str, Callable[[ConfigDict], bool]] = {
    "": lambda config: True,
    "files": lambda config: not config.data.source.startswith(PHANTOMS),
    "phantoms": lambda config: config.data.source.startswith(PHANTOMS),
    "classes": lambda config: config.data.source.startswith((*CLASSES, "tfds:")),
    "steps": lambda config: not learns_in_one_pass(config),
}


def describe(config: ConfigDict) -> list[str]:
    """Lines on every key that a complete configuration can use, with its value there."""
    explained = dict(_leaves({**shared_keys(config.size), "reconstructor": method_keys(config)}))
    usable = {user for user, uses in USERS.items() if uses(config)}
    values = flat(config)
    lines, section = [], None
    for key, of in explained.items():
        if of.only not in usable:
            continue
        top = key.partition(".")[0] if "." in key else "run"
        if top != section:
            lines += ["", f"{top}:"]
            section = top
        lines.append(line_of_key(key, values[key], of))
    return lines


def line_of_key(key: str, value: object, of: Key) -> str:
    """Line of --help: the flag with its value there, and the explanation."""
    shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    choices = f" ({' | '.join(of.choices)})" if of.choices else ""
    return f"  --config.{key}={shown}".ljust(COLUMN) + f"  {of.text}{choices}".rstrip()


def _leaves(keys: Keys, prefix: str = "") -> Iterator[tuple[str, Key]]:
    for name, key in keys.items():
        if isinstance(key, Key):
            yield prefix + name, key
        else:
            yield from _leaves(key, f"{prefix}{name}.")
