"""The table of statistics: one line a statistic, its groups and what it needs.

Needs are written "losses.<name>", "maps.<name>" or "context.<field>".
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from jaxtyping import Array, Float

from ad_core.errors import UserError
from ad_core.statistics import (
    curves,
    distances,
    distributions,
    edges,
    features,
    network_losses,
    phase,
    regions,
    residual,
    similarity,
    structure,
    window_statistics,
)
from ad_core.statistics.comparison import Comparison
from ad_core.statistics.context import CODES_MAP, Context

GROUPS = ("all", "pixel", "window", "loss", "fast", "default")
# What the VQGAN gives: listed where no reconstruction is at hand.
USUAL_LOSSES = ("reconstruction", "quantisation", "commitment", "disc_real", "disc_fake")
USUAL_MAPS = ("quantisation", "disc_real", "disc_fake", "unquantised")


class Statistic(NamedTuple):
    """One line of the table. Every statistic is in "all" besides its `groups`."""

    function: Callable[[Comparison], Float[Array, "b"]]
    groups: tuple[str, ...]
    needs: tuple[str, ...] = ()


class Available(NamedTuple):
    """What there is besides image and reconstruction: names of losses, maps, context fields."""

    losses: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    context: tuple[str, ...] = ()

    def has(self, need: str) -> bool:
        """Whether `need`, such as "maps.quantisation", is there."""
        kind, name = need.split(".", 1)
        return name in getattr(self, kind)


EVERYTHING = Available(USUAL_LOSSES, (*USUAL_MAPS, CODES_MAP), Context._fields)


def _pairwise() -> dict[str, Statistic]:
    """Of image and reconstruction; computed on the whole image and on its worst windows."""
    quick = {**structure.FUNCTIONS, **similarity.FURTHER, **distances.FUNCTIONS, **edges.FUNCTIONS}
    quick = {**quick, **distributions.FUNCTIONS}
    slow = {**curves.FUNCTIONS, **phase.FUNCTIONS}
    default = {**similarity.FUNCTIONS, "ssim": structure.ssim}
    return {
        **{name: Statistic(f, ("pixel", "fast", "default")) for name, f in default.items()},
        **{name: Statistic(f, ("pixel", "fast")) for name, f in quick.items() if name != "ssim"},
        **{name: Statistic(f, ("pixel",)) for name, f in slow.items()},
        "fid": Statistic(features.fid, ("pixel",), ("context.backbone",)),
    }


def _residual() -> dict[str, Statistic]:
    levels = ("context.residual_levels",)
    entropy = {"residual_entropy": distributions.residual_entropy}
    quick = {**residual.FURTHER, **entropy}
    first = residual.FUNCTIONS
    return {
        **{name: Statistic(f, ("pixel", "fast", "default")) for name, f in first.items()},
        **{name: Statistic(f, ("pixel", "fast")) for name, f in quick.items()},
        **{name: Statistic(f, ("pixel", "fast"), levels) for name, f in regions.FUNCTIONS.items()},
        "residual_largest_area": Statistic(regions.largest_area, ("pixel",), levels),
    }


def _losses(available: Available) -> dict[str, Statistic]:
    groups = ("loss", "fast", "default")
    lines = {}
    losses = tuple(dict.fromkeys((*USUAL_LOSSES, *available.losses)))
    for name in losses:
        function = partial(network_losses.loss, name)
        lines[f"loss_{name}"] = Statistic(function, groups, (f"losses.{name}",))
    for name, needs in _maps(available).items():
        for pooling, function in network_losses.POOLINGS.items():
            if pooling != "mean" or name not in losses:
                line = Statistic(partial(function, name), groups, needs)
                lines[f"loss_{name}_map_{pooling}"] = line
    return lines


def _maps(available: Available) -> dict[str, tuple[str, ...]]:
    """Maps that can be pooled, and what each needs. Codes themselves have no order."""
    names = dict.fromkeys((*USUAL_MAPS, *available.maps))
    maps = {name: (f"maps.{name}",) for name in names if name != CODES_MAP}
    surprise = (f"maps.{CODES_MAP}", "context.code_log_prob")
    return {**maps, network_losses.SURPRISE_MAP: surprise}


def _windows(available: Available) -> dict[str, Statistic]:
    lines = {}
    for prefix, weighted in (("window", False), ("window_weighted", True)):
        mask = ("context.normal_mask",) if weighted else ()
        for name, line in _pairwise().items():
            for how in window_statistics.poolings(name):
                function = partial(window_statistics.pairwise, line.function, how, weighted)
                lines[f"{prefix}_{name}_{how}"] = Statistic(
                    function, ("window",), line.needs + mask
                )
        for name, needs in _maps(available).items():
            for how in window_statistics.poolings(name):
                function = partial(window_statistics.network_map, name, how, weighted)
                lines[f"{prefix}_loss_{name}_{how}"] = Statistic(
                    function, ("window",), needs + mask
                )
    return lines


def table(available: Available) -> dict[str, Statistic]:
    """Every known statistic by name, whether or not what it needs is available."""
    return {**_residual(), **_pairwise(), **_losses(available), **_windows(available)}


def names(group: str = "all", *, available: Available | None = None) -> tuple[str, ...]:
    """Names of the statistics of a group, in the order of the table.

    Args:
        group: one of GROUPS.
        available: leaves out what needs something else; None lists the whole group, with the
            losses and maps of the VQGAN.

    Raises:
        UserError: unknown group.
    """
    if group not in GROUPS:
        raise UserError(f"Unknown group of statistics {group!r}; known: {', '.join(GROUPS)}.")
    there = EVERYTHING if available is None else available
    return tuple(
        name
        for name, line in table(there).items()
        if (group == "all" or group in line.groups) and all(map(there.has, line.needs))
    )


def expand(
    names_or_groups: tuple[str, ...] | str,
    *,
    losses: tuple[str, ...] | Mapping = (),
    maps: tuple[str, ...] | Mapping = (),
    context: Context | None = None,
) -> tuple[str, ...]:
    """Names of statistics from names and groups mixed, each once, in the order given.

    A group stands for those of its statistics that can be computed; a statistic asked for by
    its own name is refused where it cannot.

    Args:
        names_or_groups: such as ("default", "loss_disc_fake").
        losses, maps: what the reconstructor gives (names, or `Reconstruction`'s own dicts).
        context: what was learnt from normals.

    Raises:
        UserError: an unknown name, or a statistic that needs what is not there; also if
            nothing is left.
    """
    asked = (names_or_groups,) if isinstance(names_or_groups, str) else tuple(names_or_groups)
    available = Available(tuple(losses), tuple(maps), (context or Context()).known())
    lines = table(available)
    chosen: dict[str, None] = {}
    for item in asked:
        if item in GROUPS:
            chosen.update(dict.fromkeys(names(item, available=available)))
        else:
            _refuse(item, lines, available)
            chosen[item] = None
    if not chosen:
        raise UserError(f"`config.statistics.names` (={asked!r}) leaves no statistic to compute.")
    return tuple(chosen)


def check_names(
    names_or_groups: tuple[str, ...],
    *,
    losses: tuple[str, ...],
    maps: tuple[str, ...],
    backbone: bool,
) -> None:
    """Refuses what `expand` would refuse whatever is yet to be learnt from normals; UserError."""
    known = tuple(field for field in Context._fields if backbone or field != "backbone")
    available = Available(losses, maps, known)
    lines = table(available)
    for item in names_or_groups:
        if item not in GROUPS:
            _refuse(item, lines, available)


def _refuse(name: str, lines: Mapping[str, Statistic], available: Available) -> None:
    if name not in lines:
        raise UserError(
            f"Unknown statistic {name!r}; groups: {', '.join(GROUPS)}; known: {', '.join(lines)}."
        )
    missing = [need for need in lines[name].needs if not available.has(need)]
    if missing:
        there = [f"{kind}.{n}" for kind in available._fields for n in getattr(available, kind)]
        mend = "leave it out"
        if missing == ["context.backbone"]:
            mend = "give its weights by `--config.statistics.backbone=FILE`, or leave it out"
        raise UserError(
            f"Statistic {name!r} needs {', '.join(missing)}, which this reconstructor or "
            f"`config.statistics` does not give (there is {', '.join(there) or 'an image only'}); "
            f"{mend}."
        )
