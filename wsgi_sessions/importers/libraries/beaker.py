"""Sessions of Beaker (1.10 to 1.14), in its files or in Redis.

The cookie holds the session's id, signed with ``session.secret``. Beaker pickles what it stores, so
that only the offline command reads it, even where the session itself is compressed JSON.
"""

from __future__ import annotations

import hmac
import json
import re
import zlib
from base64 import b64decode
from typing import TYPE_CHECKING, Any

from wsgi_sessions.errors import ImportRefused
from wsgi_sessions.importers.base import PICKLED, Imported
from wsgi_sessions.importers.libraries.packed import inflate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KIND = "beaker"
NAME = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SIGNATURE_LENGTH = 40
_PICKLE = b"\x80"  # since Python 3.0; compressed JSON begins with another byte
_OWN_KEYS = ("_accessed_time", "_creation_time", "_domain", "_path")


def signed_name(secrets: Sequence[bytes]) -> Callable[[str], str | None]:
    """Return a function to the session's id in a cookie signed with one of these secrets."""

    def verify(value: str) -> str | None:
        signature, name = value[:_SIGNATURE_LENGTH], value[_SIGNATURE_LENGTH:]
        if not NAME.fullmatch(name) or not signature.isascii():
            return None
        expected = (
            hmac.new(secret, name.encode("ascii"), "sha1").hexdigest() for secret in secrets
        )
        return name if any(hmac.compare_digest(signature, each) for each in expected) else None

    return verify


def reader(
    lifetime: float | None, unpickle: Callable[[bytes], object] | None
) -> Callable[[bytes], Imported]:
    """Return a decoder for records. `lifetime`: that of the cookie, in seconds, or None."""

    def read(payload: bytes) -> Imported:
        if unpickle is None:
            raise ImportRefused(PICKLED)
        stored = unpickle(payload)
        packed = stored.get("session") if isinstance(stored, dict) else stored  # a file, or Redis
        data = _unpacked(packed, unpickle)
        if not isinstance(data, dict):
            raise ImportRefused(f"it is a {type(data).__qualname__}, not a mapping")
        return Imported({k: v for k, v in data.items() if k not in _OWN_KEYS}, lifetime)

    return read


def _unpacked(packed: Any, unpickle: Callable[[bytes], object]) -> Any:
    try:
        content = b64decode(packed, validate=True)
        if content.startswith(_PICKLE):
            return unpickle(content)
        return json.loads(inflate(content))
    except (TypeError, ValueError, RecursionError, zlib.error):
        raise ImportRefused("it does not decode; encrypted sessions cannot be imported") from None
