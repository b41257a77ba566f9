"""Values to bytes and back, with every supported type restored exactly.

`encode` and `decode` turn one value into MessagePack. A session is an `Envelope` of such values
(`wsgi_sessions.core.record.envelope`), each of which stays bytes until it is read.

MessagePack has no tuple, set, Decimal and so on; those travel as extension types (`Extension`).
Pickle and fallback decoders are not used (CVE-2026-39324): bytes decode as written or are
`CorruptRecord`.

Types: None, bool, int of any size, float, str (lone surrogates too), bytes, list, tuple, dict (any
supported hashable keys), set, frozenset, datetime and time (naive, `timezone`, `ZoneInfo`), date,
timedelta, Decimal, UUID, and MarkupSafe's Markup, which templates trust to be HTML. Exactly these:
a subclass could not be restored as itself and is refused, except subclasses of datetime and date,
which are stored as the datetime or date that they equal. (See `wsgi_sessions.core.record.plain` for
more.)
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from markupsafe import Markup

from wsgi_sessions import texts
from wsgi_sessions.core.record.extensions import DATES, Extension, as_date, decoder
from wsgi_sessions.errors import CorruptRecord, UnserializableValue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_DEPTH = 64
_MIN_INT, _MAX_INT = -(1 << 63), (1 << 64) - 1  # what MessagePack has


def encode(value: object, path: str = "value") -> bytes:
    """Return one value as MessagePack. The same value always gives the same bytes.

    Raises `UnserializableValue` with the path of the unsupported value, beginning with `path`.
    """
    kind = type(value)
    if (
        kind in _PLAIN
        or (kind is int and _MIN_INT <= value <= _MAX_INT)  # type: ignore[operator]
        or (kind is str and value.isascii())  # type: ignore[attr-defined]
    ):
        return _encoder.encode(value)
    try:
        return _encoder.encode(_pack(value, 0))
    except _Refused as refused:
        # Without the frames down to the value: its path says more, and they fill a log.
        raise UnserializableValue(refused.path(path), refused.why) from None


def decode(data: bytes) -> Any:
    """Return the value that `encode` was given. Raises `CorruptRecord` for any other `data`."""
    try:
        value = decoder.decode(data)
    except (msgspec.DecodeError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        # Hostile bytes raise these in msgspec and in the constructors of the types above.
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


class _Refused(Exception):
    """An unsupported value. Its path is put together only while this unwinds."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.steps: list[str] = []  # from the value outwards

    def path(self, start: str) -> str:
        """The place of the value, from the outermost key on."""
        return start + "".join(reversed(self.steps))


def _pack(value: object, depth: int) -> object:
    """Return `value` with every type that MessagePack lacks wrapped as an extension."""
    packer = _PACKERS.get(type(value))
    if packer is None and isinstance(value, DATES):
        value = as_date(value)
        packer = _PACKERS.get(type(value))
    if packer is None:
        raise _Refused(
            f"a {type(value).__qualname__} cannot be kept in a session; "
            "store plain values, or an id that leads to the object"
        )
    if depth > MAX_DEPTH:
        raise _Refused(f"nested more than {MAX_DEPTH} deep; is there a cycle?")
    return packer(value, depth)


def _as_is(value: Any, _depth: int) -> object:
    return value


def _pack_int(value: int, _depth: int) -> object:
    if _MIN_INT <= value <= _MAX_INT:
        return value
    size = value.bit_length() // 8 + 1
    return msgspec.msgpack.Ext(Extension.INT, value.to_bytes(size, "big", signed=True))


def _pack_str(value: str, _depth: int) -> object:
    if is_unicode(value):
        return value
    return msgspec.msgpack.Ext(Extension.TEXT, value.encode("utf-8", "surrogatepass"))


