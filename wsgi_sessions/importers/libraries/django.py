"""Sessions of Django (4.2 to 5.2), written by its JSONSerializer: in its database, or in a cache.

The cookie holds the record's name. In the database, a record is signed with ``SECRET_KEY``
(``payload:time:signature``). In Redis, the cache's serializer encodes it, which must be JSON:
Django's default there is pickle, which only the offline command reads.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from base64 import urlsafe_b64encode
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from wsgi_sessions.errors import ImportRefused
from wsgi_sessions.importers.base import PICKLED, Imported
from wsgi_sessions.importers.libraries.packed import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KIND = "django"
NAME = re.compile(r"[a-z0-9]{32}", re.ASCII)
_SALT = b"django.contrib.sessions.SessionStore" + b"signer"
LONGEST = 3650 * 86400
"""Seconds; our own lifetime settings have the same maximum."""


def plain_name(value: str) -> str | None:
    """Return the record's name in a cookie."""
    return value if NAME.fullmatch(value) else None


def database_reader(
    secrets: Sequence[bytes], lifetime: Callable[[object], float | None]
) -> Callable[[bytes], Imported]:
    """Return a decoder for database rows signed with one of these secrets.

    `lifetime` maps the ``_session_expiry`` of a session to its idle lifetime in seconds.
    """
    keys = [hashlib.sha256(_SALT + secret).digest() for secret in secrets]

    def read(payload: bytes) -> Imported:
        signed, _, signature = payload.rpartition(b":")
        if not any(hmac.compare_digest(signature, _signature(key, signed)) for key in keys):
            raise ImportRefused(
                "its signature does not match: does `imports.secret_keys` have Django's former "
                "SECRET_KEY?"
            )
        return _of_json(unpack(signed.partition(b":")[0].decode("ascii")), lifetime)

    return read


def cache_reader(
    lifetime: Callable[[object], float | None], unpickle: Callable[[bytes], object] | None
) -> Callable[[bytes], Imported]:
    """Return a decoder for cache entries."""

    def read(payload: bytes) -> Imported:
        if payload.startswith(b"{"):
            return _of_json(payload, lifetime)
        if unpickle is None:
            raise ImportRefused(PICKLED)
        return _imported(unpickle(payload), lifetime)

    return read


def lifetime(
    idle: float, clock: Callable[[], float], default: float | None
) -> Callable[[object], float | None]:
    """Return a function from ``_session_expiry`` to an idle lifetime. The value may be absent (then
    `default`), seconds (0: ends with the browser), or a time, which is not in the past."""

    def of(expiry: object) -> float | None:
        if expiry is None:
            return default
        if isinstance(expiry, (int, float)):
            return float(min(expiry, LONGEST)) if expiry >= 1 else None
        left = _moment(expiry) - clock()
        return min(max(left, 1.0), idle)

    return of


def _moment(expiry: object) -> float:
    try:
        at = expiry if isinstance(expiry, datetime) else datetime.fromisoformat(str(expiry))
        return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        raise ImportRefused("its _session_expiry is not a time") from None


def _signature(key: bytes, signed: bytes) -> bytes:
    return urlsafe_b64encode(hmac.digest(key, signed, "sha256")).rstrip(b"=")


def _of_json(text: bytes, lifetime: Callable[[object], float | None]) -> Imported:
    try:
        data = json.loads(text.decode("latin-1"))
    except (ValueError, RecursionError) as error:
        raise ImportRefused(f"it does not decode ({type(error).__name__})") from None
    return _imported(data, lifetime)


def _imported(data: Any, lifetime: Callable[[object], float | None]) -> Imported:
    expiry = data.get("_session_expiry") if isinstance(data, dict) else None
    return Imported(data, lifetime(expiry))
