"""Sessions of pyramid_session_redis (1.4 to 1.8), in Redis.

The cookie holds the record's name, signed with the application's secret. A record is a dictionary
with the session under ``m``, and pickled by default, which only the offline command reads; or it is
JSON, where ``redis.sessions.serialize`` was ``json.dumps``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from wsgi_sessions.errors import ImportRefused
from wsgi_sessions.importers.base import PICKLED, Imported
from wsgi_sessions.importers.libraries.webob_signed import unsigner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KIND = "pyramid-session-redis"
NAME = re.compile(r"[A-Za-z0-9_-]{40,256}", re.ASCII)
_SALT = b"pyramid_session_redis."


def signed_name(secrets: Sequence[bytes]) -> Callable[[str], str | None]:
    """Return a function to the record's name in a cookie signed with one of these secrets."""
    unsign = unsigner(_SALT, secrets)

    def verify(value: str) -> str | None:
        content = unsign(value)
        name = "" if content is None else content.decode("utf-8", "replace")
        return name if NAME.fullmatch(name) else None

    return verify


def reader(
    lifetime: float | None,
    clock: Callable[[], float],
    unpickle: Callable[[bytes], object] | None,
) -> Callable[[bytes], Imported]:
    """Return a decoder for records. `lifetime`: that of the cookie, in seconds, or None."""

    def read(payload: bytes) -> Imported:
        record = _decoded(payload, unpickle)
        if not (isinstance(record, dict) and {"m", "c", "v"} <= record.keys()):
            raise ImportRefused("it is not a session of pyramid_session_redis")
        expires_at = record.get("x")
        if isinstance(expires_at, (int, float)) and expires_at and expires_at < clock():
            raise ImportRefused("it has expired")
        return Imported(record["m"], lifetime)

    return read


def _decoded(payload: bytes, unpickle: Callable[[bytes], object] | None) -> Any:
    if payload.startswith(b"{"):
        try:
            return msgspec.json.decode(payload)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise ImportRefused(f"it does not decode ({type(error).__name__})") from None
    if unpickle is None:
        raise ImportRefused(PICKLED)
    return unpickle(payload)
