"""Backbones inside a detector's folder: for each its weights and a description."""

import json
import zipfile
from pathlib import Path

import flax.traverse_util
import numpy as np

from ad_core.backbones.backbone import Backbone, digest, with_weights
from ad_core.errors import UserError
from ad_core.runtime.registry import resolve
from ad_core.runtime.sealed import MANIFEST


def save_backbone(backbone: Backbone, folder: str | Path) -> None:
    """Writes NAME.npz and NAME.json into `folder`, which may hold other backbones.

    Raises:
        UserError: other weights lie there under the same name.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    described = folder / f"{backbone.name}.json"
    if described.exists() and json.loads(described.read_text())["sha256"] != backbone.sha256:
        raise UserError(
            f"{folder} already holds other weights of {backbone.name}; a detector carries one "
            "set of weights of a network."
        )
    flat = flax.traverse_util.flatten_dict(backbone.params, sep="/")
    arrays = {name: np.asarray(x) for name, x in flat.items()}
    np.savez(folder / f"{backbone.name}.npz", allow_pickle=False, **arrays)
    facts = {**backbone.facts, "module": backbone.network.module, "source": backbone.source}
    described.write_text(json.dumps(facts, indent=2) + "\n")


def read_saved(folder: str | Path) -> dict[str, Backbone]:
    """The backbones that `save_backbone` wrote into `folder`, by name; none if it is not there.

    Raises:
        UserError: weights that are missing, damaged or not those that were described.
    """
    described = sorted(path for path in Path(folder).glob("*.json") if path.name != MANIFEST)
    return {path.stem: _read(path) for path in described}


def _read(described: Path) -> Backbone:
    facts, weights = json.loads(described.read_text()), described.with_suffix(".npz")
    try:
        with np.load(weights, allow_pickle=False) as arrays:
            params = flax.traverse_util.unflatten_dict(dict(arrays), sep="/")
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"Weights {weights} cannot be read ({error}); calibrate again.") from error
    if digest(params) != facts["sha256"]:
        raise UserError(
            f"Weights {weights} were changed or damaged: they are not those that "
            f"{described.name} describes; calibrate again or restore a copy."
        )
    network = resolve(facts["module"], "network").network(facts["name"])
    return with_weights(network, params, source=facts.get("source", ""))
