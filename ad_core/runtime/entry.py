"""The entry point `zfn`: the scripts of launch/ by one word, from anywhere."""

import ast
import runpy
import sys
from pathlib import Path

from ad_core.runtime.invocation import ENTRY, PROJECT, enter, given
from ad_core.runtime.stop import stop_on_signals

LAUNCH = PROJECT / "launch"
SHORT = {"inspect": "inspect_data"}  # a shorter word for a script


def main() -> None:
    """Runs launch/NAME.py for `zfn NAME`, with what follows as its arguments."""
    word = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if word in ("--help", "-help", "-h", "help"):
        print(_overview())
        return
    name = SHORT.get(word, word)
    if name not in _scripts():
        print(f"error: {_unknown(word)}", file=sys.stderr)
        raise SystemExit(2)
    enter(word)
    sys.argv = [ENTRY, *sys.argv[2:]]
    with stop_on_signals(lambda: given(sys.argv), at_once=True):
        runpy.run_path(str(LAUNCH / f"{name}.py"), run_name="__main__")


def _scripts() -> dict[str, Path]:
    return {path.stem: path for path in sorted(LAUNCH.glob("[a-z]*.py"))}


def _unknown(word: str) -> str:
    names = {name: name for name in _scripts()} | {full: short for short, full in SHORT.items()}
    known = ", ".join(sorted(set(names.values())))
    hint = f"; to train on a folder: zfn train {word}" if Path(word).exists() else ""
    return f"`zfn {word}` is no command; known: {known}{hint}."


def _overview() -> str:
    short = {full: word for word, full in SHORT.items()}
    lines = ["zfn train PHOTOS: a detector from a folder of images, with nothing else to say.", ""]
    for name, path in _scripts().items():
        doc = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        lines.append(f"  {ENTRY} {short.get(name, name):12} {doc.splitlines()[0]}")
    return "\n".join([*lines, "", "zfn NAME --help lists the flags of each."])
