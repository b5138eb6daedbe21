"""Upload of one image: the bytes of a request, or the one file of a form."""

import hashlib
from collections.abc import AsyncGenerator
from typing import NamedTuple

import anyio
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

MARGIN = 2**16  # bytes of a form around its file
PATIENCE = 4  # a body is heard to its end up to so many limits, so that the answer is heard too
NAME_HEADER = "X-Image-Name"


class Upload(NamedTuple):
    """A file that came: its bytes and the name that it was given under."""

    content: bytes
    name: str


class BadUpload(Exception):
    """No image came.

    Attributes:
        outcome: a key of `answer.STATUS`.
        sha: SHA-256 of the whole body, "" where it is not known.
    """

    def __init__(self, outcome: str, reason: str, sha: str = ""):
        super().__init__(reason)
        self.outcome, self.sha = outcome, sha


async def read_upload(request: Request, *, most_bytes: int, timeout_s: float) -> Upload:
    """The one image of a request.

    Raises:
        BadUpload: it is too large, breaks off, takes too long, or is not one image.
    """
    is_form = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
    margin = MARGIN if is_form else 0
    body, _ = await _read(request, most_bytes + margin, timeout_s)
    upload = await _file_of(request, body) if is_form else Upload(body, _name(request))
    if not upload.content:
        raise BadUpload("malformed", "the request holds no bytes; send those of one image")
    if len(upload.content) > most_bytes:
        raise BadUpload("too_large", _too_large(most_bytes))
    return upload


async def drain(request: Request, *, most_bytes: int, timeout_s: float) -> str:
    """SHA-256 of a body that is heard and not kept; "" where it breaks off or has no end."""
    try:
        _, sha = await _read(request, most_bytes, timeout_s, keep=False)
    except BadUpload as error:
        return error.sha
    return sha


async def _read(
    request: Request, most_bytes: int, timeout_s: float, *, keep: bool = True
) -> tuple[bytes, str]:
    """The body, empty unless it is kept, and its SHA-256."""
    parts, size, digest = [], 0, hashlib.sha256()
    try:
        with anyio.fail_after(timeout_s):
            async for part in request.stream():
                size += len(part)
                digest.update(part)
                if keep and size <= most_bytes:
                    parts.append(part)
                if size > PATIENCE * most_bytes:
                    raise BadUpload("too_large", _too_large(most_bytes))
    except TimeoutError as error:
        raise BadUpload("timeout", f"the upload took longer than {timeout_s:g} s") from error
    except ClientDisconnect as error:
        raise BadUpload("broken_off", f"the upload broke off after {size} bytes") from error
    if size > most_bytes:
        raise BadUpload("too_large", _too_large(most_bytes), digest.hexdigest())
    return b"".join(parts), digest.hexdigest()


def _too_large(most_bytes: int) -> str:
    return f"the upload has more than {most_bytes} bytes; see --max_upload_mb"


def _name(request: Request) -> str:
    return request.headers.get(NAME_HEADER, "") or request.query_params.get("name", "")


class _Parser(MultiPartParser):
    spool_max_size = 2**62  # the size is bounded already, and nothing goes to a temporary file


async def _file_of(request: Request, body: bytes) -> Upload:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    parser = _Parser(request.headers, stream(), max_files=1, max_fields=8)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise BadUpload("malformed", "the form cannot be read") from error
    try:
        files = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
        if len(files) != 1:
            raise BadUpload("malformed", "the form holds no file; send one image")
        return Upload(await files[0].read(), _name(request) or files[0].filename or "")
    finally:
        await form.close()
