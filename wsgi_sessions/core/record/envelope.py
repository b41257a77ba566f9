"""A whole session as a record's payload: sealed, and opened again without decoding it. Pure.

A payload is ``format (1 byte), checksum (4 bytes, big-endian), body``. The checksum is the CRC-32
of the store key and the body: it reveals damage, and a record under another session's key. It
guards against accidents, not against anyone who can write to the store.
"""

from __future__ import annotations

import math
from struct import Struct
from typing import Any
from zlib import crc32

import msgspec

from wsgi_sessions import texts
from wsgi_sessions.core.record.codec import decode
from wsgi_sessions.core.record.history import Commit, commits_in
from wsgi_sessions.errors import CorruptRecord, UnsupportedFormat

FORMAT = 1
_HEADER = Struct(">BI")  # format, checksum
_HEADER_BYTES = _HEADER.size
_pack_header = _HEADER.pack
_NEVER = math.inf


@texts.shows("created_at")
class Envelope(msgspec.Struct, array_like=True, gc=False):
    """A whole session as it is stored; the values in it are still encoded.

    `created_at`: seconds since the epoch. `history`: the latest commits, packed. `metadata`: what
    this package keeps about the session (principal, lifetime). `data`: the application's own keys.
    `stamps`: see `wsgi_sessions.core.merge.stamps`. `repeats`: the latest commits of requests
    that a client may send again. Records of older releases lack the last two.
    """

    created_at: float
    history: bytes
    metadata: dict[str, msgspec.Raw]
    data: dict[str, msgspec.Raw]
    stamps: dict[str, bytes] = {}
    repeats: list[Commit] = []

    def get_metadata(self, name: str) -> Any:
        """Return one metadata value, decoded, or None. Raises CorruptRecord."""
        encoded = self.metadata.get(name)
        return None if encoded is None else decode(encoded)

    @property
    def commits(self) -> list[Commit]:
        """The latest commits of both kinds, newest last."""
        commits = commits_in(self.history)
        if not self.repeats:
            return commits
        return sorted((*commits, *self.repeats), key=lambda commit: commit.at)


_encode_envelope = msgspec.msgpack.Encoder().encode
_decode_envelope = msgspec.msgpack.Decoder(Envelope).decode


def seal(envelope: Envelope, key: str) -> bytes:
    """Return the payload of a record for the session with this store key."""
    body = _encode_envelope(envelope)
    return _header(body, key) + body


def open_sealed(payload: bytes, key: str) -> Envelope:
    """Return the envelope in a payload; no value in it is decoded.

    Raises `CorruptRecord` if the payload is damaged or belongs to another key, `UnsupportedFormat`
    if a newer release wrote it.
    """
    body = payload[_HEADER_BYTES:]
    if payload[:_HEADER_BYTES] != _header(body, key):
        raise _mismatch(payload)
    try:
        envelope = _decode_envelope(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CorruptRecord(f"not an envelope ({type(error).__name__})") from error
    if not 0 <= envelope.created_at < _NEVER:
        raise CorruptRecord("its time of creation is invalid")
    return envelope


def _header(body: bytes, key: str) -> bytes:
    return _pack_header(FORMAT, crc32(body, crc32(key.encode())))


def _mismatch(payload: bytes) -> CorruptRecord | UnsupportedFormat:
    """Return the error for a payload that does not begin as it should."""
    if len(payload) < _HEADER_BYTES:
        return CorruptRecord("too short")
    if payload[0] > FORMAT:
        return UnsupportedFormat(
            f"a session record has format {payload[0]}, this release knows up to {FORMAT}: "
            "finish the deploy, or start the newer release again"
        )
    return CorruptRecord("damaged, or the record of another session")
