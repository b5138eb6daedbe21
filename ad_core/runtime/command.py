"""The command line of the launch scripts: a config with its overrides, one message for a mistake.

A script defines its own flags with `absl.flags` and ends with `run(main)`. It imports what takes
long inside of `main`, so that a mistake, a signal and a finished run are answered at once.
"""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from absl import flags
from ml_collections import ConfigDict, config_flags

from ad_core.errors import UserError
from ad_core.runtime.config import complete, differences, flat, require_key
from ad_core.runtime.help import describe
from ad_core.runtime.invocation import given, script
from ad_core.runtime.recipes import load_recipe
from ad_core.runtime.stop import Stopped, stop_on_signals

Rewrite = Callable[[list[str]], list[str] | None]
_named: list[str] = []  # the recipe of the command line that was parsed last, as absl keeps flags

_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]+)")
_MISSING = (
    "`--config` is missing; e.g. --config=configs/folder.py, or --workdir= of an earlier run."
)


class Kind(NamedTuple):
    """Sort of configuration that a script takes.

    read: (name of --config or None, other arguments) -> the configuration under no override, or
    None where none is named. explain: lines of --help on its keys.
    """

    read: Callable[[str | None, Sequence[str]], ConfigDict | None]
    explain: Callable[[ConfigDict], list[str]]


def run(
    main: Callable[[Any], int | None],
    *,
    needs_config: bool = True,
    first: Rewrite | None = None,
    argv: Sequence[str] | None = None,
    kind: Kind | None = None,
) -> NoReturn:
    """Ends the program with the status of `main(config)`, None being 0.

    A mistake of the user's is one line on stderr and status 2, an interrupt 130. Until `main`
    holds signals itself, one ends the program at once.

    Args:
        main: gets the resolved, locked config; None where none was named nor needed.
        needs_config: whether to refuse a command line that names none.
        first: makes of the arguments those that are parsed; None where nothing is left to do.
        argv: with the program's name first; default sys.argv.
        kind: of the configuration; default, a recipe.
    """
    kind = kind or RECIPE
    argv = list(sys.argv if argv is None else argv)
    try:
        with stop_on_signals(lambda: again(argv), at_once=True):
            sys.exit(_start(main, argv, kind, needs_config=needs_config, first=first))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Stopped:
        print(f"stopped. This goes on: {again(argv)}", file=sys.stderr)
        raise
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)


def _start(
    main: Callable[[Any], int | None],
    argv: list[str],
    kind: Kind,
    *,
    needs_config: bool,
    first: Rewrite | None,
) -> int:
    if {"--help", "-help", "-h"} & set(argv):
        print(_help(argv, kind))
        return 0
    arguments = first(argv) if first else argv
    if arguments is None:
        return 0
    return main(parse_flags(arguments, needs_config=needs_config, kind=kind)) or 0


def again(argv: Sequence[str]) -> str:
    """The command that goes on where this one stopped."""
    return given(argv)


def parse_flags(
    argv: Sequence[str],
    *,
    needs_config: bool = True,
    flag_values: flags.FlagValues = flags.FLAGS,
    kind: Kind | None = None,
) -> ConfigDict | None:
    """Parses all flags; the resolved config, or None where none was named nor needed.

    `--config=configs/NAME.py[:variant]`, or without it the config.json of `--workdir=`, under
    `--config.section.key=value`. Several names take commas: `--config.decision.rules=zfn,accuracy`.

    Raises:
        UserError: anything wrong with a flag, a key or the type of a value.
    """
    name, rest = take(argv, "config")
    _named[:] = filter(None, [_kept(rest) if name is None else name])
    config = (kind or RECIPE).read(name, rest)
    keys = [match[1] for match in map(_OVERRIDE.match, _before_dashes(rest)) if match]
    if config is None and keys:
        raise UserError(_MISSING)
    known = {} if config is None else flat(config)
    for key in keys:
        require_key(key, known)
    if config is not None:
        # Overrides are flags of their own, which this call finds in sys_argv.
        config_flags.DEFINE_config_dict(
            "config", config, flag_values=flag_values, sys_argv=list(rest)
        )
    positional = _parsed(rest, flag_values, known)
    if config is None and needs_config:
        raise UserError(_MISSING)
    if positional:
        raise UserError(f"Argument {positional[0]!r} belongs to no flag; write --flag=value.")
    return None if config is None else _split_names(flag_values.config, keys)


def recipe_name() -> str:
    """The recipe (or config.json) of the command line that was parsed last."""
    return _named[0]


def configure(arguments: Sequence[str]) -> ConfigDict:
    """The configuration that `--config=NAME` and `--config.key=value` give; as `parse_flags`."""
    config = parse_flags(["configure", *arguments], flag_values=flags.FlagValues())
    assert config is not None
    return config


def require_workdir(value: str | None) -> Path:
    """The path of --workdir. Raises UserError without one."""
    if not value:
        raise UserError("`--workdir` is missing; e.g. --workdir=runs/mine.")
    return Path(value)


