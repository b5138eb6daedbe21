"""Passwords and tokens: what is kept of them is a hash."""

import base64
import hashlib
import hmac
import secrets
import threading

from ad_core.errors import UserError

N, R, P = 2**15, 8, 3  # of scrypt: 32 MiB and a fraction of a second; OWASP, Password Storage
SHORTEST, LONGEST = 10, 1024  # letters
_one_at_a_time = threading.Lock()  # each takes 32 MiB, and anybody may ask for one


def hash_password(password: str) -> str:
    """Hash of a password with a salt of its own: "scrypt$N$R$P$salt$hash".

    Raises:
        UserError: it is too short or too long.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise UserError(f"A password needs {SHORTEST} to {LONGEST} letters; choose another.")
    salt = secrets.token_bytes(16)
    found = _scrypt(password, salt, N, R, P)
    return "$".join(["scrypt", str(N), str(R), str(P), _text(salt), _text(found)])


def is_password(password: str, hashed: str) -> bool:
    """Tells whether a password has this hash. It takes as long for any other one."""
    _, n, r, p, salt, known = hashed.split("$")
    found = _scrypt(password[:LONGEST], base64.b64decode(salt), int(n), int(r), int(p))
    return hmac.compare_digest(found, base64.b64decode(known))


def new_token() -> str:
    """A secret of 256 bits, as it may stand in a header."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """SHA-256 of a secret: enough for one that nobody can guess."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    content = password.encode("utf-8", "replace")
    with _one_at_a_time:
        return hashlib.scrypt(content, salt=salt, n=n, r=r, p=p, maxmem=2**27, dklen=32)


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
