"""Settings of a vision transformer, as a section of a method's configuration holds them."""

from typing import NamedTuple

from ml_collections import ConfigDict

from ad_core.errors import UserError


class VitSettings(NamedTuple):
    """Shape of a vision transformer.

    features: channels at full resolution of one that draws; 0 of one that does not.
    """

    patch: int
    width: int
    depth: int
    heads: int
    features: int = 0


def vit_defaults(
    *, patch: int, width: int, depth: int, heads: int, features: int = 0
) -> ConfigDict:
    """The section of a configuration that `read_vit` reads; no `features` where they are 0."""
    values = VitSettings(patch, width, depth, heads, features)._asdict()
    return ConfigDict({name: value for name, value in values.items() if value})


def explain_vit(section: str, of: str, *, draws: bool) -> dict[str, str]:
    """Lines of --help for a section of this kind: dotted key -> what it is.

    draws: the network draws images, so the section has `features`.
    """
    lines = {
        "patch": "pixels of the side of a patch",
        "width": "channels of a token",
        "depth": "blocks",
        "heads": "heads of the attention",
    }
    if draws:
        lines["features"] = "channels at full resolution"
    return {f"{section}.{name}": f"{line}, {of}" for name, line in lines.items()}


def read_vit(section: str, values: dict[str, int]) -> VitSettings:
    """The settings of a section of `config.reconstructor`.

    Raises:
        UserError: numbers that make no network, or a patch that no doublings give.
    """
    found = VitSettings(**values)
    name = f"reconstructor.{section}"
    for part, value in values.items():
        if value < 1:
            raise UserError(f"`{name}.{part}` (={value}) must be at least 1.")
    if found.width % found.heads or found.width % 4:
        raise UserError(
            f"`{name}.width` (={found.width}) must be divisible by 4 and by `{name}.heads` "
            f"(={found.heads})."
        )
    if found.features and found.patch & (found.patch - 1):
        raise UserError(f"`{name}.patch` (={found.patch}) must be a power of two.")
    return found
