"""The formats of an exported detector: how each is written, and how it is run again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float32, UInt8

from ad_core.exporting.equations import trace
from ad_core.exporting.libraries import require
from ad_core.exporting.onnx_graph import Graph
from ad_core.exporting.onnx_operators import add_equations
from ad_core.exporting.program import Program, pixel_shape
from ad_core.exporting.reading import BANDS

Pixels = UInt8[np.ndarray, "h w 3"]
READING, JUDGING = "reading.stablehlo", "judging.stablehlo"
ONNX, OPENVINO = "detector.onnx", "detector.xml"
_PLATFORMS = ("cpu", "cuda")


class Found(NamedTuple):
    """Result of a program for one image: see `Program`."""

    score: float
    inspect: bool
    map: Float32[np.ndarray, "h w"]


Run = Callable[[Pixels], Found]


class Format(NamedTuple):
    """Format of programs: how one is written into a folder and run from there, and its files."""

    write: Callable[[Program, Path], None]
    load: Callable[[Path], Run]
    files: tuple[str, ...]


def write_stablehlo(program: Program, folder: Path) -> None:
    """Two functions of `jax.export`: reading of any size, and judging of what was read.

    Apart, so that another size of images compiles the small one alone.
    """
    measure = jax.export.export(jax.jit(program.measure), platforms=_PLATFORMS)(
        *program.measure_shapes
    )

    def judge(image: Any, content: Any, beyond: Any) -> Any:
        statistics, anomaly = measure.call(image, content)
        return (*program.judge(statistics, beyond), anomaly)

    with jax.enable_x64(True):
        read = jax.jit(lambda pixels: tuple(program.read(pixels)))
        reading = jax.export.export(read, platforms=_PLATFORMS)(pixel_shape())
        judging = jax.export.export(jax.jit(judge), platforms=_PLATFORMS)(
            *program.measure_shapes, program.judge_shapes[1]
        )
    (folder / READING).write_bytes(reading.serialize())
    (folder / JUDGING).write_bytes(judging.serialize())


def load_stablehlo(folder: Path) -> Run:
    """The program of a folder, on this machine's JAX."""
    reading, judging = (
        jax.jit(jax.export.deserialize(bytearray((folder / name).read_bytes())).call)
        for name in (READING, JUDGING)
    )

    def run(pixels: Pixels) -> Found:
        with jax.enable_x64(True):
            score, inspect, anomaly = judging(*reading(pixels))
            return _found(score, inspect, anomaly)

    return run


def _found(score: Any, inspect: Any, anomaly: Any) -> Found:
    return Found(float(np.asarray(score)), bool(np.asarray(inspect)), np.asarray(anomaly))


def onnx_model(program: Program) -> Any:
    """The program as one ONNX model: `pixels` -> `score`, `inspect`, `map`.

    Raises:
        UserError: a primitive without an operator, or the library onnx is missing.
    """
    graph = Graph()
    graph.sides["h"] = graph.node("Shape", "pixels", start=0, end=1)
    graph.sides["w"] = graph.node("Shape", "pixels", start=1, end=2)
    with jax.enable_x64(True):
        read = trace(program.read, pixel_shape())
    image, content, beyond = add_equations(graph, read, ["pixels"])
    measured = trace(program.measure, *program.measure_shapes)
    statistics, anomaly = add_equations(graph, measured, [image, content])
    with jax.enable_x64(True):
        judged = trace(program.judge, *program.judge_shapes)
    score, inspect = add_equations(graph, judged, [statistics, beyond])
    for name, wanted in ((score, "score"), (inspect, "inspect"), (anomaly, "map")):
        graph.rename(name, wanted)
    return graph.model(
        {"pixels": (np.uint8, ("height", "width", BANDS))},
        {
            "score": (np.float64, ()),
            "inspect": (np.int32, ()),
            "map": (np.float32, program.map_shape),
        },
    )


def write_onnx(program: Program, folder: Path) -> None:
    """One file, checked by the library onnx."""
    onnx = require("onnx")
    model = onnx_model(program)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / ONNX))


def load_onnx(folder: Path) -> Run:
    """The program of a folder, by ONNX Runtime on the CPU."""
    runtime = require("onnxruntime")
    session = runtime.InferenceSession(str(folder / ONNX), providers=["CPUExecutionProvider"])
    return lambda pixels: _found(*session.run(["score", "inspect", "map"], {"pixels": pixels}))


def write_openvino(program: Program, folder: Path) -> None:
    """OpenVINO's own format, from the ONNX model; weights stay in float32."""
    openvino = require("openvino")
    onnx_file = folder / ONNX
    write_onnx(program, folder)
    model = openvino.Core().read_model(str(onnx_file))
    openvino.save_model(model, str(folder / OPENVINO), compress_to_fp16=False)
    onnx_file.unlink()


def load_openvino(folder: Path) -> Run:
    """The program of a folder, by OpenVINO on the CPU in float32."""
    openvino = require("openvino")
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(str(folder / OPENVINO), "CPU", settings)

    def run(pixels: Pixels) -> Found:
        found = compiled([pixels])
        return _found(found["score"], found["inspect"], np.array(found["map"]))

    return run


FORMATS: dict[str, Format] = {
    "stablehlo": Format(write_stablehlo, load_stablehlo, (READING, JUDGING)),
    "onnx": Format(write_onnx, load_onnx, (ONNX,)),
    "openvino": Format(write_openvino, load_openvino, (OPENVINO, "detector.bin")),
}