def is_unicode(text: str) -> bool:
    """Return whether `text` is free of lone surrogates, which UTF-8 cannot hold."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _pack_list(value: list[object] | tuple[object, ...], depth: int) -> list[object]:
    packed: list[object] = []
    try:
        packed.extend(_pack(item, depth + 1) for item in value)
    except _Refused as refused:
        refused.steps.append(f"[{len(packed)}]")
        raise
    return packed


def _pack_tuple(value: tuple[object, ...], depth: int) -> object:
    return _ext(Extension.TUPLE, _pack_list(value, depth))


def _pack_set(value: set[object] | frozenset[object], depth: int) -> object:
    # Sorted by their bytes: iteration order differs between equal sets, and equal must be equal.
    try:
        items = sorted(_encoder.encode(_pack(item, depth + 1)) for item in value)
    except _Refused as refused:
        refused.steps.append("{…}")
        raise
    code = Extension.SET if type(value) is set else Extension.FROZENSET
    return _ext(code, [msgspec.Raw(item) for item in items])


def _pack_dict(value: dict[object, object], depth: int) -> object:
    if not has_plain_keys(value):
        return _ext(Extension.MAPPING, _pack_pairs(value, depth))
    packed: dict[object, object] = {}
    try:
        for key, item in value.items():
            packed[key] = _pack(item, depth + 1)
    except _Refused as refused:
        refused.steps.append(f".{key}")
        raise
    return packed


def _pack_pairs(value: dict[object, object], depth: int) -> list[list[object]]:
    pairs: list[list[object]] = []
    step = ""
    try:
        for key, item in value.items():
            step = ".<key>"
            packed = _pack(key, depth + 1)
            step = ""
            pairs.append([packed, _pack(item, depth + 1)])
    except _Refused as refused:
        refused.steps.append(step or f"[{texts.quoted(key)}]")
        raise
    return pairs


def has_plain_keys(mapping: Mapping[Any, object]) -> bool:
    """Return whether MessagePack has all keys in a map: text that UTF-8 can hold."""
    return all(type(key) is str and is_unicode(key) for key in mapping)


def _pack_datetime(value: datetime, _depth: int) -> object:
    wall = value.replace(tzinfo=None, fold=0).isoformat()
    return _ext(Extension.DATETIME, [wall, value.fold, _pack_zone(value.tzinfo)])


def _pack_time(value: time, _depth: int) -> object:
    wall = value.replace(tzinfo=None, fold=0).isoformat()
    return _ext(Extension.TIME, [wall, value.fold, _pack_zone(value.tzinfo)])


def _pack_zone(zone: tzinfo | None) -> object:
    """None, a ZoneInfo's key, or the arguments of `timezone`: [days, seconds, µs, name or None]."""
    if zone is None:
        return None
    if type(zone) is ZoneInfo and zone.key is not None:
        return zone.key
    if type(zone) is timezone:
        delta, *name = zone.__getinitargs__()  # type: ignore[attr-defined]  # as pickle sees it
        return [delta.days, delta.seconds, delta.microseconds, name[0] if name else None]
    raise _Refused(
        f"time zone of type {type(zone).__qualname__}; use datetime.timezone or zoneinfo"
    )


def _pack_timedelta(value: timedelta, _depth: int) -> object:
    return _ext(Extension.TIMEDELTA, [value.days, value.seconds, value.microseconds])


def _ext(code: int, content: object) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, _encoder.encode(content))


def _ext_text(code: int) -> Callable[[Any, int], object]:
    return lambda value, _depth: msgspec.msgpack.Ext(code, str(value).encode())


_PACKERS: dict[type, Callable[[Any, int], object]] = {
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
    date: lambda value, _depth: msgspec.msgpack.Ext(Extension.DATE, value.isoformat().encode()),
    Decimal: _ext_text(Extension.DECIMAL),
    UUID: lambda value, _depth: msgspec.msgpack.Ext(Extension.UUID, value.bytes),
    Markup: lambda value, _depth: msgspec.msgpack.Ext(
        Extension.MARKUP, value.encode("utf-8", "surrogatepass")
    ),
}
_PLAIN = frozenset({type(None), bool, float, bytes})
MUTABLE = frozenset({list, dict, set, tuple})
"""The types of values that may change without anybody setting them; a tuple may hold a list."""
IMMUTABLE = frozenset(_PACKERS) - MUTABLE
_CONTAINERS = MUTABLE | {frozenset}


_encoder = msgspec.msgpack.Encoder()
