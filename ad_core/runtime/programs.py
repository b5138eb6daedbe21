"""Traced programs that outlive the process: what measures is not traced anew at each start.

JAX keeps what it has compiled (`runtime.compilation`), but finds it by the program, and to have
that again it must trace and lower a function: a second for two methods. Here the lowered program is
kept itself, by `jax.export`: StableHLO in a flatbuffer, no pickle.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.export

from ad_core.errors import UserError
from ad_core.runtime import sealed
from ad_core.runtime.cache import cache_folder
from ad_core.runtime.invocation import PROJECT

log = logging.getLogger(__name__)

Function = Callable[[Any, Any], Any]
DIGEST = hashlib.sha256().digest_size  # bytes before the program in a file
VERSIONS = ("jax", "jaxlib", "flax", "numpy")  # that a program depends on
SETTINGS = (  # of JAX, likewise
    "jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl",
    "jax_threefry_partitionable", "jax_numpy_dtype_promotion",
)  # fmt: skip
PACKAGES = ("ad_core", "*_ad")  # whose code it depends on


def kept(function: Function, identity: str) -> Function:
    """`function(learnt, images)` for `jax.jit` on one device, traced by one process for all.

    The program lies in `cache_folder("programs")`, by a hash of the identity, the project's code,
    the versions of JAX, Flax and NumPy, the device and the shapes. What stands there is used, else
    the function is traced and put there. Where nothing can be put or the function cannot be
    exported, it is traced as ever: the values are the same, bit for bit, in each case.

    Args:
        function: of arrays; its result is made of tuples, lists, dicts and None.
        identity: tells the function and all that it closes over from every other one; "": it is
            not kept.
    """
    if not identity:
        return function

    def call(learnt: Any, images: Any) -> Any:
        named, tree = jax.tree.flatten_with_path((learnt, images))
        leaves = [leaf for _, leaf in named]
        shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in map(jax.typeof, leaves)]
        given = [f"{jax.tree_util.keystr(path)}: {jax.typeof(leaf)}" for path, leaf in named]

        def flat(*leaves: Any) -> Any:
            return function(*jax.tree.unflatten(tree, leaves))

        program = _find(flat, shapes, _key(identity, given))
        return function(learnt, images) if program is None else program.call(*leaves)

    return call


def is_own(modules: Iterable[str]) -> bool:
    """Tells whether all of these module paths lie in this project's packages.

    Their code is part of what a program is kept by; that of others is not.
    """
    own = {package.name for package in _packages()}
    return own.issuperset(name.partition(".")[0] for name in modules)


def _find(function: Callable[..., Any], shapes: list[Any], key: str) -> Any:
    """The program of a key, made if it is missing; None where it cannot be exported."""
    path = cache_folder("programs") / f"{key}.stablehlo"
    found = _read(path)
    if found is not None:
        return jax.export.deserialize(found)
    try:
        program = jax.export.export(jax.jit(function))(*shapes)
        content = bytes(program.serialize())
    except (NotImplementedError, ValueError) as error:
        log.debug("A program is not kept: %s", error)
        return None
    _write(path, content)
    return program


def _read(path: Path) -> bytearray | None:
    """The program in a file; None if there is none, or not the one that was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, program = content[:DIGEST], content[DIGEST:]
    return bytearray(program) if hashlib.sha256(program).digest() == digest else None


def _write(path: Path, program: bytes) -> None:
    """Keeps a program where only this user can put one; JAX runs what it finds there."""
    content = hashlib.sha256(program).digest() + program
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        sealed.write_file(path, lambda partial: partial.write_bytes(content))
    except (OSError, UserError) as error:
        log.debug("A program is not kept: %s", error)


def _key(identity: str, given: list[str]) -> str:
    device = jax.local_devices()[0]
    told = {
        "identity": identity,
        "code": _code(),
        "versions": [metadata.version(name) for name in VERSIONS],
        "device": [device.platform, device.device_kind],
        "settings": {name: str(getattr(jax.config, name)) for name in SETTINGS},
        "given": given,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


@lru_cache
def _code() -> str:
    """SHA-256 of the code of this project's packages."""
    found = hashlib.sha256()
    for package in _packages():
        for path in sorted(package.rglob("*.py")):
            found.update(f"{path.relative_to(PROJECT)}\n".encode())
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def _packages() -> list[Path]:
    found = [path.parent for name in PACKAGES for path in PROJECT.glob(f"{name}/__init__.py")]
    return sorted(found)
