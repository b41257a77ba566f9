"""Values to bytes and back, every supported type exactly restored.

Two levels. `encode` and `decode` turn one value into MessagePack. `seal` and `open_sealed` turn a
whole session, an `Envelope` of such encoded values, into a record's payload. Opening an envelope
does not decode the values in it: each stays bytes until somebody reads it.

A payload is ``format (1 byte), checksum (4 bytes, big-endian), body``. The checksum is the CRC-32
of the store key and the body: damage does not go unnoticed, nor does a record that is found under
another session's key. It guards against accidents, not against who can write to the store.

MessagePack has no tuple, set, Decimal and so on; those travel as extension types (`_Ext`). There is
no pickle and no fallback decoder (CVE-2026-39324): bytes decode as written or are `CorruptRecord`.

Types: None, bool, int of any size, float, str (lone surrogates too), bytes, list, tuple, dict (any
supported hashable keys), set, frozenset, datetime and time (naive, `timezone`, `ZoneInfo`), date,
timedelta, Decimal, UUID, and MarkupSafe's Markup, which templates trust to be HTML. Exactly these:
a subclass could not be restored as itself and is refused, but for those of datetime and date, which
are stored as the datetime or date that they equal. (See `wsgi_sessions.plain` for more.)
"""

from __future__ import annotations

import math
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from struct import Struct
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zlib import crc32
from zoneinfo import ZoneInfo

import msgspec
from markupsafe import Markup

from wsgi_sessions import texts
from wsgi_sessions.errors import CorruptRecord, UnserializableValue, UnsupportedFormat

if TYPE_CHECKING:
    from collections.abc import Callable

FORMAT = 1
MAX_DEPTH = 64
_MIN_INT, _MAX_INT = -(1 << 63), (1 << 64) - 1  # what MessagePack has
_HEADER = Struct(">BI")  # format, checksum
_HEADER_BYTES = _HEADER.size


class _Ext:
    """Extension codes. They are in stored records: never renumber, only add."""

    INT = 1
    TEXT = 2
    TUPLE = 3
    SET = 4
    FROZENSET = 5
    MAPPING = 6
    DATETIME = 7
    DATE = 8
    TIME = 9
    TIMEDELTA = 10
    DECIMAL = 11
    UUID = 12
    MARKUP = 13


# -- values ------------------------------------------------------------------------------------


def encode(value: object, path: str = "value") -> bytes:
    """One value as MessagePack. The same value always gives the same bytes.

    Raises `UnserializableValue` with the path of what cannot be held, beginning with `path`.
    """
    kind = type(value)
    if (
        kind in _PLAIN
        or (kind is int and _MIN_INT <= value <= _MAX_INT)  # type: ignore[operator]
        or (kind is str and value.isascii())  # type: ignore[attr-defined]
    ):
        return _encoder.encode(value)
    try:
        return _encoder.encode(_pack(value, path, 0))
    except UnserializableValue as error:
        # Without the frames down to it, which say less than its path and fill a log.
        raise error.with_traceback(None) from None


def decode(data: bytes) -> Any:
    """The value that `encode` was given. Raises `CorruptRecord` if `data` is anything else."""
    try:
        value = _decoder.decode(data)
    except (msgspec.DecodeError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        # What hostile bytes can raise in msgspec and in the constructors of the types above.
        raise CorruptRecord(f"a value does not decode ({type(error).__name__})") from error
    # Fewer bytes cannot nest too deep. Where the interpreter's own limit lies depends on its
    # version: some would take a depth here that `encode` refuses.
    if len(data) > MAX_DEPTH and _is_too_deep(value):
        raise CorruptRecord("a value is nested too deep")
    return value


def _is_too_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH + 2):
        level = [
            child
            for parent in level
            if type(parent) in _CONTAINERS
            for child in (parent.values() if isinstance(parent, dict) else parent)  # type: ignore[attr-defined]
        ]
        if not level:
            return False
    return True


