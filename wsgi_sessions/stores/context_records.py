"""Contexts as bytes in a store: each names its principal and its name. Pure.

Stores find a context by a hash of the two, which cannot be reversed when all contexts are listed.
"""

from __future__ import annotations

import hashlib
import math
from zlib import crc32

import msgspec

from wsgi_sessions import texts
from wsgi_sessions.contract import Context
from wsgi_sessions.errors import CorruptRecord, UnsupportedFormat

FORMAT = 1
_CHECKSUM_BYTES = 4


@texts.shows("accessed_at")
class _Stored(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    principal: bytes
    name: bytes
    accessed_at: float
    value: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Stored)


def digest(*parts: str) -> str:
    """Return 64 hex characters for texts that must not appear in the name of a key or a file."""
    hashed = [hashlib.sha256(texts.as_bytes(part)).digest() for part in parts]
    return hashlib.sha256(b"".join(hashed)).hexdigest()


def pack(principal: str, name: str, context: Context) -> bytes:
    """Return the format (1 byte), the checksum (4 bytes) and the body."""
    stored = _Stored(
        texts.as_bytes(principal), texts.as_bytes(name), context.accessed_at, context.value
    )
    body = _encoder.encode(stored)
    return bytes([FORMAT]) + crc32(body).to_bytes(_CHECKSUM_BYTES, "big") + body


def unpack(data: bytes) -> tuple[str, str, Context]:
    """Return what was packed. Raises CorruptRecord, and UnsupportedFormat for a newer release's."""
    if data and data[0] > FORMAT:
        raise UnsupportedFormat(
            f"a context has format {data[0]}, this release knows up to {FORMAT}: finish the "
            "deploy, or start the newer release again",
            operation="context",
        )
    checksum, body = data[1 : 1 + _CHECKSUM_BYTES], data[1 + _CHECKSUM_BYTES :]
    if not data or data[0] != FORMAT or checksum != crc32(body).to_bytes(_CHECKSUM_BYTES, "big"):
        raise CorruptRecord("not a context, or a damaged one")
    try:
        stored = _decoder.decode(body)
        of = [part.decode("utf-8", "surrogatepass") for part in (stored.principal, stored.name)]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptRecord("a context does not decode") from error
    if not math.isfinite(stored.accessed_at):
        raise CorruptRecord("a context with an invalid time")
    return of[0], of[1], Context(stored.value, stored.accessed_at)


def unpack_under(key: str, data: bytes) -> tuple[str, str, Context]:
    """Return what was packed for this principal and name; `key` is their `digest`.

    Raises as `unpack`, and CorruptRecord for another principal's or name's context: a record that
    was copied or moved to this place opens no context.
    """
    found = unpack(data)
    if digest(found[0], found[1]) != key:
        raise CorruptRecord("a context of another principal or name")
    return found
