"""One trained method among those of a detector, and what all of them measure together."""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from ad_core.backbones import network_of
from ad_core.data.shape import image_shape
from ad_core.errors import UserError
from ad_core.runtime.config import flat, to_json
from ad_core.runtime.programs import is_own
from ad_core.scoring.interest import within_region
from ad_core.scoring.localisation import Localiser
from ad_core.scoring.measuring import Measurer, Measuring, make_measurer
from ad_core.scoring.sheets import by_sheets
from ad_core.scoring.tiling import make_method, overlap_of, seen_size
from ad_core.statistics import Context, WindowSettings
from ad_core.types import Method, TrainState, View


class Part(NamedTuple):
    """A method that has learnt, and the statistics that are taken of its views.

    name: the last word of its module path. config: complete, of this method alone.
    state: an inference state. statistics: their names, without the part's own before them.
    origin: hash of the detector that it was read from, "" of one that was not read.
    """

    name: str
    config: ConfigDict
    state: TrainState
    context: Context
    statistics: tuple[str, ...]
    origin: str = ""

    def make(self) -> Method:
        """The method as pure functions."""
        return make_method(self.config)

    @property
    def identity(self) -> str:
        """Identity by which its programs are kept (`runtime.programs`); "" if they are not.

        Kept are those of the project's own methods and backbones, read from a detector.
        """
        named = flat(self.config.reconstructor).items()
        specs = [value for key, value in named if key.endswith("backbone") and value]
        network = self.context.network()
        networks = [*map(network_of, specs), *([] if network is None else [network])]
        modules = [self.config.method, *(network.module for network in networks)]
        if not self.origin or not is_own(modules):
            return ""
        names = [network.name for network in networks]
        return repr((self.origin, modules, names, to_json(self.config)))


