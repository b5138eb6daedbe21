"""The table of statistics: one line a statistic, its groups and what it needs.

Needs are written "view.image", "losses.<name>", "maps.<name>", "context.<field>" or
"backbone.<name>".
"""

import difflib
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from jaxtyping import Array, Float

from ad_core.backbones import Network
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
from ad_core.statistics.context import CODES_MAP, LEARNT, Context
from ad_core.statistics.deep import feature_names, is_feature
from ad_core.types import View

GROUPS = ("all", "pixel", "window", "loss", "deep", "fast", "default")
_WITH_FEATURES = ("all", "deep", "fast", "default")
_IMAGE = ("view.image",)
_DEEP = ("deep",)


class Statistic(NamedTuple):
    """One line of the table. Every statistic is in "all" besides its `groups`."""

    function: Callable[[Comparison], Float[Array, "b"]]
    groups: tuple[str, ...]
    needs: tuple[str, ...] = ()


class Available(NamedTuple):
    """Quantities at hand: names of a view's losses and maps, of context fields, and its image.

    features: level -> how many pooled features a view has of it.
    backbone: name -> network of the context's backbone, where there is one.
    outdone: another method localises better: `default` does without these maps, if it has others.
    """

    losses: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    context: tuple[str, ...] = ()
    view: tuple[str, ...] = ("image",)
    features: Mapping[str, int] = MappingProxyType({})
    backbone: Mapping[str, Network] = MappingProxyType({})
    outdone: bool = False

    @classmethod
    def of(cls, view: View | None, context: Context | None = None) -> "Available":
        """Names in a view (of arrays or their shapes) and a context; None: a drawn image alone."""
        context = context or Context()
        found = cls(context=context.known(), backbone=_by_name(context.network()))
        if view is None:
            return found
        return found._replace(
            losses=tuple(view.losses),
            maps=tuple(view.maps),
            view=() if view.image is None else ("image",),
            features={level: x.shape[1] for level, x in view.features.items()},
        )

    def has(self, need: str) -> bool:
        """Tells whether `need`, such as "maps.quantisation", is there."""
        kind, name = need.split(".", 1)
        return name in getattr(self, kind)


def _by_name(network: Network | None) -> dict[str, Network]:
    return {} if network is None else {network.name: network}


def _pairwise() -> dict[str, Statistic]:
    """Statistics of image and reconstruction, on the whole image and on its worst windows."""
    quick = {**structure.FUNCTIONS, **similarity.FURTHER, **distances.FUNCTIONS, **edges.FUNCTIONS}
    quick = {**quick, **distributions.FUNCTIONS}
    slow = {**curves.FUNCTIONS, **phase.FUNCTIONS}
    default = {**similarity.FUNCTIONS, "ssim": structure.ssim}
    inception = (*_IMAGE, f"backbone.{features.INCEPTION}")
    return {
        **{n: Statistic(f, ("pixel", "fast", "default"), _IMAGE) for n, f in default.items()},
        **{n: Statistic(f, ("pixel", "fast"), _IMAGE) for n, f in quick.items() if n != "ssim"},
        **{n: Statistic(f, ("pixel",), _IMAGE) for n, f in slow.items()},
        "fid": Statistic(features.fid, ("pixel", *_DEEP), inception),
    }


def _residual() -> dict[str, Statistic]:
    levels = (*_IMAGE, "context.residual_levels")
    entropy = {"residual_entropy": distributions.residual_entropy}
    quick = {**residual.FURTHER, **entropy}
    first = residual.FUNCTIONS
    return {
        **{n: Statistic(f, ("pixel", "fast", "default"), _IMAGE) for n, f in first.items()},
        **{n: Statistic(f, ("pixel", "fast"), _IMAGE) for n, f in quick.items()},
        **{n: Statistic(f, ("pixel", "fast"), levels) for n, f in regions.FUNCTIONS.items()},
        "residual_largest_area": Statistic(regions.largest_area, ("pixel",), levels),
    }