def overrides_of(name: str, config: ConfigDict) -> dict[str, str]:
    """Keys that a configuration adds to its recipe, with their values as the command line has them.

    Args:
        name: as in `--config=NAME`.
    """
    recipe = load_recipe(name, size=str(config.size))
    resolved = _resolved(recipe, size=config.size, method=config.method)
    changed = set(differences(resolved, config))
    if recipe.get("method") != config.method:
        changed.add("method")
    if load_recipe(name).size != config.size:  # where nothing names a size the device does
        changed.add("size")
    return {key: written(value) for key, value in flat(config).items() if key in changed}


def written(value: Any) -> str:
    """A value as the command line has it."""
    if isinstance(value, tuple) and len(value) == 1 and not isinstance(value[0], str):
        return f"({value[0]},)"
    if isinstance(value, tuple) and value:
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def _base(name: str | None, rest: Sequence[str]) -> ConfigDict | None:
    """The named config, resolved with the method and the size that the command line asks for."""
    name = _kept(rest) if name is None else name
    if name is None:
        return None
    # Method and size decide which other keys there are and what they default to.
    size, method = (take(rest, f"config.{key}")[0] for key in ("size", "method"))
    recipe = load_recipe(name, size=size or "")
    if name.endswith(".json") and size not in (None, recipe["size"]):
        raise UserError(
            f"`--config.size` (={size}) comes too late for {name}, whose size is fixed; name "
            "a recipe."
        )
    return _resolved(recipe, size=size, method=method)


def _kept(rest: Sequence[str]) -> str | None:
    """The configuration of an earlier run in `--workdir=`."""
    workdir = take(rest, "workdir")[0]
    kept = workdir and Path(workdir) / "config.json"
    return str(kept) if kept and kept.is_file() else None


def _resolved(recipe: ConfigDict, *, size: str | None, method: str | None) -> ConfigDict:
    base = recipe.to_dict()
    if method and method != base.get("method"):
        # Settings were of another method, and no other stands in for one that is named.
        base |= {"method": method, "without_abnormal": "", "reconstructor": {}}
    return complete(ConfigDict({**base, "size": size or base["size"]}))


def take(argv: Sequence[str], name: str) -> tuple[str | None, list[str]]:
    """The last value of a flag, None without one, and the arguments that remain."""
    value, rest, args = None, [], iter(argv)
    for arg in args:
        if arg == "--":
            rest += [arg, *args]
            break
        flag, has_value, text = arg.partition("=")
        if flag in (f"--{name}", f"-{name}"):
            value = text if has_value else next(args, "")
        else:
            rest.append(arg)
    return value, rest


def _before_dashes(argv: Sequence[str]) -> Sequence[str]:
    return argv[: argv.index("--")] if "--" in argv else argv


def refuse_unknown_flags(argv: Sequence[str]) -> None:
    """Raises UserError where a flag is none of the script's; the configuration's own may be any."""
    others, words = [], iter(take(argv, "config")[1])
    for word in words:
        if not _OVERRIDE.match(word):
            others.append(word)
        elif "=" not in word:
            next(words, None)  # the value, which may begin with a dash
    _parsed(others, flags.FLAGS, {})


def _parsed(argv: Sequence[str], flag_values: flags.FlagValues, known: dict[str, Any]) -> list[str]:
    """What is left of the arguments without the flags, which have their values then."""
    try:
        return flag_values(list(argv))[1:]
    except flags.Error as error:
        raise UserError(_explain(error, known)) from error


def _explain(error: flags.Error, known: dict[str, Any]) -> str:
    match = re.match(r"flag --config\.([\w.]+)=(.*?): ", str(error))
    if not match:
        return f"{error}."
    key, value = match.groups()
    return f"`--config.{key}` (={value}) must be of type {type(known[key]).__name__}."


def _split_names(config: ConfigDict, keys: Sequence[str]) -> ConfigDict:
    """Overridden tuples as a user means them: "a,b" is two names, "none" is no value.

    The flag parser makes a tuple of one string of either.
    """
    for key in keys:
        value = flat(config)[key]
        if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], str):
            names = tuple(name.strip() for name in value[0].split(","))
            config.update_from_flattened_dict({key: None if names == ("none",) else names})
    return config


def _help(argv: Sequence[str], kind: Kind) -> str:
    """Help of a script: its purpose, its flags, and each key that the config named can use."""
    purpose = re.sub(r"python launch/(\w+)\.py", lambda m: script(m[1]), _purpose())
    lines = [purpose, flags.FLAGS.main_module_help()]
    name, rest = take(argv, "config")
    config = kind.read(name, rest)
    if config is None:
        lines.append("  --config=configs/NAME.py[:variant] with --help lists what it sets.")
    else:
        lines += kind.explain(config)
    return "\n".join(lines)


def _purpose() -> str:
    return sys.modules["__main__"].__doc__ or ""


RECIPE = Kind(_base, describe)