def part_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names of parts, each of which stands once: "vqgan", "padim", "vqgan2", ..."""
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name}{seen[name]}")
    return tuple(unique)


def column_names(parts: Sequence[Part]) -> tuple[str, ...]:
    """All statistics: those of the first part as they are, of others as "NAME.STATISTIC"."""
    names = part_names(part.name for part in parts)
    return tuple(
        f"{name}.{statistic}" if number else statistic
        for number, (name, part) in enumerate(zip(names, parts, strict=True))
        for statistic in part.statistics
    )


def view_shapes(method: Method, config: ConfigDict, state: TrainState) -> View:
    """The view of one image, as shapes, its losses and maps in the order that the method states.

    Args:
        state: an inference state, as arrays or as shapes.
    """
    image = jax.ShapeDtypeStruct((1, *image_shape(config.data)), np.float32)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
    view = jax.eval_shape(method.view, state, image, keys)
    losses, maps = method.losses or tuple(view.losses), method.maps or tuple(view.maps)
    return View(
        image=view.image,
        maps={name: view.maps[name] for name in maps},
        losses={name: view.losses[name] for name in losses},
        anomaly=view.anomaly,
        features=view.features,
    )


def foremost(localises: Mapping[str, int]) -> tuple[str, ...]:
    """The parts that localise together unless one is named: those of the highest rank.

    Where that is 0, and nothing was measured, the first alone.

    Args:
        localises: part's name -> `Method.localises` of its method.
    """
    highest = max(localises.values())
    found = [name for name, rank in localises.items() if rank == highest]
    return tuple(found) if highest > 0 else tuple(found[:1])


def outdone(localises: Mapping[str, int]) -> tuple[str, ...]:
    """The parts whose maps were measured, and found worse than those of another part.

    Args:
        localises: part's name -> `Method.localises` of its method.
    """
    highest = max(localises.values())
    return tuple(name for name, rank in localises.items() if 0 < rank < highest)


def find_map(views: Mapping[str, View], wanted: str, *, default: str) -> tuple[str, str | None]:
    """The part that localises, and by which of its maps (None: the one that its view names).

    Args:
        views: part's name -> its view, as shapes, the first one foremost.
        wanted: `localisation.map`: "" for the part `default`, the name of a part, of a map of the
            first part that has it, or both as "PART.MAP".

    Raises:
        UserError: no such part or map, or the part has nothing that localises.
    """
    method, dot, of_map = wanted.partition(".")
    if not wanted or method in views:
        name, chosen = method or default, of_map or None
    else:
        having = [name for name, view in views.items() if wanted in view.maps]
        name, chosen = (having or [""])[0], wanted
    if name not in views or not Localiser(chosen, 0.0).fits(views[name]):
        known = [f"{name}.{m}" for name, view in views.items() for m in view.maps]
        if not wanted:
            raise UserError(
                f"`method`: `{name}` draws neither a map nor a normal version, so that nothing "
                "localises; join one that does by a comma, e.g. a memory (docs/baselines.md)."
            )
        raise UserError(
            f"`localisation.map` (={wanted}) names nothing that localises; known: "
            f"{', '.join([*views, *known])}."
        )
    return name, chosen


def shown_maps(parts: Sequence[Part], wanted: str) -> dict[str, str | None]:
    """The parts of a detector that localise -> by which of its maps, as `find_map` says.

    Args:
        wanted: `localisation.map`; "" for the parts that localise best, together.

    Raises:
        UserError: no such part or map.
    """
    names = part_names(part.name for part in parts)
    methods = dict(zip(names, (part.make() for part in parts), strict=True))
    best = foremost({name: one.localises for name, one in methods.items()})
    if not wanted:
        return dict.fromkeys(best)
    views = {
        name: view_shapes(method, part.config, part.state)
        for (name, method), part in zip(methods.items(), parts, strict=True)
    }
    return dict([find_map(views, wanted, default=best[0])])


def measure_parts(
    parts: Sequence[Part], localisation: ConfigDict, *, batch_size: int, maps: int | None = None
) -> Measurer:
    """The measurer of all parts together; it compiles nothing yet.

    Args:
        localisation: the section of the detector's configuration. maps: as `find_localisers`.

    Raises:
        UserError: `localisation.map` is no map of these methods.
    """
    localisers = find_localisers(parts, localisation, maps=maps)
    shown = first_shown(localisers)
    pairs = zip(parts, localisers, strict=True)
    joined = make_measurer(
        [measuring_of(part, localise) for part, localise in pairs],
        batch_size=batch_size,
        shown=shown,
    )
    own = parts[shown].config
    size = image_shape(own.data)[:2]
    whole = by_sheets(joined, size=size, overlap=overlap_of(own))
    return within_region(whole, own.data.region)


def find_localisers(
    parts: Sequence[Part], localisation: ConfigDict, *, maps: int | None = None
) -> list[Localiser | None]:
    """The localiser of each part whose map is shown, None of each other part.

    Args:
        maps: how many are shown at most, the first ones; None: as many as there are.

    Raises:
        UserError: as `measure_parts`.
    """
    shown = dict(itertools.islice(shown_maps(parts, localisation.map).items(), maps))

    def localiser(name: str, part: Part) -> Localiser | None:
        if name not in shown:
            return None
        return Localiser(shown[name], localisation.sigma * min(seen_size(part.config)))

    names = part_names(part.name for part in parts)
    return [localiser(name, part) for name, part in zip(names, parts, strict=True)]


def first_shown(localisers: Sequence[Localiser | None]) -> int:
    """The place of the first part whose map is shown."""
    return next(place for place, one in enumerate(localisers) if one is not None)


def measuring_of(part: Part, localise: Localiser | None) -> Measuring:
    """Measuring by a part's method."""
    return Measuring(
        part.make(),
        (part.state, part.context),
        names=part.statistics,
        windows=WindowSettings(**part.config.statistics.windows),
        localise=localise,
        identity=part.identity,
    )
