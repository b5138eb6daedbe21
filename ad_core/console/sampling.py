"""Samples of a store's images: those drawn for the blind audit, and those to be shown twice."""

import secrets
import sqlite3
import threading
from contextlib import suppress

from ad_core.console.chain import AUDIT, SCORED, Event
from ad_core.console.image_state import ImageState
from ad_core.console.promise import AUDIT as BY_AUDIT
from ad_core.console.promise import CHOSEN, DEFECT, DOWNSTREAM, FLAGGED, REPEAT, REPEATS, is_drawn
from ad_core.console.store import Store, StoreError
from ad_core.errors import UserError
from ad_core.runtime.sealed import write_text
from ad_core.scoring.verdict import INSPECT

SECRET = "audit.secret"  # file beside the events
SHARE = 0.01  # of all parts that people look at without seeing a score
LATELY = 5_000  # judged images of which some are shown again, the newest


class Sampling:
    """Coins of the images of a store, thrown by `draw` and noted as events.

    A note stays as it is when the share is changed: within the time of each share the flagged
    parts are drawn as those that passed.

    Attributes:
        share: of all images, drawn for the audit. repeats: of the judged ones, shown twice.
    """

    def __init__(self, store: Store, *, share: float = SHARE, repeats: float = REPEATS):
        """Reads the secret of the store, made by the first.

        Raises:
            UserError: a share is none, or the secret cannot be read or written.
        """
        for name, value in (("audit_share", share), ("repeat_share", repeats)):
            if not 0 <= value <= 1:
                raise UserError(f"`--{name}` (={value}) must lie in [0, 1].")
        self._store, self.share, self.repeats = store, share, repeats
        self._secret = _read_secret(store)
        self._drawing = threading.Lock()
        last = store.last(AUDIT)
        self._seen = (last.about or 0) if last else 0

    def draw(self) -> None:
        """Notes in the store which images, scored since the last call, are drawn.

        Where the store refuses, as on a full disk, the next call notes them. From any thread.
        """
        with self._drawing, suppress(StoreError, sqlite3.Error):
            self._draw()

    def _draw(self) -> None:
        if not self.share:
            return
        scored = self._store.events(SCORED, after=self._seen)
        drawn = {event.image_sha: event for event in scored if self._is_drawn(event.image_sha)}
        new = [event for sha, event in drawn.items() if not self._is_noted(sha)]
        if new:
            notes = [Event(kind=AUDIT, image_sha=one.image_sha, about=one.seq) for one in new]
            self._store.append_all(notes)
        if scored:
            self._seen = scored[-1].seq

    def _is_drawn(self, image: str) -> bool:
        return is_drawn(image, self.share, secret=self._secret)

    def _is_noted(self, image: str) -> bool:
        state = self._store.image(image)
        return state is not None and bool(state.audited)

    def blind(self, user: str) -> list[str]:
        """Images that a person is to judge without a score: drawn ones, and some a second time.

        In the order of their hashes, which knows nothing of scores. An image is shown twice to two
        people, so nobody gets what they have judged before.
        """
        judged_once = (
            "SELECT sha FROM images WHERE verdicts = 1 AND judged_by != ? "
            "ORDER BY judged_at DESC LIMIT ?"
        )
        with self._store.reading() as connection:
            rows = connection.execute("SELECT sha FROM images WHERE audited AND verdict = ''")
            drawn = {row[0] for row in rows}
            once = connection.execute(judged_once, [user, LATELY]).fetchall()
        twice = {row[0] for row in once if self._is_repeated(row[0])}
        return sorted(drawn | twice)

    def is_blind(self, state: ImageState, user: str) -> bool:
        """Tells whether a person is to judge an image without its score and map."""
        if not state.verdict:
            return bool(state.audited)
        return self._is_due_again(state, user)

    def hides(self, sha: str, user: str) -> bool:
        """Tells the same of an image by its hash; nothing is hidden of one that never came."""
        state = self._store.image(sha)
        return state is not None and self.is_blind(state, user)

    def came(self, state: ImageState, user: str, *, verdict: str) -> str:
        """Way in which an image came to be judged, at the verdict of a person.

        A defect that somebody finds among parts that passed and were not drawn is one found later.
        """
        if self._is_due_again(state, user):
            return REPEAT
        if state.audited:
            return BY_AUDIT
        if state.decision == INSPECT:
            return FLAGGED
        return DOWNSTREAM if verdict == DEFECT else CHOSEN

    def _is_due_again(self, state: ImageState, user: str) -> bool:
        return state.verdicts == 1 and state.judged_by != user and self._is_repeated(state.sha)

    def _is_repeated(self, image: str) -> bool:
        return is_drawn(image, self.repeats, secret=self._secret, purpose=REPEAT)


def _read_secret(store: Store) -> str:
    path = store.path / SECRET
    try:
        if not path.is_file():
            write_text(path, secrets.token_hex(32))
            path.chmod(0o600)
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({error}); restore a copy of it.") from error
