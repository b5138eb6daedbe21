"""A detector on disk to a program for machines without it, past the parity gate."""

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

from ad_core.errors import UserError
from ad_core.exporting.formats import FORMATS
from ad_core.exporting.golden import GoldenSet, golden_set
from ad_core.exporting.parity import agreement, compare, lowered, require_same_decisions
from ad_core.exporting.program import Program, make_program
from ad_core.exporting.reading import rule_of
from ad_core.runtime import sealed
from ad_core.scoring.detector import Detector, Parts
from ad_core.scoring.files import load_parts

PROGRAM, PARITY = "program.json", "parity.json"
_VERSION = 1  # of program.json
_LIBRARIES = ("jax", "onnx", "onnxruntime", "openvino")


def export(
    directory: Path, output: Path, *, format: str, images: Path | None = None
) -> dict[str, Any]:
    """Writes the program of a detector, program.json and parity.json, as a whole or not at all.

    An earlier export in `output` is removed first.

    Args:
        directory: of the detector. format: a key of FORMATS. images: see `golden_set`.

    Returns:
        The content of parity.json.

    Raises:
        UserError: no detector there, one that cannot be exported, a library that is missing,
            another folder in the way, no golden images, or a program that decides otherwise.
    """
    if format not in FORMATS:
        raise UserError(f"`--format` (={format}) must be one of {', '.join(FORMATS)}.")
    parts = load_parts(directory)
    golden = golden_set(
        directory, parts.config.data, rule_of(parts.config.data, clipped=parts.clipped), images
    )
    _clear(output)
    parity: dict[str, Any] = {}

    def write(folder: Path) -> None:
        program, told = _write_proved(parts, folder, format, golden)
        parity.update(told)
        sealed.write_json(folder / PARITY, parity)
        sealed.write_json(folder / PROGRAM, _described(parts, program, directory, format))

    sealed.write_folder(output, write)
    return parity


def _clear(output: Path) -> None:
    """Removes an earlier export; UserError for anything else."""
    if output.is_dir() and any(output.iterdir()) and not (output / PROGRAM).is_file():
        raise UserError(f"`--output` (={output}) is no earlier export; give another folder.")
    if output.is_file():
        raise UserError(f"`--output` (={output}) is a file; give a folder.")
    sealed.remove(output)


def _write_proved(
    parts: Parts, folder: Path, format: str, golden: GoldenSet
) -> tuple[Program, dict[str, Any]]:
    """Writes the program with a threshold that the comparison allows, and tries it again."""
    detector = Detector(parts)
    threshold = detector.threshold.value
    program = make_program(parts, threshold=threshold)
    FORMATS[format].write(program, folder)
    compared = compare(detector, FORMATS[format].load(folder), golden.each())
    agreed = agreement(compared, threshold=threshold)
    program = make_program(parts, threshold=lowered(threshold, agreed.difference))
    FORMATS[format].write(program, folder)
    require_same_decisions(FORMATS[format].load(folder), golden.each(), compared)
    told = {
        "format": format,
        "golden": golden.origin,
        "left_out": dict(golden.left_out),
        **agreed.to_dict(),
        "flipped_decisions": 0,
        "inspected": sum(one.inspect for one in compared),
        "threshold": {"detector": threshold, "program": program.threshold},
        "versions": _versions(),
    }
    return program, told


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _described(parts: Parts, program: Program, directory: Path, format: str) -> dict[str, Any]:
    """What a person who runs the program must know."""
    manifest = sealed.find_folder(directory) / sealed.MANIFEST
    threshold = parts.thresholds[parts.rule]
    return {
        "version": _VERSION,
        "format": format,
        "files": list(FORMATS[format].files),
        "detector": {
            "name": parts.config.name,
            "method": parts.config.method,
            "manifest_sha256": hashlib.sha256(manifest.read_bytes()).hexdigest(),
        },
        "input": {"pixels": program.rule.to_dict()},
        "limits": {"min_side": int(parts.config.data.min_side)},
        "output": {
            "score": "float64; NaN where there is none",
            "inspect": "int32; 1: inspect, 0: normal",
            "map": f"float32 {list(program.map_shape)}; a place stands out above `level`",
        },
        "map": parts.scale.to_dict(),
        "threshold": program.threshold,
        "rule": threshold.rule,
        "guarantee": threshold.guarantee,
    }
