"""Detectors of a store that score alike, and what people know of the images that they scored."""

from pathlib import Path

from ad_core.console.chain import ACTIVATED
from ad_core.console.image_state import ImageState
from ad_core.console.promise import Judged
from ad_core.console.store import Store
from ad_core.console.verdicts import Settled, read_standing, settle
from ad_core.console.worker import Loaded, detector_sha
from ad_core.errors import UserError
from ad_core.scoring.files import scoring_hash

DETECTORS = "detectors"  # folder of a store, of those that recalibrations make
NEWEST = 20_000  # images on which the effect of a threshold is told


def alike(store: Store, loaded: Loaded) -> frozenset[str]:
    """SHA-256 of the detectors, once at work here, that score as the one at work does."""
    same, found = scoring_hash(loaded.directory), {loaded.sha}
    for event in store.events(ACTIVATED):
        directory = Path(str(event.detail.get("directory", "")))
        if event.detector_sha in found or detector_sha(directory) != event.detector_sha:
            continue
        try:
            if scoring_hash(directory) == same:
                found.add(event.detector_sha)
        except UserError:  # of an earlier version: it scores by other rules
            continue
    return frozenset(found)


def judged_parts(store: Store, loaded: Loaded) -> list[Judged]:
    """The parts that bear on the promise, in the order in which they arrived.

    Those that were drawn or judged, as far as this detector or one alike has scored them; what
    `Sampling.draw` has noted so far is drawn.
    """
    return _parts(store, loaded, "audited OR verdict != ''", -1)


def newest_parts(store: Store, loaded: Loaded) -> list[Judged]:
    """The newest NEWEST parts that this detector or one alike has scored, the newest first."""
    return _parts(store, loaded, "1", NEWEST)[::-1]


def _parts(store: Store, loaded: Loaded, where: str, limit: int) -> list[Judged]:
    known, verdicts = alike(store, loaded), read_standing(store)
    names = sorted(known)
    query = (
        f"SELECT sha, score, audited FROM images WHERE ({where}) AND detector_sha IN "
        f"({', '.join('?' * len(names))}) ORDER BY received DESC, sha LIMIT ?"
    )
    with store.reading() as connection:
        rows = connection.execute(query, [*names, limit]).fetchall()
    return [
        _part(row["sha"], row["score"], bool(row["audited"]), verdicts) for row in reversed(rows)
    ]


def _part(sha: str, score: float | None, drawn: bool, verdicts: dict[str, list]) -> Judged:
    found = settle(verdicts[sha]) if sha in verdicts else Settled()
    return Judged(sha, score, drawn, found.verdict, found.downstream, found.defect)


def new_place(store: Store) -> Path:
    """Folder for the next detector of a store."""
    root = store.path / DETECTORS
    numbers = [int(path.name) for path in root.glob("[0-9]*") if path.name.isdecimal()]
    return root / f"{max(numbers, default=0) + 1:04d}"


def shown_name(state: ImageState) -> str:
    """Name of an image on a page: that of the line, or the beginning of its hash."""
    return state.name or state.sha[:12]
