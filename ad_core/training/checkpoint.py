"""Checkpoints that are whole or not there, and that are verified before they are used.

Orbax writes each step into a sealed folder. A checkpoint is read only when all its files agree
with the manifest; otherwise it is reported and the one before it is tried.

Of several processes each writes the parts of arrays that it holds, and the first seals the folder
and says which checkpoint all of them read.
"""

import logging
import shutil
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from ad_core.errors import UserError
from ad_core.runtime import processes
from ad_core.runtime.sealed import (
    OLD,
    PARTIAL,
    Damaged,
    remove_folder,
    verify_folder,
    write_folder,
)
from ad_core.training.partition import is_key
from ad_core.types import TrainState

log = logging.getLogger(__name__)
Position = Mapping[str, Any]

# Orbax logs what it also raises, with tracebacks; the exceptions are enough.
logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)


class _OfAnotherModel(Exception):
    """Difference of a checkpoint from the model that asks for it."""


def _flat(state: TrainState) -> dict[str, Any]:
    """Path -> leaf, in the order of the tree. A path is like "params/encoder/kernel"."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): x for path, x in leaves}


def _describe(x: Any) -> str:
    """Type and shape, such as "float32[3, 3, 1, 8]"."""
    return f"{x.dtype}{list(x.shape)}"


def _data(x: Any) -> Any:
    """The numbers of an array, those of a key where it is one."""
    return jax.random.key_data(x) if is_key(x) else x


def _host(x: Any) -> np.ndarray:
    """A copy of `x` in memory of its own, out of reach of the donation of `x`."""
    return np.array(_data(x))


def _alone() -> ocp.Checkpointer:
    """What reads without waiting for the other processes."""
    own = processes.own()
    options = ocp.options.MultiprocessingOptions(
        primary_host=own, active_processes={own}, barrier_sync_key_prefix=f"process_{own}"
    )
    handler = ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(multiprocessing_options=options)
    )
    return ocp.Checkpointer(handler, multiprocessing_options=options)


def _difference(stored: Mapping[str, str], wanted: Mapping[str, str]) -> str | None:
    """The first leaf that differs, in words; None where all agree."""
    for path in [*wanted, *stored]:
        there, here = stored.get(path, "missing"), wanted.get(path, "missing")
        if there != here:
            return f"`{path}` is {there} in the checkpoint and {here} in this model"
    return None


class Restored(NamedTuple):
    """A verified checkpoint: the state on the host, and the data position that goes with it."""

    state: TrainState
    position: dict[str, Any]
    step: int


class Checkpoints:
    """The checkpoints of one training, a directory each, the newest `keep` of them.

    One training at a time may use a directory (`lock.exclusive`). Of several processes all make
    every call.

    Args:
        keep: at least 2, so that a damaged newest one leaves another.
    """

    def __init__(self, directory: Path, *, keep: int):
        if keep < 2:
            raise UserError(f"`train.keep` (={keep}) must be at least 2.")
        self._directory = directory.absolute()
        self._keep = keep
        self._checkpointer = ocp.Checkpointer(ocp.CompositeCheckpointHandler())
        self._reader = _alone() if processes.count() > 1 else self._checkpointer
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        if processes.is_first():
            self._directory.mkdir(parents=True, exist_ok=True)
            self._clean()
        processes.meet("checkpoints")

    def steps(self) -> list[int]:
        """The steps that are there, oldest first, verified or not."""
        return sorted(int(path.name) for path in self._directory.iterdir() if path.name.isdigit())

    def save(self, step: int, state: TrainState, position: Position) -> None:
        """Writes a checkpoint in the background; the state may be donated on return.

        Waits for the save before this one, and raises its error. Several processes do not write in
        the background, where their messages to each other would cross those of the training.

        Args:
            position: of the data after the batches that made this state; JSON values.
        """
        self.wait()
        leaves = {path: _describe(x) for path, x in _flat(state).items()}
        record = {"position": position, "leaves": leaves}
        if processes.count() > 1:
            arrays = {path: _data(x) for path, x in _flat(state).items()}
            if processes.is_first():
                self._save(step, arrays, record)
            else:
                partial = self._directory / f"{step}{PARTIAL}"
                _write_arrays(self._checkpointer, partial, arrays, record)
            processes.meet("saved")
            return
        arrays = {path: _host(x) for path, x in _flat(state).items()}
        self._pending = self._thread.submit(self._save, step, arrays, record)

    def _save(self, step: int, arrays: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        try:
            write_folder(
                self._directory / str(step),
                lambda partial: _write_arrays(self._checkpointer, partial, arrays, record),
            )
            for old in self.steps()[: -self._keep]:
                remove_folder(self._directory / str(old))
            self._clean()
        except UserError:
            raise
        except (OSError, ValueError) as error:
            raise UserError(
                f"Checkpoint {self._directory / str(step)} could not be written ({error}); "
                "free disk space or mend its permissions, and start again."
            ) from error

    def restore(self, template: TrainState | None) -> Restored | None:
        """The newest checkpoint that proves whole; None where there is none at all.

        Each one passed over is logged as a warning and renamed to `<step>.damaged`.

        Args:
            template: the state of this model, or its abstract shapes; None: whatever was saved, of
                which only `step`, `params` and `extra` are given back.

        Raises:
            UserError: there are checkpoints, but none is whole and of this model.
        """
        found = self._newest(template) if processes.is_first() else None
        if processes.count() == 1:
            return found
        step = processes.from_first(-1 if found is None else found.step)
        if step < 0 or found is not None:
            return found
        return _read(self._reader, self._directory / str(step), template)

    def _newest(self, template: TrainState | None) -> Restored | None:
        reasons: dict[int, str] = {}
        for step in reversed(self.steps()):
            try:
                restored = _read(self._reader, self._directory / str(step), template)
            except (Damaged, _OfAnotherModel) as error:
                reasons[step] = str(error)
                log.warning("Checkpoint %s is passed over: %s.", self._directory / str(step), error)
                continue
            for damaged in reasons:
                self._set_aside(damaged)
            return restored
        if not reasons:
            return None
        raise UserError(
            f"No checkpoint in {self._directory} can be used: "
            + "; ".join(f"{step}: {reason}" for step, reason in reasons.items())
            + ". Use another --workdir, or remove this folder to train from the start."
        )

    def wait(self) -> None:
        """Returns when the last save is complete; raises its error."""
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Waits, and frees the thread."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            self._checkpointer.close()
            if self._reader is not self._checkpointer:
                self._reader.close()

    def _set_aside(self, step: int) -> None:
        """Renames a checkpoint, so that its step is free."""
        target = self._directory / f"{step}.damaged"
        if target.exists():
            shutil.rmtree(target)
        (self._directory / str(step)).rename(target)

    def _clean(self) -> None:
        """Removes what unfinished saves and deletions left."""
        for path in self._directory.iterdir():
            if path.suffix == OLD or PARTIAL in path.name:
                shutil.rmtree(path)


def _write_arrays(
    checkpointer: ocp.Checkpointer,
    path: Path,
    arrays: Mapping[str, Any],
    record: Mapping[str, Any],
) -> None:
    # Orbax refuses arrays without elements; `_read_arrays` makes those from their shape.
    items = {name: x for name, x in arrays.items() if x.size}
    args = ocp.args.Composite(state=ocp.args.PyTreeSave(items), record=ocp.args.JsonSave(record))
    # Orbax writes beside the folder that it is given, and forced puts its own in place of it.
    checkpointer.save(path, args=args, force=True)


def _read(checkpointer: ocp.Checkpointer, path: Path, template: TrainState | None) -> Restored:
    """The checkpoint in `path`. Raises Damaged or _OfAnotherModel if it is not whole or ours."""
    verify_folder(path)
    args = ocp.args.Composite(record=ocp.args.JsonRestore())
    record = checkpointer.restore(path, args=args).record
    if template is None:
        template = _state_of(record["leaves"])
    wanted = _flat(template)
    difference = _difference(record["leaves"], {name: _describe(x) for name, x in wanted.items()})
    if difference is not None:
        raise _OfAnotherModel(difference)
    arrays = _read_arrays(checkpointer, path, wanted)
    leaves = [_as_template(arrays[name], x) for name, x in wanted.items()]
    state = jax.tree.unflatten(jax.tree.structure(template), leaves)
    return Restored(state, record["position"], int(path.name))


def _state_of(leaves: Mapping[str, str]) -> TrainState:
    """The shapes of a state whose parameters lie in plain dicts, from the names of its leaves."""
    shapes = {}
    for path, described in leaves.items():
        kind, _, sides = described.partition("[")
        shape = tuple(int(side) for side in sides.rstrip("]").split(",") if side.strip())
        shapes[tuple(path.split("/"))] = jax.ShapeDtypeStruct(shape, jnp.dtype(kind))
    tree = flax.traverse_util.unflatten_dict(shapes)
    return TrainState(tree["step"], tree.get("params", {}), (), tree.get("extra", {}))


def _read_arrays(
    checkpointer: ocp.Checkpointer, path: Path, wanted: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    as_numpy = {
        name: ocp.RestoreArgs(restore_type=np.ndarray) for name, x in wanted.items() if x.size
    }
    restore = ocp.args.PyTreeRestore(item=as_numpy, restore_args=as_numpy)
    stored = checkpointer.restore(path, args=ocp.args.Composite(state=restore)).state
    return {
        name: np.asarray(stored[name]) if x.size else _host(jnp.zeros(x.shape, x.dtype))
        for name, x in wanted.items()
    }


def _as_template(x: np.ndarray, template: Any) -> Any:
    """`x` as the key array that `template` is, or as it is."""
    if not jnp.issubdtype(template.dtype, jax.dtypes.prng_key):
        return x
    impl = jax.random.key_impl(jnp.zeros((), template.dtype))
    return jax.random.wrap_key_data(jnp.asarray(x), impl=impl)
