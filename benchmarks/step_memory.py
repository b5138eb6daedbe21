"""Memory of a training step by device, as XLA plans it: nothing is trained, no such device needed.

    python benchmarks/step_memory.py [--method=vqgan_ad.vqgan --side=1024 --devices=8 --batch=8
        --model_devices=1 --remat --set=width=64 ...]

Compiles the step of the `accelerator` size in colour for as many virtual CPU devices, and prints
what each of them holds: its arguments (state and batch) and XLA's work space (feature maps and
gradients), in GB of float32. An accelerator orders the work in its own way: compare variants.
`--set` changes a setting of `config.reconstructor`.
"""

import argparse
import ast
import os
import sys
import time
from pathlib import Path

# This folder holds a statistics.py, which must not stand in for the standard library's.
sys.path[0] = str(Path(__file__).resolve().parents[1])


def parse():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", default="vqgan_ad.vqgan")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--model_devices", type=int, default=1)
    parser.add_argument("--remat", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    return parser.parse_args()


def planned(given):
    """XLA's plan of the step."""
    import jax
    import jax.numpy as jnp
    from ml_collections import ConfigDict

    from ad_core.runtime.config import complete
    from ad_core.runtime.devices import divided, replicated, split
    from ad_core.runtime.registry import resolve
    from ad_core.training.guard import guarded
    from ad_core.training.partition import partition
    from ad_core.types import Batch

    own = {key: ast.literal_eval(value) for key, _, value in (x.partition("=") for x in given.set)}
    recipe = {"method": given.method, "size": "accelerator"}
    recipe |= {"data": {"image_size": given.side, "channels": 3}}
    config = complete(ConfigDict(recipe | {"reconstructor": {**own, "remat": given.remat}}))
    shape = (given.side, given.side, 3)
    learn = guarded(resolve(given.method).make(config).learn)
    parts = partition(learn.train_step, "jit", model=given.model_devices)

    def placed(x, sharding=None):
        sharding = sharding or divided(parts.mesh, x.shape)
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)

    images = jnp.zeros(given.batch, jnp.int32)
    batch = jax.eval_shape(lambda n: Batch(jnp.zeros((*n.shape, *shape)), n, n == 0, n), images)
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(lambda key: learn.init(key, shape), key)
    state = jax.tree.map(placed, state)
    batch = jax.tree.map(lambda x: placed(x, split(parts.mesh)), batch)
    lowered = parts.step.lower(state, batch, placed(key, replicated(parts.mesh)))
    return lowered.compile().memory_analysis()


def main():
    """Prints one line."""
    given = parse()
    # Before JAX is imported. The backend's optimiser changes no plan of memory, and takes minutes.
    flag = f"--xla_force_host_platform_device_count={given.devices}"
    os.environ |= {"JAX_PLATFORMS": "cpu"}
    os.environ["XLA_FLAGS"] = f"{flag} --xla_backend_optimization_level=0"
    began = time.process_time()
    plan = planned(given)
    held, work = plan.argument_size_in_bytes / 1e9, plan.temp_size_in_bytes / 1e9
    spent = time.process_time() - began
    print(f"{' '.join(sys.argv[1:])}: {held:.2f} GB of arguments, {work:.2f} GB of work space")
    print(f"on each of {given.devices} devices ({spent:.0f} s of processor)", flush=True)


if __name__ == "__main__":
    main()
