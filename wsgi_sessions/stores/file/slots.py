"""The layout of a session file: a touch, and two slots that are written in turn. Pure bytes.

::

    offset 0    touch    32 bytes: version, expiry, checksum; zeros while never touched
           32   slot 0   48 bytes of header, then the payload, up to the slot's capacity
     32 + half  slot 1   likewise

A commit writes the slot that does not hold the newest record, so that a torn write leaves the
newest record as it was. A slot's header begins with a CRC-32 of all that follows, the payload too,
and names the key it belongs to. A touch belongs to one version, so that a later save makes it void.

Integers are big-endian; an expiry is seconds since the epoch, as a float of 8 bytes.
"""

from __future__ import annotations

from binascii import unhexlify
from math import isfinite
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from wsgi_sessions import texts
from wsgi_sessions.contract import Record
from wsgi_sessions.errors import UnsupportedFormat

MAGIC = b"WSS"
FORMAT = 1
MIN_FILE_BYTES = 4096
MAX_FILE_BYTES = 1 << 28
"""More than any session file has: the setting `max_size` allows payloads of at most 64 MiB."""

_TOUCH = Struct(">QdI")
_TOUCH_BYTES = 32
_CHECKSUM = Struct(">I")
_CHECKSUM_BYTES = _CHECKSUM.size
_CHECKED = Struct(">4sIIQd16s")  # magic and format, capacity, length, version, expiry, half the key
_HEADER = Struct(">I" + _CHECKED.format[1:])  # the checksum comes before these
_HEADER_BYTES = _HEADER.size
_FORMAT_AT = 7
_STATE = Struct(">B8xQd")  # from there: format, version, expiry
_VERSION = Struct(">Q")
_VERSION_AT = 16
_MARK = MAGIC + bytes((FORMAT,))
# Bound once, as every request needs them.
_header_at, _version_at, _state_at = _HEADER.unpack_from, _VERSION.unpack_from, _STATE.unpack_from
_pack_checked, _pack_checksum = _CHECKED.pack, _CHECKSUM.pack
_NO_HEADER = bytes(_HEADER_BYTES)
_NO_TOUCH = bytes(8)
_NOTHING = Record(0, b"", 0.0)  # the content of a slot that was never written


@texts.shows("newest", "torn")
class Slots(NamedTuple):
    """The content of a file: the newest valid record and its slot, and which slots are torn.

    An invalid slot means that a writer is at work, or died.
    """

    record: Record | None
    newest: int
    torn: tuple[int, ...]


def newest(data: bytes, key: str) -> tuple[Record, int] | None:
    """Return the newest record and its slot, or None if a slot is torn: `parse` tells more.

    Every request comes this way, so a slot with the version before the newest one is not checked
    any further: no writer had begun to overwrite it. Raises UnsupportedFormat if a newer release
    wrote a slot.
    """
    half = (len(data) - _TOUCH_BYTES) // 2
    if half <= _HEADER_BYTES:
        return None
    slot, start, other = 0, _TOUCH_BYTES, _TOUCH_BYTES + half
    (version,) = _version_at(data, start + _VERSION_AT)
    (before,) = _version_at(data, other + _VERSION_AT)
    if version < before:
        slot, start, other, version, before = 1, other, start, before, version
    record = _record(data, start, half, key)
    # A reader may see some bytes of one version and some of another, so any other number tells
    # nothing: 0 may be 254 becoming 256.
    if record is None or (before != version - 1 and _record(data, other, half, key) is None):
        return None
    return (record, slot) if record.version else None


def next_place(data: bytes, version: int, now: float) -> tuple[int, int] | None:
    """Return the `place` of the next record if the newest is plainly at this version, and alive.

    None: `newest` tells more. The caller has read that version whole before, and holds the lock, so
    that no other process changes a byte.
    """
    half = (len(data) - _TOUCH_BYTES) // 2
    if half <= _HEADER_BYTES:
        return None
    number, one, expires_at = _state_at(data, _TOUCH_BYTES + _FORMAT_AT)
    other_number, other, other_expires_at = _state_at(data, _TOUCH_BYTES + half + _FORMAT_AT)
    if one == version == other + 1 and number == FORMAT and expires_at > now:
        return _TOUCH_BYTES + half, half - _HEADER_BYTES
    if other == version == one + 1 and other_number == FORMAT and other_expires_at > now:
        return _TOUCH_BYTES, half - _HEADER_BYTES
    return None


