"""Sessions of Flask-Session (0.6 to 0.8): in Redis, in a table of SQLAlchemy, or in the
files of cachelib.

The cookie holds the record's name, signed if ``SESSION_USE_SIGNER`` was on. Since 0.7, records are
MessagePack or JSON; before that, and always in cachelib's files, they are pickles, which only the
offline command reads.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import msgspec
from itsdangerous import BadSignature, Signer

from wsgi_sessions.errors import ImportRefused
from wsgi_sessions.importers.base import PICKLED, Imported

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KIND = "flask-session"
NAME = re.compile(r"[A-Za-z0-9_-]{22,256}", re.ASCII)
"""Shorter names, below 128 bits, could be guessed and are not accepted."""
_SALT = "flask-session"


def plain_name(value: str) -> str | None:
    """Return the record's name in an unsigned cookie."""
    return value if NAME.fullmatch(value) else None


def signed_name(secrets: Sequence[bytes]) -> Callable[[str], str | None]:
    """Return a function to the record's name in a cookie signed with one of these secrets."""
    signers = [Signer(secret, salt=_SALT, key_derivation="hmac") for secret in secrets]

    def verify(value: str) -> str | None:
        for signer in signers:
            try:
                return plain_name(signer.unsign(value).decode("ascii", "replace"))
            except BadSignature:
                continue
        return None

    return verify


def file_name(
    verify: Callable[[str], str | None], prefix: str, algorithm: str
) -> Callable[[str], str | None]:
    """Return the same for cachelib's files, which are named by a hash."""

    def verify_file(value: str) -> str | None:
        name = verify(value)
        if name is None:
            return None
        return hashlib.new(algorithm, (prefix + name).encode(), usedforsecurity=False).hexdigest()

    return verify_file


def reader(idle: float, unpickle: Callable[[bytes], object] | None) -> Callable[[bytes], Imported]:
    """Return a decoder for records. `idle`: the lifetime of a permanent session, in seconds."""

    def read(payload: bytes) -> Imported:
        data = _decoded(payload, unpickle)
        permanent = isinstance(data, dict) and data.get("_permanent")
        return Imported(data, idle if permanent else None)

    return read


def _decoded(payload: bytes, unpickle: Callable[[bytes], object] | None) -> Any:
    """Decode by the first byte, which identifies the format; there is no fallback."""
    try:
        if payload.startswith(b"{"):
            return msgspec.json.decode(payload)
        if _is_msgpack_map(payload):
            return msgspec.msgpack.decode(payload)
    except (msgspec.DecodeError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise ImportRefused(f"it does not decode ({type(error).__name__})") from None
    if unpickle is None:
        raise ImportRefused(PICKLED)
    return unpickle(payload)


def _is_msgpack_map(payload: bytes) -> bool:
    first = payload[:1]
    if first == b"\x80":  # alone it is an empty map; otherwise a pickle begins so
        return len(payload) == 1
    return b"\x80" < first <= b"\x8f" or first in (b"\xde", b"\xdf")