def _losses(available: Available) -> dict[str, Statistic]:
    groups = ("loss", "fast", "default")
    lines = {}
    for name in available.losses:
        function = partial(network_losses.loss, name)
        lines[f"loss_{name}"] = Statistic(function, groups, (f"losses.{name}",))
    if available.outdone and (available.losses or available.features):
        groups = ("loss", "fast")
    for name, needs in _maps(available).items():
        for pooling, function in network_losses.POOLINGS.items():
            if pooling != "mean" or name not in available.losses:
                line = Statistic(partial(function, name), groups, needs)
                lines[f"loss_{name}_map_{pooling}"] = line
    return lines


def _maps(available: Available) -> dict[str, tuple[str, ...]]:
    """Maps that can be pooled, and what each needs. Codes themselves have no order."""
    maps = {name: (f"maps.{name}",) for name in available.maps if name != CODES_MAP}
    surprise = (f"maps.{CODES_MAP}", "context.code_log_prob")
    return {**maps, network_losses.SURPRISE_MAP: surprise}


def _deep(available: Available) -> dict[str, Statistic]:
    """Statistics in a backbone's features. Their names end in words, those of columns in numbers.

    At the worst windows only where levels lie over the image.
    """
    lines = {}
    for network in available.backbone.values():
        needs = (*_IMAGE, f"backbone.{network.name}")
        lines["deep_distance"] = Statistic(features.distance, _DEEP, needs)
        if network.name != features.INCEPTION:
            lines[f"deep_{network.name}_fid"] = Statistic(features.fid, _DEEP, needs)
        for level in network.strides:
            for how, function in features.FUNCTIONS.items():
                line = Statistic(partial(function, level), _DEEP, needs)
                lines[f"deep_distance_{level}_{how}"] = line
        if network.over_image:
            lines |= _deep_windows(network, needs)
    return lines


def _deep_windows(network: Network, needs: tuple[str, ...]) -> dict[str, Statistic]:
    lines = {}
    for level in network.strides:
        name, make = f"deep_distance_{level}", partial(features.distance_map, level)
        for how in window_statistics.poolings(name):
            function = partial(window_statistics.mean_of_map, make, name, how, False)
            lines[f"window_{name}_{how}"] = Statistic(function, ("window", "deep"), needs)
    return lines


def _windows(available: Available) -> dict[str, Statistic]:
    lines = {}
    for prefix, weighted in (("window", False), ("window_weighted", True)):
        mask = (*_IMAGE, "context.normal_mask") if weighted else _IMAGE
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
    of_network = {**_losses(available), **_windows(available), **_deep(available)}
    return {**_residual(), **_pairwise(), **of_network}


def names(group: str = "all", *, available: Available | None = None) -> tuple[str, ...]:
    """Names of the statistics of a group, in the order of the table, columns of features last.

    Args:
        group: one of GROUPS.
        available: leaves out what needs something else; None: a drawn image and all that is learnt
            of normals, but no backbone.

    Raises:
        UserError: unknown group.
    """
    if group not in GROUPS:
        raise UserError(f"Unknown group of statistics {group!r}; known: {', '.join(GROUPS)}.")
    there = Available(context=LEARNT) if available is None else available
    scalars = tuple(
        name
        for name, line in table(there).items()
        if (group == "all" or group in line.groups) and all(map(there.has, line.needs))
    )
    return (*scalars, *(feature_names(there.features) if group in _WITH_FEATURES else ()))


def expand(
    names_or_groups: tuple[str, ...] | str,
    view: View | None = None,
    *,
    context: Context | None = None,
) -> tuple[str, ...]:
    """Names of statistics from names and groups mixed, each once, in the order given.

    Columns of pooled features come with their groups, all of them and last.
    A group stands for those of its statistics that can be computed; a statistic asked for by
    its own name is refused where it cannot.

    Args:
        names_or_groups: such as ("default", "loss_disc_fake").
        view: what the method gives, as arrays or as their shapes; None: a drawn image alone.
        context: what was learnt from normals.

    Raises:
        UserError: an unknown name, or a statistic that needs what is not there; also if
            nothing is left.
    """
    asked = (names_or_groups,) if isinstance(names_or_groups, str) else tuple(names_or_groups)
    return _expand(asked, Available.of(view, context))


