"""A detector on disk: a folder without pickle, put in place as a whole, checked when read."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from ad_core.backbones import Backbone, portable, read_saved, save_backbone
from ad_core.data.shape import image_shape
from ad_core.decision import Threshold, load_classifier, save_classifier
from ad_core.errors import UserError
from ad_core.runtime import sealed
from ad_core.runtime.compilation import keep_programs
from ad_core.runtime.config import flat, from_json, to_json
from ad_core.runtime.methods import method_modules
from ad_core.scoring.detector import Detector, Parts
from ad_core.scoring.fusion import Fusion
from ad_core.scoring.localisation import MapScale
from ad_core.scoring.part import Part, part_names
from ad_core.scoring.profile import Profile
from ad_core.statistics import Context
from ad_core.types import Method, TrainState

FORMAT = 5  # of the files; from 5 on with one-sided cleaning, groups and a profile of normals
DESCRIBED, THRESHOLD = "detector.json", "threshold.json"
PROFILE = "profile.npz"  # of normal maps, where they are told by it
KINDS = (".json", ".npz", ".skops")  # what is read of a folder, and must be in its manifest
BACKBONES = "backbones"  # folder of those that statistics need


def save_detector(directory: Path, parts: Parts, *, versions: Mapping[str, str]) -> None:
    """Writes a self-contained directory, put in place as a whole.

    Raises:
        UserError: the disk is full, or the place cannot be written.
    """
    sealed.write_folder(directory, lambda folder: _write(folder, parts, versions))


def _write(folder: Path, parts: Parts, versions: Mapping[str, str]) -> None:
    names = part_names(part.name for part in parts.methods)
    for name, part in zip(names, parts.methods, strict=True):
        _write_part(folder / name, part)
        if part.context.backbone is not None:
            save_backbone(part.context.backbone, folder / BACKBONES)
    normals = {"reference": parts.reference, "groups": parts.groups}
    _save_arrays(folder / "normals.npz", {name: x for name, x in normals.items() if x is not None})
    if parts.profile is not None:
        _save_arrays(folder / PROFILE, parts.profile._asdict())
    save_classifier(parts.classifier, folder / "classifier.skops")
    sealed.write_json(folder / THRESHOLD, _decided(parts))
    described = {
        "format": FORMAT,
        "method": parts.config.method,
        "methods": list(names),
        "image_shape": list(image_shape(parts.config.data)),
        "statistics": list(parts.names),
        "scale": parts.scale.to_dict(),
        "fusion": None if parts.fusion is None else parts.fusion.to_list(),
        "clipped": parts.clipped,
        "selection": parts.selection,
        "facts": parts.facts,
        "backbones": parts.backbones,
        "config": json.loads(to_json(_self_contained(parts.config))),
        "versions": dict(versions),
    }
    sealed.write_json(folder / DESCRIBED, described)


def _decided(parts: Parts) -> dict[str, Any]:
    """Content of the file that says from which score on an image is inspected."""
    return {
        "rule": parts.rule,
        "reason": (parts.facts or {}).get("reason", ""),
        "review": parts.review,
        "thresholds": {rule: threshold.to_dict() for rule, threshold in parts.thresholds.items()},
    }


def save_decided(directory: Path, parent: Path, parts: Parts) -> None:
    """Writes a detector beside the one in `parent`, with other thresholds and facts alone.

    Every other file is the same, byte for byte.

    Args:
        parts: of which thresholds, the rule and facts count.

    Raises:
        UserError: something stands there already, `parent` is no whole detector, or the place
            cannot be written.
    """
    if directory.exists():
        raise UserError(f"{directory} is there already; a detector is never overwritten.")
    _verify(sealed.find_folder(parent), parent)
    source = sealed.find_folder(parent)

    def write(folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        described = _described(source, parent) | {"facts": parts.facts}
        sealed.write_json(folder / DESCRIBED, described)
        sealed.write_json(folder / THRESHOLD, _decided(parts))

    sealed.write_folder(directory, write)


def scoring_hash(directory: Path) -> str:
    """SHA-256 of all that measures and scores: the same for detectors that only decide otherwise.

    Raises:
        UserError: no detector there, or one written by another version.
    """
    folder = sealed.find_folder(directory)
    described = _described(folder, directory)
    del described["facts"]
    files = json.loads((folder / sealed.MANIFEST).read_text())
    told = [described, {name: files[name] for name in files if name not in (DESCRIBED, THRESHOLD)}]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode("utf-8")).hexdigest()


def _write_part(folder: Path, part: Part) -> None:
    folder.mkdir()
    backbone = part.context.backbone
    described = {
        "name": part.name,
        "backbone": None if backbone is None else backbone.name,
        "statistics": list(part.statistics),
        "config": json.loads(to_json(_self_contained(part.config))),
    }
    sealed.write_json(folder / "method.json", described)
    _save_arrays(
        folder / "parameters.npz", flax.traverse_util.flatten_dict(part.state.params, sep="/")
    )
    learnt = part.context._replace(backbone=None)._asdict()
    _save_arrays(folder / "context.npz", {name: x for name, x in learnt.items() if x is not None})


def _self_contained(config: ConfigDict) -> ConfigDict:
    """A configuration in which no file is needed to make the networks of its methods' backbones."""
    config = ConfigDict(config.to_dict())
    names = method_modules(config.method)
    several = len(names) > 1
    for own in (
        [config.reconstructor[name] for name in names] if several else [config.reconstructor]
    ):
        named = {key: value for key, value in flat(own).items() if key.endswith("backbone")}
        own.update_from_flattened_dict({k: portable(value) for k, value in named.items() if value})
    return config