def _pack(value: object, path: str, depth: int) -> object:
    """`value` with all that MessagePack lacks wrapped as extensions."""
    packer = _PACKERS.get(type(value))
    if packer is None and isinstance(value, _DATES):
        value = _as_date(value)
        packer = _PACKERS.get(type(value))
    if packer is None:
        raise UnserializableValue(
            path,
            f"a {type(value).__qualname__} cannot be kept in a session; "
            "store plain values, or an id that leads to the object",
        )
    if depth > MAX_DEPTH:
        raise UnserializableValue(path, f"nested more than {MAX_DEPTH} deep; is there a cycle?")
    return packer(value, path, depth)


def _as_date(value: Any) -> object:
    """The datetime or date that equals one of a subclass, as a frozen clock gives; else itself."""
    kind = next(kind for kind in _DATES if isinstance(value, kind))
    made = kind(value.year, value.month, value.day)
    if kind is _DATES[0]:
        made = kind.combine(made.date(), value.timetz()).replace(fold=value.fold)
    return made if made == value else value


def _as_is(value: Any, _path: str, _depth: int) -> object:
    return value


def _pack_int(value: int, _path: str, _depth: int) -> object:
    if _MIN_INT <= value <= _MAX_INT:
        return value
    size = value.bit_length() // 8 + 1
    return msgspec.msgpack.Ext(_Ext.INT, value.to_bytes(size, "big", signed=True))


def _pack_str(value: str, _path: str, _depth: int) -> object:
    if is_unicode(value):
        return value
    return msgspec.msgpack.Ext(_Ext.TEXT, value.encode("utf-8", "surrogatepass"))


def is_unicode(text: str) -> bool:
    """Whether `text` is free of lone surrogates, which UTF-8 cannot hold."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _pack_list(value: list[object], path: str, depth: int) -> object:
    return [_pack(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]


def _pack_tuple(value: tuple[object, ...], path: str, depth: int) -> object:
    return _ext(_Ext.TUPLE, _pack_list(list(value), path, depth))


def _pack_set(value: set[object] | frozenset[object], path: str, depth: int) -> object:
    # Sorted by their bytes: iteration order differs between equal sets, and equal must be equal.
    items = sorted(_encoder.encode(_pack(item, f"{path}{{…}}", depth + 1)) for item in value)
    code = _Ext.SET if type(value) is set else _Ext.FROZENSET
    return _ext(code, [msgspec.Raw(item) for item in items])


def _pack_dict(value: dict[object, object], path: str, depth: int) -> object:
    if all(type(key) is str and is_unicode(key) for key in value):
        return {key: _pack(item, f"{path}.{key}", depth + 1) for key, item in value.items()}
    pairs = [
        [
            _pack(key, f"{path}.<key>", depth + 1),
            _pack(item, f"{path}[{texts.quoted(key)}]", depth + 1),
        ]
        for key, item in value.items()
    ]
    return _ext(_Ext.MAPPING, pairs)


def _pack_datetime(value: datetime, path: str, _depth: int) -> object:
    wall = value.replace(tzinfo=None, fold=0).isoformat()
    return _ext(_Ext.DATETIME, [wall, value.fold, _pack_zone(value.tzinfo, path)])


def _pack_time(value: time, path: str, _depth: int) -> object:
    wall = value.replace(tzinfo=None, fold=0).isoformat()
    return _ext(_Ext.TIME, [wall, value.fold, _pack_zone(value.tzinfo, path)])


def _pack_zone(zone: tzinfo | None, path: str) -> object:
    """None, a ZoneInfo's key, or the arguments of `timezone`: [days, seconds, µs, name or None]."""
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    if type(zone) is timezone:
        delta, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # as pickle sees it
        return [delta.days, delta.seconds, delta.microseconds, name[0] if name else None]
    raise UnserializableValue(
        path, f"time zone of type {type(zone).__qualname__}; use datetime.timezone or zoneinfo"
    )