def _expand(asked: tuple[str, ...], available: Available) -> tuple[str, ...]:
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
    return tuple(sorted(chosen, key=is_feature))


def expand_each(
    asked: tuple[str, ...], given: Mapping[str, Available]
) -> dict[str, tuple[str, ...]]:
    """Method -> its statistics, as `expand` gives them.

    A group is taken of every method, a statistic of every method that can give it, and
    "METHOD.NAME" of that method alone.

    Args:
        given: method's name -> what it gives.

    Raises:
        UserError: as `expand`, or a method is left without a statistic.
    """
    (first, *others) = given
    if not others:
        return {first: _expand(asked, given[first])}
    own: dict[str, list[str]] = {name: [] for name in given}
    for item in asked:
        method, dot, statistic = item.partition(".")
        able = [name for name in given if item in GROUPS or _can(item, given[name])]
        if dot and method in given:
            own[method].append(statistic)
        elif not able:
            _refuse(item, table(given[first]), given[first])
        for name in able:
            own[name].append(item)
    idle = [name for name, items in own.items() if not items]
    if idle:
        raise UserError(
            f"`config.statistics.names` (={asked!r}) leaves no statistic of {', '.join(idle)}; "
            "add one, or leave the method out of `config.method`."
        )
    return {name: _expand(tuple(items), given[name]) for name, items in own.items()}


def _can(name: str, available: Available) -> bool:
    line = table(available).get(name)
    return line is not None and all(map(available.has, line.needs))


def check_names(
    asked: tuple[str, ...], views: Mapping[str, View], *, backbone: Network | None
) -> dict[str, tuple[str, ...]]:
    """Names that `expand_each` will give once normals are learnt; refuses what it would."""
    later = {"context": LEARNT, "backbone": _by_name(backbone)}
    return expand_each(
        asked, {n: Available.of(view)._replace(**later) for n, view in views.items()}
    )


def without_idle(context: Context, names: tuple[str, ...]) -> Context:
    """The context, without its backbone if none of the statistics `names` looks through it."""
    lines = table(Available.of(None, context))
    needs = {need for name in names if name in lines for need in lines[name].needs}
    looks = any(need.startswith("backbone.") for need in needs)
    return context if looks else context._replace(backbone=None)


def _refuse(name: str, lines: Mapping[str, Statistic], available: Available) -> None:
    if "deep_distance" in name and not available.backbone:
        raise UserError(
            f"Statistic {name!r} needs a backbone; name one by `--config.statistics.backbone=`, "
            "such as efficientnet_lite0, or leave it out."
        )
    if name not in lines:
        near = difflib.get_close_matches(name, lines, n=8, cutoff=0.5) or list(lines)[:8]
        raise UserError(
            f"Unknown statistic {name!r}; groups: {', '.join(GROUPS)}; known: {', '.join(near)} "
            f"and others, {len(lines)} in all."
        )
    missing = [need for need in lines[name].needs if not available.has(need)]
    if missing:
        kinds = (kind for kind in available._fields if kind != "outdone")
        there = [f"{kind}.{n}" for kind in kinds for n in getattr(available, kind)]
        mend = "leave it out"
        if missing == [f"backbone.{features.INCEPTION}"]:
            mend = "give its weights by `--config.statistics.backbone=FILE`, or leave it out"
        raise UserError(
            f"Statistic {name!r} needs {', '.join(missing)}, which this method or "
            f"`config.statistics` does not give (there is {', '.join(there) or 'nothing'}); "
            f"{mend}."
        )
