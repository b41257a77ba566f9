"""Pyramid's own session (2.0 and later): the signed cookie holds everything, as JSON.

The content is ``[time of the last use, time of creation, session]``. It is the record's name. Each
request that uses the session gets another cookie; each stays valid for its time, as a separate
session here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from wsgi_sessions.errors import ImportRefused
from wsgi_sessions.importers.base import Imported
from wsgi_sessions.importers.libraries.webob_signed import unsigner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KIND = "pyramid-cookie"
_SALT = b"pyramid.session."
_AHEAD = 60.0  # seconds by which the clock of the signing host may be ahead


def signed_content(
    secrets: Sequence[bytes], max_age: float, clock: Callable[[], float]
) -> Callable[[str], str | None]:
    """Return a function to the content of a valid cookie, unused for at most `max_age` seconds."""
    unsign = unsigner(_SALT, secrets)

    def verify(value: str) -> str | None:
        content = unsign(value)
        if content is None:
            return None
        try:
            used_at = float(_decoded(content)[0])
        except (TypeError, ValueError, LookupError, RecursionError):
            return None
        if not -_AHEAD <= clock() - used_at <= max_age:
            return None
        return content.decode("utf-8", "replace")

    return verify


def payload(name: str) -> bytes:
    """Return what the cookie of this name holds."""
    return name.encode()


def reader(lifetime: float | None) -> Callable[[bytes], Imported]:
    """Return a decoder for contents. `lifetime`: that of the cookie, in seconds, or None."""

    def read(content: bytes) -> Imported:
        try:
            _, _, data = _decoded(content)
        except (TypeError, ValueError, RecursionError) as error:
            raise ImportRefused(f"it does not decode ({type(error).__name__})") from None
        return Imported(data, lifetime)

    return read


def _decoded(content: bytes) -> Any:
    """Return the content of a cookie. Raises ValueError, as for a pickle, and RecursionError."""
    return msgspec.json.decode(content)
