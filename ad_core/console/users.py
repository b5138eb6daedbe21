"""People by name and role, their sessions, and the tokens of devices."""

import re
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from time import time

from ad_core.console.attempts import Attempts
from ad_core.console.chain import ACCOUNT, LOGIN, LOGOUT, REFUSED, Event
from ad_core.console.passwords import hash_password, hash_token, is_password, new_token
from ad_core.console.store import Store
from ad_core.errors import UserError, require_choice

WORKER, LEAD, ADMIN = "worker", "lead", "admin"
ROLES = (WORKER, LEAD, ADMIN)  # each may do what those before it may
SCORE, METRICS = "score", "metrics"
SCOPES = (SCORE, METRICS)  # a device may do one thing
SESSION_S = 12 * 3600.0  # a long shift
NAME = re.compile(r"\w[\w .@-]{0,62}\w")
# Of no password: who names an unknown user waits as long as one who names a known one.
NOBODY = "scrypt$32768$8$3$AAAAAAAAAAAAAAAAAAAAAA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


@dataclass(frozen=True)
class User:
    """A person who may log in."""

    name: str
    role: str
    active: bool = True

    def may(self, role: str) -> bool:
        """Tells whether this person has that role or one above it."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class Session:
    """A log-in: who, the token that forms must bear, and that of the cookie, "" once it is told."""

    user: User
    csrf: str
    token: str = ""


class Refused(Exception):
    """Log-in refused. retry_s: seconds to wait, 0 where it may be tried at once."""

    def __init__(self, reason: str, retry_s: float = 0.0):
        super().__init__(reason)
        self.retry_s = retry_s


class Users:
    """Accounts of a store. Changes to them are events; passwords and tokens never are."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time):
        """Accounts of a store that is open to write."""
        self._store, self._clock = store, clock
        self._by_name, self._by_address = Attempts(5, clock=clock), Attempts(20, clock=clock)

    def set_up_code(self) -> str | None:
        """A new code that makes the first admin, once; None where there is one.

        Any earlier code is void.
        """
        if self.all():
            return None
        code = new_token()
        with self._store.writing() as connection:
            connection.execute("DELETE FROM setup")
            connection.execute("INSERT INTO setup VALUES (?)", [hash_token(code)])
        return code

    def set_up(self, code: str, name: str, password: str) -> User:
        """The first admin. Raises UserError where the code is not the one that was told last."""
        hashed = hash_password(password)
        _check_name(name)
        with self._store.writing() as connection:
            used = connection.execute("DELETE FROM setup WHERE code = ?", [hash_token(code)])
            if used.rowcount != 1:
                raise UserError("This set-up code is void; start the service again for a new one.")
            connection.execute("INSERT INTO users VALUES (?, ?, ?, 1)", [name, ADMIN, hashed])
        self._note(name, f"{name}: first {ADMIN}")
        return User(name, ADMIN)

    def add(self, name: str, password: str, role: str, *, by: str) -> User:
        """A new person. Raises UserError for a name that is taken, or anything else wrong."""
        _check_name(name)
        require_choice("role", role, ROLES)
        hashed = hash_password(password)
        with self._store.writing() as connection:
            if _row(connection, name):
                raise UserError(f"`name` (={name!r}) is taken; choose another.")
            connection.execute("INSERT INTO users VALUES (?, ?, ?, 1)", [name, role, hashed])
        self._note(by, f"{name}: new {role}")
        return User(name, role)

    def change(
        self,
        name: str,
        *,
        by: str,
        role: str | None = None,
        active: bool | None = None,
        password: str | None = None,
    ) -> User:
        """The person with another role, state or password; every session of theirs ends.

        Raises:
            UserError: nobody has that name, or no admin would be left.
        """
        changes: dict[str, str | int] = {}
        if role is not None:
            require_choice("role", role, ROLES)
            changes["role"] = role
        if active is not None:
            changes["active"] = int(active)
        if password is not None:
            changes["password"] = hash_password(password)
        with self._store.writing() as connection:
            if not _row(connection, name):
                raise UserError(f"`name` (={name!r}) is nobody's; see the list of accounts.")
            for column, value in changes.items():
                query = f"UPDATE users SET {column} = ? WHERE name = ?"
                connection.execute(query, [value, name])
            query = "SELECT count(*) FROM users WHERE role = ? AND active"
            if not connection.execute(query, [ADMIN]).fetchone()[0]:
                raise UserError(f"{name} is the last {ADMIN}; make another one first.")
            connection.execute("DELETE FROM sessions WHERE user = ?", [name])
            changed = _user(_row(connection, name))
        told = ", ".join(f"{key} {'changed' if key == 'password' else value}"
                         for key, value in changes.items())  # fmt: skip
        self._note(by, f"{name}: {told}")
        return changed

    def all(self) -> list[User]:
        """Everybody, by name."""
        with self._store.reading() as connection:
            rows = connection.execute("SELECT * FROM users ORDER BY name").fetchall()
        return [_user(row) for row in rows]

    def log_in(self, name: str, password: str, address: str) -> Session:
        """A new session.

        Raises:
            Refused: wrong name or password, or too many attempts of that name or from there.
        """
        wait_s = max(self._by_name.wait_s(name), self._by_address.wait_s(address))
        if wait_s > 0:
            raise Refused("Too many attempts; wait and try again.", wait_s)
        with self._store.reading() as connection:
            row = _row(connection, name)
        right = is_password(password, row["password"] if row else NOBODY)
        if not (row and right and row["active"]):
            self._by_name.failed(name)
            self._by_address.failed(address)
            # What was typed may be a password in the wrong field: only a known name is kept.
            known = name if row else "an unknown name"
            reason = f"log-in as {known} from {address}"
            self._store.append(Event(kind=REFUSED, user=name if row else "", reason=reason))
            raise Refused("Wrong name or password.")
        self._by_name.succeeded(name)
        return self._begin(_user(row))

    def _begin(self, user: User) -> Session:
        token, csrf = new_token(), new_token()
        expires = self._clock() + SESSION_S
        with self._store.writing() as connection:
            connection.execute("DELETE FROM sessions WHERE expires < ?", [self._clock()])
            values = [hash_token(token), user.name, csrf, expires]
            connection.execute("INSERT INTO sessions VALUES (?, ?, ?, ?)", values)
        self._store.append(Event(kind=LOGIN, user=user.name))
        return Session(user, csrf, token)

    def session(self, token: str) -> Session | None:
        """The session of a cookie; None of one that ended, or whose person may not log in."""
        query = (
            "SELECT users.*, sessions.csrf FROM sessions JOIN users ON users.name = sessions.user "
            "WHERE token = ? AND expires > ? AND active"
        )
        with self._store.reading() as connection:
            row = connection.execute(query, [hash_token(token), self._clock()]).fetchone()
        return Session(_user(row), row["csrf"]) if row else None

    def log_out(self, token: str) -> None:
        """Ends the session of a cookie, wherever a copy of it may be."""
        session = self.session(token)
        with self._store.writing() as connection:
            connection.execute("DELETE FROM sessions WHERE token = ?", [hash_token(token)])
        if session:
            self._store.append(Event(kind=LOGOUT, user=session.user.name))

    def add_device(self, name: str, scope: str = SCORE, *, by: str = "") -> str:
        """The token of a new device, told this once.

        Args:
            scope: of SCOPES: send images to be scored, or read the metrics; nothing else.

        Raises:
            UserError: the name is taken or no name, or the scope is unknown.
        """
        _check_name(name)
        require_choice("scope", scope, SCOPES)
        token = new_token()
        with self._store.writing() as connection:
            query = "INSERT OR IGNORE INTO devices VALUES (?, ?, ?)"
            if connection.execute(query, [name, hash_token(token), scope]).rowcount != 1:
                raise UserError(
                    f"`device` (={name!r}) is taken; remove it first, or choose another."
                )
        self._note(by, f"device {name}: new, may {scope}")
        return token

    def remove_device(self, name: str, *, by: str = "") -> None:
        """Voids the token of a device. Raises UserError where there is none of that name."""
        with self._store.writing() as connection:
            if connection.execute("DELETE FROM devices WHERE name = ?", [name]).rowcount != 1:
                raise UserError(f"`device` (={name!r}) is unknown; see the list of accounts.")
        self._note(by, f"device {name}: removed")

    def devices(self) -> dict[str, str]:
        """Scope of each device, by name."""
        with self._store.reading() as connection:
            rows = connection.execute("SELECT name, scope FROM devices ORDER BY name").fetchall()
        return {row["name"]: row["scope"] for row in rows}

    def device(self, token: str, scope: str) -> str | None:
        """Name of the device that has this token and may do that; None: nobody may."""
        query = "SELECT name FROM devices WHERE token = ? AND scope = ?"
        with self._store.reading() as connection:
            row = connection.execute(query, [hash_token(token), scope]).fetchone()
        return row["name"] if row else None

    def _note(self, by: str, reason: str) -> None:
        self._store.append(Event(kind=ACCOUNT, user=by, reason=reason))


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise UserError(
            f"`name` (={name!r}) must have 2 to 64 letters, digits or . @ - _ and blanks within."
        )


def _row(connection: sqlite3.Connection, name: str) -> sqlite3.Row | None:
    return connection.execute("SELECT * FROM users WHERE name = ?", [name]).fetchone()


def _user(row: sqlite3.Row | None) -> User:
    assert row is not None  # its caller has looked
    return User(row["name"], row["role"], bool(row["active"]))
