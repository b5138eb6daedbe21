"""Commands on the audit trail of a store: check, export, a token for a device."""

import sys
from pathlib import Path

from ad_core.console.store import Store, StoreError
from ad_core.console.users import Users
from ad_core.errors import UserError
from ad_core.runtime.sealed import write_file

BROKEN = 3  # status of a check that found something


def check_trail(path: Path, *, head: str = "") -> int:
    """Says whether the trail is whole; the status is 0, or BROKEN where it is not.

    Args:
        head: "SEQ:HASH" of an event that was noted earlier: a trail that was cut off before it, or
            written anew, is found by it alone.

    Raises:
        UserError: no store there, one that cannot be read, or `head` is not of that form.
    """
    seq, noted = _read_head(head)
    try:
        with Store(path, read_only=True) as store:
            broken, last = store.verify(), store.last()
            if broken is None and head:
                event = store.event(seq)
                broken = None if event and event.hash == noted else seq
            stale = store.stale_image() if broken is None else None
    except StoreError as error:
        raise UserError(f"`--store` (={path}): {error}; restore a copy.") from error
    if broken is not None:
        print(f"event {broken} is missing or not what was written", file=sys.stderr)
    elif stale:
        print(f"the state of image {stale} is not what its events come to", file=sys.stderr)
    elif last:
        print(f"{last.seq} events are whole; note this elsewhere: --head={last.seq}:{last.hash}")
    else:
        print("no event yet")
    return BROKEN if broken is not None or stale else 0


def _read_head(head: str) -> tuple[int, str]:
    if not head:
        return 0, ""
    seq, _, noted = head.partition(":")
    if not (seq.isascii() and seq.isdecimal() and noted):
        raise UserError(f"`--head` (={head}) must be SEQ:HASH, as --check has told it.")
    return int(seq), noted


def export_trail(path: Path, file: Path) -> str:
    """Writes every event to a CSV file in one move; returns what was done in words.

    Raises:
        UserError: no store there, or the file cannot be written.
    """
    count = 0

    def write(partial: Path) -> None:
        nonlocal count
        with partial.open("w", newline="", encoding="utf-8") as opened:
            count = store.export(opened)

    with Store(path, read_only=True) as store:
        try:
            write_file(file, write)
        except StoreError as error:
            raise UserError(f"`--store` (={path}): {error}; restore a copy.") from error
    return f"{count} events in {file}"


def add_device(path: Path, name: str, scope: str) -> str:
    """Adds a device to a store that no process holds; returns its token in words.

    Raises:
        UserError: the store is in use, or the name is taken.
    """
    try:
        opened = Store(path)
    except UserError as error:
        raise UserError(f"{error} A running service adds devices on its page /accounts.") from error
    with opened as store:
        token = Users(store).add_device(name, scope, by="command line")
    return f"{name} may {scope}. Its token, told this once: {token}"
