"""A request's body, read before the application reads it, and its digest."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING

from wsgi_sessions.core.record.repeats import repeats_of

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from wsgi_sessions.core.record.repeats import Repeats

LONGEST = 64 * 1024
_KNOWN = "wsgi_sessions.body"


def body_of(environ: WSGIEnvironment, most: int) -> bytes | None:
    """Return the body, which can still be read.

    None if it is longer than `most` bytes, or has no length: then none of it was read. Raises
    whatever the server's stream raises.
    """
    if "HTTP_TRANSFER_ENCODING" in environ:
        return None
    given = environ.get("CONTENT_LENGTH") or "0"
    if not (given.isascii() and given.isdigit()) or len(given) > len(str(most)):
        return None
    length = int(given)
    if length > most:
        return None
    if not length:
        return b""
    body: bytes = environ["wsgi.input"].read(length)
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def digest_of_body(environ: WSGIEnvironment) -> str | None:
    """Return a digest of the body, which can still be read.

    None if it is longer than `LONGEST`, has no length, or ends before it. To be called once per
    request, before any part is read. Raises whatever the server's stream raises.
    """
    if _KNOWN not in environ:
        environ[_KNOWN] = _digest(environ)
    known: str | None = environ[_KNOWN]
    return known


def repeats_of_request(
    token: str | None, environ: WSGIEnvironment, method: str, path: str
) -> Repeats | None:
    """See `repeats_of`: the identity of a request whose client chose this token."""
    query, body = environ.get("QUERY_STRING", ""), digest_of_body(environ) or ""
    return repeats_of(token, method, path, query, body)


def _digest(environ: WSGIEnvironment) -> str | None:
    body = body_of(environ, LONGEST)
    if body is None or len(body) < int(environ.get("CONTENT_LENGTH") or 0):
        return None  # what the client meant to send is unknown
    return f"{len(body)} {hashlib.sha256(body).hexdigest()}"