def _pack_timedelta(value: timedelta, _path: str, _depth: int) -> object:
    return _ext(_Ext.TIMEDELTA, [value.days, value.seconds, value.microseconds])


def _ext(code: int, content: object) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, _encoder.encode(content))


def _ext_text(code: int) -> Callable[[Any, str, int], object]:
    return lambda value, _path, _depth: msgspec.msgpack.Ext(code, str(value).encode())


_PACKERS: dict[type, Callable[[Any, str, int], object]] = {
    type(None): _as_is,
    bool: _as_is,
    float: _as_is,
    bytes: _as_is,
    int: _pack_int,
    str: _pack_str,
    list: _pack_list,
    tuple: _pack_tuple,
    set: _pack_set,
    frozenset: _pack_set,
    dict: _pack_dict,
    datetime: _pack_datetime,
    time: _pack_time,
    timedelta: _pack_timedelta,
    date: lambda value, _path, _depth: msgspec.msgpack.Ext(_Ext.DATE, value.isoformat().encode()),
    Decimal: _ext_text(_Ext.DECIMAL),
    UUID: lambda value, _path, _depth: msgspec.msgpack.Ext(_Ext.UUID, value.bytes),
    Markup: lambda value, _path, _depth: msgspec.msgpack.Ext(
        _Ext.MARKUP, value.encode("utf-8", "surrogatepass")
    ),
}
# By their names they are replaced while a library freezes time in tests.
_DATES: tuple[Any, ...] = (datetime, date)
_PLAIN = frozenset({type(None), bool, float, bytes})
MUTABLE = frozenset({list, dict, set, tuple})
"""The types of values that may change without anybody setting them; a tuple may hold a list."""
IMMUTABLE = frozenset(_PACKERS) - MUTABLE
_CONTAINERS = MUTABLE | {frozenset}


def _unpack_ext(code: int, data: memoryview) -> Any:
    unpacker = _UNPACKERS.get(code)
    if unpacker is None:
        raise UnsupportedFormat(
            f"a session value has the unknown extension type {code}: "
            "a newer release wrote it; finish the deploy"
        )
    return unpacker(bytes(data))


def _unpack_datetime(data: bytes) -> datetime:
    wall, fold, zone = _decoder.decode(data)
    moment: datetime = _DATES[0].fromisoformat(wall)
    return moment.replace(fold=fold, tzinfo=_unpack_zone(zone))


def _unpack_time(data: bytes) -> time:
    wall, fold, zone = _decoder.decode(data)
    return time.fromisoformat(wall).replace(fold=fold, tzinfo=_unpack_zone(zone))


def _unpack_zone(zone: Any) -> tzinfo | None:
    if zone is None:
        return None
    if isinstance(zone, str):
        try:
            return ZoneInfo(zone)
        except KeyError as error:  # ZoneInfoNotFoundError
            raise UnsupportedFormat(
                f"a session value has the time zone {zone!r}, which this host does not know: "
                "install the tzdata package"
            ) from error
    days, seconds, microseconds, name = zone
    offset = timedelta(days, seconds, microseconds)
    if name is None:
        return timezone(offset) if offset else timezone.utc
    return timezone(offset, name)


_UNPACKERS: dict[int, Callable[[bytes], Any]] = {
    _Ext.INT: lambda data: int.from_bytes(data, "big", signed=True),
    _Ext.TEXT: lambda data: data.decode("utf-8", "surrogatepass"),
    _Ext.TUPLE: lambda data: tuple(_decoder.decode(data)),
    _Ext.SET: lambda data: set(_decoder.decode(data)),
    _Ext.FROZENSET: lambda data: frozenset(_decoder.decode(data)),
    _Ext.MAPPING: lambda data: dict(_decoder.decode(data)),
    _Ext.DATETIME: _unpack_datetime,
    _Ext.DATE: lambda data: _DATES[1].fromisoformat(data.decode()),
    _Ext.TIME: _unpack_time,
    _Ext.TIMEDELTA: lambda data: timedelta(*_decoder.decode(data)),
    _Ext.DECIMAL: lambda data: Decimal(data.decode()),
    _Ext.UUID: lambda data: UUID(bytes=data),
    _Ext.MARKUP: lambda data: Markup(data.decode("utf-8", "surrogatepass")),  # noqa: S704  # it was
}

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ext_hook=_unpack_ext)