def _save_arrays(path: Path, arrays: Mapping[Any, Any]) -> None:
    np.savez(path, allow_pickle=False, **{name: np.asarray(x) for name, x in arrays.items()})


def load_detector(directory: str | Path, *, batch_size: int = 32) -> Detector:
    """The detector that `save_detector` wrote, each file checked against its hash.

    Programs that it compiles are kept for the next process (`runtime.compilation`).

    Raises:
        UserError: no detector there, a file that is missing or changed, or one written by
            another version.
    """
    keep_programs()
    return Detector(load_parts(Path(directory)), batch_size=batch_size)


def load_method(directory: str | Path, name: str = "") -> tuple[Method, TrainState]:
    """A method of a saved detector, the first unless one is named, and what it learnt.

    Raises:
        UserError: as `load_detector`, or the detector has no such method.
    """
    methods = load_parts(Path(directory)).methods
    known = dict(zip(part_names(part.name for part in methods), methods, strict=True))
    if name and name not in known:
        raise UserError(f"Detector {directory} has no method {name!r}; it has {', '.join(known)}.")
    part = known[name] if name else methods[0]
    return part.make(), jax.tree.map(jnp.asarray, part.state)


def load_parts(directory: Path) -> Parts:
    """The parts of a saved detector; errors as `load_detector`."""
    _verify(sealed.find_folder(directory), directory)
    described = _described(sealed.find_folder(directory), directory)
    directory = sealed.find_folder(directory)
    with np.load(directory / "normals.npz", allow_pickle=False) as arrays:
        reference = arrays["reference"]
        groups = arrays["groups"] if "groups" in arrays else None
    decided = json.loads((directory / THRESHOLD).read_text())
    origin = scoring_hash(directory)
    carried = directory / BACKBONES
    backbones = read_saved(carried) if carried.is_dir() else {}
    return Parts(
        config=from_json(json.dumps(described["config"])),
        methods=tuple(
            _read_part(directory / name, backbones)._replace(origin=origin)
            for name in described["methods"]
        ),
        classifier=load_classifier(directory / "classifier.skops"),
        thresholds={r: Threshold.from_dict(t) for r, t in decided["thresholds"].items()},
        rule=decided["rule"],
        scale=MapScale.from_dict(described["scale"]),
        reference=reference,
        review=decided["review"],
        selection=described["selection"],
        clipped=float(described["clipped"]),
        facts=described.get("facts"),
        backbones=described.get("backbones", {}),
        groups=groups,
        profile=_read_profile(directory / PROFILE),
        fusion=described.get("fusion") and Fusion.from_list(described["fusion"]),
    )


def read_configs(directory: str | Path) -> tuple[ConfigDict, ...]:
    """Configuration of each method of a saved detector, in order; reads nothing that was learnt.

    Raises:
        UserError: no detector there, or one written by another version.
    """
    folder = sealed.find_folder(Path(directory))
    described = _described(folder, Path(directory))
    texts = ((folder / name / "method.json").read_text() for name in described["methods"])
    return tuple(from_json(json.dumps(json.loads(text)["config"])) for text in texts)


def _read_profile(path: Path) -> Profile | None:
    """The profile of a detector; None of one without."""
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return Profile(**arrays)


def _read_part(folder: Path, backbones: Mapping[str, Backbone]) -> Part:
    described = json.loads((folder / "method.json").read_text())
    with np.load(folder / "parameters.npz", allow_pickle=False) as arrays:
        params = flax.traverse_util.unflatten_dict(dict(arrays), sep="/")
    with np.load(folder / "context.npz", allow_pickle=False) as arrays:
        learnt = dict(arrays)
    backbone = described["backbone"] and backbones[described["backbone"]]
    return Part(
        name=described["name"],
        config=from_json(json.dumps(described["config"])),
        state=TrainState(jnp.zeros((), jnp.int32), params, (), {}),
        context=Context(**learnt, backbone=backbone),
        statistics=tuple(described["statistics"]),
    )


def _verify(folder: Path, directory: Path) -> None:
    """Refuses a folder whose files are not what was written; UserError."""
    _require(folder, directory)
    try:
        read = [path for path in folder.rglob("*") if path.suffix in KINDS]
        needed = {path.relative_to(folder).as_posix() for path in read} - {sealed.MANIFEST}
        sealed.verify_folder(folder, needed={DESCRIBED, *needed})
    except sealed.Damaged as error:
        raise UserError(
            f"Detector file {folder / error.file} {error.fault}; calibrate again or restore a copy."
        ) from error


def _require(folder: Path, directory: Path) -> None:
    if not (folder / sealed.MANIFEST).is_file():
        raise UserError(
            f"`--detector` (={directory}): no detector there ({sealed.MANIFEST} is missing); "
            "give the `detector` folder of a workdir."
        )


def _described(folder: Path, directory: Path) -> dict[str, Any]:
    """detector.json of a folder, in this version's format."""
    _require(folder, directory)
    described = json.loads((folder / DESCRIBED).read_text())
    if described["format"] != FORMAT:
        newer = described["format"] > FORMAT
        mend = "update zfn-ad" if newer else "train and calibrate again, in a new workdir"
        raise UserError(
            f"Detector {directory} has format {described['format']} and this version reads "
            f"{FORMAT}; {mend}."
        )
    return described
