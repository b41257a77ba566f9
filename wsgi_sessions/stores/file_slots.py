"""The layout of a session file: a touch, and two slots that are written in turn. Pure bytes.

::

    offset 0    touch    32 bytes: version, expiry, checksum; zeros while never touched
           32   slot 0   44 bytes of header, then the payload, up to the slot's capacity
     32 + half  slot 1   likewise

A commit writes the slot that does not hold the newest record, so that a torn write leaves the
newest record as it was. A slot names the key it belongs to and bears a checksum: it is valid as a
whole or not at all. A touch belongs to one version, so that a later save makes it void.

Integers are big-endian; an expiry is seconds since the epoch, as a float of 8 bytes.
"""

from __future__ import annotations

import math
from struct import Struct
from typing import Literal, NamedTuple
from zlib import crc32

from wsgi_sessions.errors import UnsupportedFormat
from wsgi_sessions.stores.base import Record

MAGIC = b"WSS"
FORMAT = 1
MIN_FILE_BYTES = 4096

_TOUCH = Struct(">QdI")
_TOUCH_BYTES = 32
# magic, format, capacity, length, version, expiry, first half of the key; then the checksum
_HEADER = Struct(">3sBIIQd16s")
_CHECKSUM = Struct(">I")
_HEADER_BYTES = _HEADER.size + _CHECKSUM.size
_BLANK = bytes(_HEADER_BYTES)


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
    binding = bytes.fromhex(key[:32])
    newest = -1
    torn: tuple[int, ...] = ()
    record: Record | None = None
    for slot in (0, 1):
        start = _TOUCH_BYTES + slot * half
        found = _parse_slot(data, start, half, binding)
        if found == "torn":
            torn = (*torn, slot)
        elif found != "blank" and (record is None or found.version > record.version):
            record, newest = found, slot
    if record is not None and data[:8] != b"\0\0\0\0\0\0\0\0":
        record = _touched(record, data)
    return Slots(record, newest, torn, half)


def _parse_slot(
    data: bytes, start: int, half: int, binding: bytes
) -> Record | Literal["torn", "blank"]:
    magic, version_of_format, capacity, length, version, expires_at, owner = _HEADER.unpack_from(
        data, start
    )
    body = start + _HEADER_BYTES
    if magic == MAGIC and version_of_format > FORMAT:
        raise UnsupportedFormat(
            f"a session file has format {version_of_format}, this release knows up to {FORMAT}: "
            "finish the deploy, or start the newer release again"
        )
    if magic != MAGIC or capacity != half - _HEADER_BYTES or length > capacity or owner != binding:
        return "blank" if data[start:body] == _BLANK else "torn"
    payload = data[body : body + length]
    (checksum,) = _CHECKSUM.unpack_from(data, start + _HEADER.size)
    if checksum != crc32(payload, crc32(data[start : start + _HEADER.size])):
        return "torn"
    return Record(version, payload, expires_at) if math.isfinite(expires_at) else "torn"


def _touched(record: Record, data: bytes) -> Record:
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
    )
    checksum = crc32(record.payload, crc32(header))
    return header + _CHECKSUM.pack(checksum) + record.payload


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
    return _BLANK