# -- envelopes ---------------------------------------------------------------------------------


@texts.shows("at", "route")
class Commit(msgspec.Struct, array_like=True, frozen=True):
    """One recent commit: when (seconds since the epoch), its random token, the request's route."""

    at: float
    token: bytes
    route: str


@texts.shows("created_at")
class Envelope(msgspec.Struct, array_like=True):
    """A whole session as it is stored; everything in it is still encoded.

    `created_at`: seconds since the epoch. `history`: the latest commits (see `commits`). `marks`:
    what this package keeps about the session (principal, lifetime). `data`: the application's own
    keys.
    """

    created_at: float
    history: msgspec.Raw
    marks: dict[str, msgspec.Raw]
    data: dict[str, msgspec.Raw]

    @property
    def commits(self) -> list[Commit]:
        """The latest commits, newest last; only who changes the session needs them.

        Raises CorruptRecord.
        """
        try:
            return _commits_decoder.decode(self.history)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise CorruptRecord(f"its history does not decode ({type(error).__name__})") from error


def history(commits: list[Commit]) -> msgspec.Raw:
    """Commits as an envelope holds them."""
    return msgspec.Raw(_encoder.encode(commits))


def with_commit(earlier: msgspec.Raw, commit: Commit, seconds: float, limit: int) -> msgspec.Raw:
    """A history with one commit more: of the `earlier` ones, up to `limit` in all are kept, and
    none if the latest is more than `seconds` away. None but that one is decoded.

    Raises CorruptRecord.
    """
    try:
        kept = _raw_commits_decoder.decode(earlier)[1 - limit :]
        if kept and abs(commit.at - _commit_decoder.decode(kept[-1]).at) > seconds:
            kept = []
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CorruptRecord(f"its history does not decode ({type(error).__name__})") from error
    return msgspec.Raw(_encoder.encode([*kept, commit]))


_envelope_decoder = msgspec.msgpack.Decoder(Envelope)
_commits_decoder = msgspec.msgpack.Decoder(list[Commit])
_commit_decoder = msgspec.msgpack.Decoder(Commit)
_raw_commits_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])


def seal(envelope: Envelope, key: str) -> bytes:
    """The payload of a record for the session with this store key."""
    body = _encoder.encode(envelope)
    return _header(body, key) + body


def open_sealed(payload: bytes, key: str) -> Envelope:
    """The envelope in a payload; no value in it is decoded.

    Raises `CorruptRecord` if the payload is damaged or belongs to another key, `UnsupportedFormat`
    if a newer release wrote it.
    """
    body = payload[_HEADER_BYTES:]
    if payload[:_HEADER_BYTES] != _header(body, key):
        raise _mismatch(payload)
    try:
        envelope = _envelope_decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CorruptRecord(f"not an envelope ({type(error).__name__})") from error
    if not 0 <= envelope.created_at < math.inf:
        raise CorruptRecord("its time of creation is no time")
    return envelope


def _header(body: bytes, key: str) -> bytes:
    return _HEADER.pack(FORMAT, crc32(body, crc32(key.encode("ascii"))))


def _mismatch(payload: bytes) -> CorruptRecord | UnsupportedFormat:
    """What is wrong with a payload that does not begin as it should."""
    if len(payload) < _HEADER_BYTES:
        return CorruptRecord("too short")
    if payload[0] > FORMAT:
        return UnsupportedFormat(
            f"a session record has format {payload[0]}, this release knows up to {FORMAT}: "
            "finish the deploy, or start the newer release again"
        )
    return CorruptRecord("damaged, or the record of another session")
