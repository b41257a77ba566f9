"""Flask's own session: the signed cookie holds everything; nothing is on the server.

A cookie is ``payload.time.signature``. Here its signed part is the record's name, so that another
spelling of the signature is not another session. Whenever the application changed the session,
Flask issued a new cookie; each stays valid for its time, as a separate session here.
"""

from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING, Any
from uuid import UUID

from itsdangerous import BadSignature, TimestampSigner
from markupsafe import Markup
from werkzeug.http import parse_date

from wsgi_sessions.errors import ImportRefused
from wsgi_sessions.importers.base import Imported
from wsgi_sessions.importers.libraries.packed import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

KIND = "flask-cookie"
_SALT = "cookie-session"
_AHEAD = 60.0  # seconds by which the clock of the signing host may be ahead


def signed_part(
    secrets: Sequence[bytes], max_age: float, clock: Callable[[], float]
) -> Callable[[str], str | None]:
    """Return a function to the signed part of a valid cookie, at most `max_age` seconds old."""
    signer = TimestampSigner(list(secrets), salt=_SALT, key_derivation="hmac")

    def verify(value: str) -> str | None:
        try:
            _, signed_at = signer.unsign(value, return_timestamp=True)
        except BadSignature:
            return None
        if not -_AHEAD <= clock() - signed_at.timestamp() <= max_age:
            return None
        return value.rpartition(".")[0]

    return verify


def payload(name: str) -> bytes:
    """Return what the cookie of this name holds."""
    return name.rpartition(".")[0].encode("ascii")


def reader(idle: float) -> Callable[[bytes], Imported]:
    """Return a decoder for payloads. `idle`: the lifetime of a permanent session, in seconds."""

    def read(payload: bytes) -> Imported:
        try:
            data = untag(json.loads(unpack(payload.decode("ascii"))))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise ImportRefused(f"it does not decode ({type(error).__name__})") from None
        permanent = isinstance(data, dict) and data.get("_permanent")
        return Imported(data, idle if permanent else None)

    return read


def untag(value: Any) -> Any:
    """Return the values of Flask's tagged JSON."""
    if isinstance(value, list):
        return [untag(item) for item in value]
    if not isinstance(value, dict):
        return value
    items = {key: untag(item) for key, item in value.items()}
    if len(items) == 1:
        [(tag, item)] = items.items()
        if tag in _TAGS:
            return _TAGS[tag](item)
    return items


def _escaped(value: dict[str, Any]) -> dict[str, Any]:
    """Undo the escaping of a mapping whose only key looks like a tag: two underscores follow it."""
    [(key, item)] = value.items()
    return {key[:-2]: item}


_TAGS: Mapping[str, Callable[[Any], Any]] = {
    " di": _escaped,
    " t": tuple,
    " b": b64decode,
    " m": Markup,
    " u": UUID,
    " d": parse_date,
}
