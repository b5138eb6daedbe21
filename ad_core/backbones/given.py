"""Backbones of weights that the user gives: converted once, and then kept for this user."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.errors
import jax
import numpy as np

from ad_core.backbones.backbone import Backbone, Network, with_weights
from ad_core.backbones.given_files import GivenFile
from ad_core.backbones.saved import read_saved, save_backbone
from ad_core.errors import UserError
from ad_core.runtime import sealed
from ad_core.runtime.cache import cache_folder
from ad_core.runtime.lock import exclusive

log = logging.getLogger(__name__)
VERSION = 1  # of the conversion; what another one made is not read
Convert = Callable[[GivenFile], dict[str, Any]]


def load_given(spec: str, network: Network, convert: Convert, *, mend: str) -> Backbone:
    """The network with the weights of the file in "NAME:FILE" or "NAME:FILE#SHA256".

    What a file gives is kept, under the file's hash, in `cache_folder("backbones")`; "NAME" alone
    is what is kept there, if that is one.

    Args:
        convert: makes the network's weights of the arrays in a file.
        mend: how to write a file.

    Raises:
        UserError: no such file, or not the weights of this network; no file named, and none or
            several kept. There is no fallback to random weights.
    """
    if ":" not in spec:
        return _only_kept(spec, network, mend)
    file = GivenFile(spec, mend=mend)
    place = _folder() / f"{network.name}-{file.sha256}"
    found = _read_kept(place, network)
    if found is None:
        source = f"{file.path.name}, a file of SHA-256 {file.sha256} that the user gave"
        found = with_weights(network, convert(file), source=source)
        _check(found, file)
        _keep(found, place)
        log.info("Backbone %s: %s.", found.name, found.origin)
    return found


def _folder() -> Path:
    return cache_folder("backbones") / f"v{VERSION}"


def _only_kept(name: str, network: Network, mend: str) -> Backbone:
    """The backbone of which one file was given before."""
    kept = sorted(_folder().glob(f"{network.name}-{'[0-9a-f]' * 64}"))
    if not kept:
        raise UserError(f"Backbone {name} needs its weights: {name}:FILE; {mend}.")
    if len(kept) > 1:
        hashes = ", ".join(place.name[-64:][:12] for place in kept)
        raise UserError(
            f"Backbone {name}: {len(kept)} files were given before (SHA-256 {hashes}); name the "
            f"file, {name}:FILE."
        )
    found = _read_kept(kept[0], network)
    if found is None:
        raise UserError(f"Weights {kept[0]} are damaged; give their file again, {name}:FILE.")
    log.info("Backbone %s: %s.", found.name, found.origin)
    return found


def _read_kept(place: Path, network: Network) -> Backbone | None:
    """What was kept, if it is there and whole."""
    try:
        sealed.verify_folder(place)
        return read_saved(place)[network.name]
    except sealed.Damaged as error:
        if place.is_dir():
            log.warning("Weights in %s: %s; they are made anew.", place, error)
        return None


def _keep(backbone: Backbone, place: Path) -> None:
    """Keeps the weights for the next time; where it cannot, it says so and goes on."""
    try:
        with exclusive(place.parent, flag="ZFN_CACHE"):
            sealed.write_folder(place, lambda folder: save_backbone(backbone, folder))
    except (OSError, UserError) as error:
        log.warning("Weights of %s are not kept for the next time: %s", backbone.name, error)


def _check(backbone: Backbone, file: GivenFile) -> None:
    """Refuses arrays that do not fit together; UserError."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    try:
        jax.eval_shape(backbone.stages, backbone.params, image)
    except (TypeError, ValueError, flax.errors.FlaxError) as error:
        reason = str(error).splitlines()[0]
        raise file.error(f"its arrays do not fit together ({reason})") from error
