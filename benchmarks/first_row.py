"""Phases of a cold `score.py` of one image: where the seconds to the first row go.

    python benchmarks/first_row.py --detector=DIR [--image=FILE]

Two starts, the first with empty caches of programs, the second with full ones. Of each
the seconds of importing, reading the detector, tracing, lowering, compiling, and fetching from the
cache; how many programs each phase handled; and the rest, which is work. Run it on an idle machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PHASES = {  # what JAX calls them -> words
    "/jax/core/compile/jaxpr_trace_duration": "tracing",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowering",
    "/jax/core/compile/backend_compile_duration": "compiling",
    "/jax/compilation_cache/cache_retrieval_time_sec": "of it from the cache",
}


def score_here(detector: Path, image: Path, output: Path) -> None:
    """Scores the image in this process, and prints the phases as JSON."""
    began = time.perf_counter()
    sys.path.insert(0, str(ROOT))
    import jax

    from ad_core.runtime.compilation import compilation_cache
    from ad_core.scoring.engines.local import score_files
    from ad_core.scoring.files import load_parts

    phases: defaultdict[str, list[float]] = defaultdict(list)
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration_secs, **_: phases[PHASES.get(event, "")].append(duration_secs)
    )
    imported = time.perf_counter()
    compilation_cache()
    load_parts(detector)
    read = time.perf_counter()
    score_files(detector, image, output)
    found = {name: [len(x), sum(x)] for name, x in phases.items() if name}
    found |= {"importing": [1, imported - began], "reading the detector": [1, read - imported]}
    print(json.dumps({**found, "all": [1, time.perf_counter() - began - (read - imported)]}))


def phases_of(detector: Path, image: Path, folder: Path, name: str) -> dict[str, list[float]]:
    """Phases of a start of its own: name -> [how often, seconds]."""
    command = [sys.executable, __file__, f"--detector={detector}", f"--image={image}"]
    command.append(f"--here={folder / name}")
    places = {"JAX_COMPILATION_CACHE_DIR": "compiled", "ZFN_CACHE": "traced"}
    environment = os.environ | {name: str(folder / place) for name, place in places.items()}
    found = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(found.stdout.splitlines()[-1])


def main() -> None:
    """Prints a table of both starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--detector", type=Path, required=True)
    parser.add_argument("--image", type=Path, help="default: noise of 512 x 512 pixels")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        score_here(given.detector, given.image, given.here)
        return
    with tempfile.TemporaryDirectory() as name:
        folder, image = Path(name), given.image
        if image is None:
            image = folder / "noise.png"
            values = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
            Image.fromarray(values).save(image)
        starts = [phases_of(given.detector, image, folder, each) for each in ("empty", "full")]
    print(f"{'':22}{'empty cache':>20}{'full cache':>20}")
    for phase in sorted({*starts[0], *starts[1]}):
        cells = (start.get(phase, [0, 0.0]) for start in starts)
        print(f"{phase:22}" + "".join(f"{int(n):>10} x {s:6.2f} s" for n, s in cells))


if __name__ == "__main__":
    main()
