"""Export: a detector as one program for machines without JAX, with a proof of its decisions.

    python launch/export.py --detector=runs/mine/detector --output=exported --format=onnx

The program takes 8-bit pixels of any size and gives score, decision and map. It is written only if
it decides every golden image as the detector does: the images that calibrated, or those of
--images, and made ones. Else the status is 2 and nothing is left in the output.
"""

from pathlib import Path

from absl import flags

from ad_core.errors import UserError
from ad_core.runtime.command import run

DETECTOR = flags.DEFINE_string("detector", None, "The `detector` folder of a workdir.")
OUTPUT = flags.DEFINE_string("output", None, "Folder for the program, program.json, parity.json.")
FORMAT = flags.DEFINE_enum(
    "format",
    "onnx",
    ["stablehlo", "onnx", "openvino"],
    "stablehlo runs on JAX; onnx and openvino, from `make export`, without it.",
)
IMAGES = flags.DEFINE_string(
    "images",
    None,
    "An image, a folder of images or a table, on which program and detector are compared; by "
    "default the images that calibrated.",
)


def main(_: None) -> int:
    """Exports the detector; the status is 0."""
    detector, output = _path(DETECTOR), _path(OUTPUT)
    from ad_core.exporting.export import export
    from ad_core.runtime.compilation import compilation_cache

    compilation_cache()
    given = Path(IMAGES.value) if IMAGES.value else None
    parity = export(detector, output, format=FORMAT.value, images=given)
    images, line = parity["images"], parity["threshold"]
    print(
        f"{output}: decides as the detector on {images['real']} {parity['golden']} and on "
        f"{images['made']} made ones; it inspects from {line['program']:.6g} "
        f"(the detector from {line['detector']:.6g})."
    )
    return 0


def _path(flag: flags.FlagHolder[str | None]) -> Path:
    if not flag.value:
        raise UserError(f"`--{flag.name}` is missing; see --help.")
    return Path(flag.value)


if __name__ == "__main__":
    run(main, needs_config=False)
