"""The device that a benchmark is meant for, asked before anything is timed."""

import jax
from absl import flags

flags.DEFINE_enum(
    "device", None, ("cpu", "gpu"), "What must compute, here and in PyTorch; none: what is there."
)
FLAGS = flags.FLAGS


def require_device():
    """Ends the program, with the reason, where JAX computes on something else than --device."""
    found = jax.default_backend()
    if FLAGS.device and FLAGS.device != found:
        mend = "set JAX_PLATFORMS=cpu" if FLAGS.device == "cpu" else "run it where one is"
        raise SystemExit(f"`--device` (={FLAGS.device}): JAX computes on {found} here; {mend}.")


def require_same(theirs):
    """Ends the program where PyTorch computes on something else than JAX.

    Args:
        theirs: the device as PyTorch names it, "cpu" or a card's name.
    """
    ours = jax.default_backend()
    if (ours == "cpu") != (theirs == "cpu"):
        raise SystemExit(
            f"JAX computes on {ours}, PyTorch on {theirs}: install a PyTorch for this device, or "
            "leave --torch_python out."
        )
