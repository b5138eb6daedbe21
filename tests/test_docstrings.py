"""Docstrings begin with a noun or a verb: the subject stands before its condition."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PLACES = ("ad_core", "configs", "launch", *sorted(p.name for p in ROOT.glob("[a-z]*_ad")))
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

# Words that put a question, a condition or a relation before the subject.
QUESTIONS = {"How", "That", "What", "When", "Where", "Whether", "Which", "Who", "Whose", "Why"}
CONDITIONS = {"About", "As", "At", "By", "For", "From", "If", "In", "Like", "Of", "On", "Over"}
CONDITIONS |= {"Such", "Those", "To", "Under", "Until", "With", "Without"}


def is_public(name):
    """Tells whether a name is for readers from outside: `__call__` is, `_step` is not."""
    return not name.startswith("_") or name.endswith("__")


def inverted(source):
    """Yields line, name and first word of each public docstring that puts something first."""
    for node in ast.walk(ast.parse(source)):
        name = getattr(node, "name", "module")
        if not isinstance(node, DOCUMENTED) or not is_public(name):
            continue
        first = (ast.get_docstring(node) or "").split(maxsplit=1)[:1]
        if first and first[0].rstrip(",:;.") in QUESTIONS | CONDITIONS:
            yield f"{getattr(node, 'lineno', 1)} {name}: {first[0]}"


def test_every_public_docstring_begins_with_a_noun_or_a_verb():
    files = [path for place in PLACES for path in sorted((ROOT / place).rglob("*.py"))]
    assert len(files) > 100
    found = {f"{p.relative_to(ROOT)}:{line}" for p in files for line in inverted(p.read_text())}
    assert not found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('"""What a module holds."""', ["1 module: What"]),
        ('class Shapes:\n    """Of n images."""', ["1 Shapes: Of"]),
        ('def f():\n    """For instance: 3."""', ["1 f: For"]),
        ('async def f():\n    """In nats, the entropy."""', ["1 f: In"]),
        ('class A:\n    def __call__(self):\n        """As `f`."""', ["2 __call__: As"]),
        ('def f():\n    """\n    Where,\n    if anywhere."""', ["1 f: Where,"]),
        ('def _f():\n    """What it holds."""', []),
        ('def f():\n    """Forest of trees, of which none is high."""', []),
        ('def f():\n    """Yields each finding once."""', []),
        ("def f():\n    return 'What?'", []),
    ],
)
def test_an_inverted_docstring_is_found_wherever_it_stands(source, found):
    assert list(inverted(source)) == found
