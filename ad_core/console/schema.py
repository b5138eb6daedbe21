"""Tables of the store: events that SQLite itself refuses to change, and what is derived of them."""

from ad_core.console.chain import COLUMNS, START
from ad_core.console.image_state import FIELDS

VERSION = 1
NUMBERS = {"seq": "INTEGER PRIMARY KEY", "about": "INTEGER", "score": "REAL", "threshold": "REAL"}
NUMBERS |= {"verdicts": "INTEGER NOT NULL", "audited": "INTEGER NOT NULL"}


def _columns(names: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {NUMBERS.get(name, 'TEXT NOT NULL')}" for name in names)


# REPLACE would remove a row without a word to the trigger of DELETE: it has to be the next one.
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS events ({_columns(COLUMNS)}) STRICT;
CREATE INDEX IF NOT EXISTS events_by_image ON events (image_sha, seq);
CREATE INDEX IF NOT EXISTS events_by_kind ON events (kind, seq);
CREATE TRIGGER IF NOT EXISTS events_stay BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER IF NOT EXISTS events_remain BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are never removed'); END;
CREATE TRIGGER IF NOT EXISTS events_follow BEFORE INSERT ON events
WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM events) OR NEW.prev_hash IS NOT
    coalesce((SELECT hash FROM events ORDER BY seq DESC LIMIT 1), '{START}')
BEGIN SELECT RAISE(ABORT, 'an event follows the last one'); END;
CREATE TABLE IF NOT EXISTS images ({_columns(FIELDS)}, PRIMARY KEY (sha)) STRICT;
CREATE INDEX IF NOT EXISTS images_by_decision ON images (decision, verdict, score);
CREATE INDEX IF NOT EXISTS images_waiting ON images (sha) WHERE status = 'waiting';
CREATE INDEX IF NOT EXISTS images_by_time ON images (time);
CREATE TABLE IF NOT EXISTS users (
    name TEXT PRIMARY KEY, role TEXT NOT NULL, password TEXT NOT NULL, active INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS devices (
    name TEXT PRIMARY KEY, token TEXT NOT NULL UNIQUE, scope TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS sessions (
    token TEXT PRIMARY KEY, user TEXT NOT NULL, csrf TEXT NOT NULL, expires REAL NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS setup (code TEXT NOT NULL) STRICT;
"""
