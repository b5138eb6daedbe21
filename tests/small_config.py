"""The configuration of tests that need one and do not care for the method."""

from ml_collections import ConfigDict

from ad_core.runtime.config import complete


def small_config(**overrides):
    """A complete configuration, sized for a CPU; `overrides` by section, as in a recipe."""
    return complete(ConfigDict({"method": "vqgan_ad.vqgan", "size": "cpu", **overrides}))