def place(size: int, slot: int) -> tuple[int, int]:
    """Return the offset of a slot in a file of `size` bytes, and its largest payload (bytes)."""
    half = (size - _TOUCH_BYTES) // 2
    return _TOUCH_BYTES + slot * half, half - _HEADER_BYTES


def parse(data: bytes, key: str) -> Slots:
    """Return all content of a file. Raises UnsupportedFormat if a newer release wrote a slot."""
    half = (len(data) - _TOUCH_BYTES) // 2
    if half <= _HEADER_BYTES:
        return Slots(None, 0, (0, 1))
    records = [_record(data, _TOUCH_BYTES + slot * half, half, key) for slot in (0, 1)]
    torn = tuple(slot for slot, record in enumerate(records) if record is None)
    newest_of = max(records, key=lambda record: 0 if record is None else record.version)
    if newest_of is None or not newest_of.version:
        return Slots(None, 0, torn)
    return Slots(newest_of, records.index(newest_of), torn)


def _record(data: bytes, start: int, half: int, key: str) -> Record | None:
    """Return the record of the slot at `start`: _NOTHING if it was never written, None if torn."""
    checksum, mark, capacity, length, version, expires_at, owner = _header_at(data, start)
    if mark != _MARK:
        return _unmarked(data[start : start + _HEADER_BYTES])
    body = start + _HEADER_BYTES
    end = body + length
    if (
        not length <= capacity == half - _HEADER_BYTES
        or checksum != crc32(data[start + _CHECKSUM_BYTES : end])
        or owner != unhexlify(key[:32])
        or not isfinite(expires_at)
    ):
        return None
    record = Record(version, data[body:end], expires_at)
    return record if data.startswith(_NO_TOUCH) else _touched(record, data)


def _unmarked(header: bytes) -> Record | None:
    """Return the result of `_record` for a slot that does not begin like this release's."""
    number = header[_FORMAT_AT]
    if header[_CHECKSUM_BYTES:_FORMAT_AT] == MAGIC and number > FORMAT:
        raise UnsupportedFormat(
            f"a session file has format {number}, this release knows up to {FORMAT}: finish the "
            "deploy, or start the newer release again"
        )
    return _NOTHING if header == _NO_HEADER else None


def _touched(record: Record, data: bytes) -> Record:
    version, expires_at, checksum = _TOUCH.unpack_from(data)
    if version != record.version or checksum != crc32(data[:16]) or not isfinite(expires_at):
        return record  # of an older version, or being written: a touch is never essential
    return Record(version, record.payload, max(record.expires_at, expires_at))


def pack_slot(record: Record, key: str, capacity: int) -> bytes:
    """Return a slot's bytes: header and payload, without padding."""
    payload, owner = record.payload, unhexlify(key[:32])
    size, version, expires_at = len(payload), record.version, record.expires_at
    checked = _pack_checked(_MARK, capacity, size, version, expires_at, owner) + payload
    return _pack_checksum(crc32(checked)) + checked


def pack_file(record: Record, key: str) -> bytes:
    """Return a whole new file with the record in slot 0, and room for it to grow."""
    size = MIN_FILE_BYTES
    while (size - _TOUCH_BYTES) // 2 - _HEADER_BYTES < len(record.payload):
        size *= 2
    half = (size - _TOUCH_BYTES) // 2
    slot = pack_slot(record, key, half - _HEADER_BYTES)
    return (bytes(_TOUCH_BYTES) + slot).ljust(size, b"\0")


def pack_touch(version: int, expires_at: float) -> bytes:
    """Return the bytes at offset 0 that move the expiry of the record at `version`."""
    data = _TOUCH.pack(version, expires_at, 0)[:16]
    return data + _CHECKSUM.pack(crc32(data))


def blank_slot() -> bytes:
    """Return the header of an empty slot."""
    return _NO_HEADER
