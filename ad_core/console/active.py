"""The detector that judges: which one it is after a restart, as the store remembers it."""

from pathlib import Path

from ad_core.console.chain import ACTIVATED, Event
from ad_core.console.store import Store
from ad_core.console.worker import Loaded, detector_sha
from ad_core.errors import UserError


def find_active(store: Store, given: Path) -> Path:
    """The detector activated last, unless the command names another one than it did then.

    Args:
        given: the detector that the command names.

    Raises:
        UserError: the one activated last is gone or was changed.
    """
    last = store.last(ACTIVATED)
    if last is None or last.detail.get("given") != str(given.absolute()):
        return given
    active = Path(str(last.detail["directory"]))
    if detector_sha(active) != last.detector_sha:
        raise UserError(
            f"The detector activated last ({active}) is gone or was changed; restore it, or "
            "give another folder as `--detector`."
        )
    return active


def note_start(store: Store, loaded: Loaded, given: Path) -> None:
    """Notes the detector that a start of the line begins with, unless it is noted already."""
    last = store.last(ACTIVATED)
    now = (loaded.sha, str(loaded.directory.absolute()), str(given.absolute()))
    if last and now == (last.detector_sha, last.detail["directory"], last.detail.get("given")):
        return
    detail = {"directory": now[1], "given": now[2]}
    store.append(_activated(loaded, "start", detail, reason="named by the command line"))


def note_switch(store: Store, loaded: Loaded, *, user: str, reason: str) -> Event:
    """Notes that another detector judges from now on; StoreError where the store refuses."""
    last = store.last(ACTIVATED)
    named = last.detail if last else {}  # what the command named stays
    detail = {**named, "directory": str(loaded.directory.absolute())}
    return store.append(_activated(loaded, "switch", detail, reason=reason, user=user))


def _activated(
    loaded: Loaded, origin: str, detail: dict[str, str], *, reason: str, user: str = ""
) -> Event:
    return Event(
        kind=ACTIVATED,
        user=user,
        detector_sha=loaded.sha,
        threshold=loaded.threshold,
        reason=reason,
        origin=origin,
        detail=detail,
    )
