"""The layout of a session file: a touch, and two slots that are written in turn. Pure bytes.

::

    offset 0    touch    32 bytes: version, expiry, checksum; zeros while never touched
           32   slot 0   48 bytes of header, then the payload, up to the slot's capacity
     32 + half  slot 1   likewise

A commit writes the slot that does not hold the newest record, so that a torn write leaves the
newest record as it was. A slot's header names the key it belongs to and bears a checksum of itself
and one of the payload. A touch belongs to one version, so that a later save makes it void.

Integers are big-endian; an expiry is seconds since the epoch, as a float of 8 bytes.
"""

from __future__ import annotations

import math
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from wsgi_sessions.errors import UnsupportedFormat
from wsgi_sessions.stores.base import Record

MAGIC = b"WSS"
FORMAT = 1
MIN_FILE_BYTES = 4096

_TOUCH = Struct(">QdI")
_TOUCH_BYTES = 32
# magic, format, capacity, length, version, expiry, first half of the key, checksum of the payload;
# then the checksum of these
_HEADER = Struct(">3sBIIQd16sII")
_HEADER_BYTES = _HEADER.size
_CHECKSUM = Struct(">I")
_CHECKED_BYTES = _HEADER_BYTES - _CHECKSUM.size
_NO_HEADER = bytes(_HEADER_BYTES)
_NO_TOUCH = bytes(8)
_BLANK, _TORN = 0, -1


class Slots(NamedTuple):
    """What a file holds: the newest valid record and the slot it is in, and which slots are torn.

    An invalid slot means that a writer is at work, or died. `half` is the bytes a slot takes.
    """

    record: Record | None
    newest: int
    torn: tuple[int, ...]
    half: int

    @property
    def capacity(self) -> int:
        """The largest payload that fits, in bytes."""
        return self.half - _HEADER_BYTES

    def offset(self, slot: int) -> int:
        """Where a slot begins in the file."""
        return _TOUCH_BYTES + slot * self.half


def parse(data: bytes, key: str) -> Slots:
    """Read a file's content. Raises UnsupportedFormat if a newer release wrote a slot."""
    half = (len(data) - _TOUCH_BYTES) // 2
    if half <= _HEADER_BYTES:
        return Slots(None, 0, (0, 1), max(half, 0))
    owner = bytes.fromhex(key[:32])
    versions = (_version(data, 0, half, owner), _version(data, 1, half, owner))
    newest = 0 if versions[0] > versions[1] else 1
    torn = () if _TORN not in versions else (versions.index(_TORN),)
    record = _record(data, newest, half) if versions[newest] > 0 else None
    if record is not None:
        # The older payload is not looked at: a writer may well be at work on it.
        return Slots(_touched(record, data), newest, torn, half)
    older = 1 - newest
    record = _record(data, older, half) if versions[older] > 0 else None
    if record is not None:
        return Slots(_touched(record, data), older, (newest,), half)
    return Slots(None, 0, (0, 1), half)


def _version(data: bytes, slot: int, half: int, owner: bytes) -> int:
    """The version in a slot's header, or _BLANK or _TORN."""
    start = _TOUCH_BYTES + slot * half
    magic, number, capacity, length, version, expires_at, binding, _, checksum = (
        _HEADER.unpack_from(data, start)
    )
    if magic != MAGIC:
        return _BLANK if data[start : start + _HEADER_BYTES] == _NO_HEADER else _TORN
    if number > FORMAT:
        raise UnsupportedFormat(
            f"a session file has format {number}, this release knows up to {FORMAT}: finish the "
            "deploy, or start the newer release again"
        )
    if (
        checksum != crc32(data[start : start + _CHECKED_BYTES])
        or binding != owner
        or not length <= capacity == half - _HEADER_BYTES
        or not math.isfinite(expires_at)
    ):
        return _TORN
    return int(version) or _TORN


def _record(data: bytes, slot: int, half: int) -> Record | None:
    """The record of a slot with a valid header, if its payload is whole."""
    start = _TOUCH_BYTES + slot * half
    _, _, _, length, version, expires_at, _, checksum, _ = _HEADER.unpack_from(data, start)
    start += _HEADER_BYTES
    payload = data[start : start + length]
    return Record(version, payload, expires_at) if crc32(payload) == checksum else None


def _touched(record: Record, data: bytes) -> Record:
    if data[:8] == _NO_TOUCH:
        return record
    version, expires_at, checksum = _TOUCH.unpack_from(data)
    if version != record.version or checksum != crc32(data[:16]) or not math.isfinite(expires_at):
        return record  # of an older version, or just being written: a touch is never essential
    return record._replace(expires_at=max(record.expires_at, expires_at))


def pack_slot(record: Record, key: str, capacity: int) -> bytes:
    """A slot's bytes: header and payload, without padding."""
    header = _HEADER.pack(
        MAGIC,
        FORMAT,
        capacity,
        len(record.payload),
        record.version,
        record.expires_at,
        bytes.fromhex(key[:32]),
        crc32(record.payload),
        0,
    )[: -_CHECKSUM.size]
    return header + _CHECKSUM.pack(crc32(header)) + record.payload


def pack_file(record: Record, key: str) -> bytes:
    """A whole new file with the record in slot 0, and room for it to grow."""
    size = MIN_FILE_BYTES
    while (size - _TOUCH_BYTES) // 2 - _HEADER_BYTES < len(record.payload):
        size *= 2
    half = (size - _TOUCH_BYTES) // 2
    slot = pack_slot(record, key, half - _HEADER_BYTES)
    return (bytes(_TOUCH_BYTES) + slot).ljust(size, b"\0")


def pack_touch(version: int, expires_at: float) -> bytes:
    """The bytes at offset 0 that move the expiry of the record at `version`."""
    data = _TOUCH.pack(version, expires_at, 0)[:16]
    return data + _CHECKSUM.pack(crc32(data))


def blank_slot() -> bytes:
    """The header of a slot that holds nothing."""
    return _NO_HEADER
