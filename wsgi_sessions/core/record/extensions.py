"""Extensions: values of types that MessagePack lacks, read back from its extension types. Pure."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from markupsafe import Markup

from wsgi_sessions.errors import UnsupportedFormat

if TYPE_CHECKING:
    from collections.abc import Callable

# A library that freezes time in tests replaces these names.
DATES: tuple[Any, ...] = (datetime, date)


class Extension:
    """Extension codes. Stored records contain them: never renumber, only add."""

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


def as_date(value: Any) -> object:
    """Return the plain datetime or date equal to a subclass' (a frozen clock's), else the value."""
    kind = next(kind for kind in DATES if isinstance(value, kind))
    made = kind(value.year, value.month, value.day)
    if kind is DATES[0]:
        made = kind.combine(made.date(), value.timetz()).replace(fold=value.fold)
    return made if made == value else value


def _unpack_ext(code: int, data: memoryview) -> Any:
    unpacker = _UNPACKERS.get(code)
    if unpacker is None:
        raise UnsupportedFormat(
            f"a session value has the unknown extension type {code}: "
            "a newer release wrote it; finish the deploy"
        )
    return unpacker(bytes(data))


def _unpack_datetime(data: bytes) -> datetime:
    wall, fold, zone = decoder.decode(data)
    moment: datetime = DATES[0].fromisoformat(wall)
    return moment.replace(fold=fold, tzinfo=_unpack_zone(zone))


def _unpack_time(data: bytes) -> time:
    wall, fold, zone = decoder.decode(data)
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
    Extension.INT: lambda data: int.from_bytes(data, "big", signed=True),
    Extension.TEXT: lambda data: data.decode("utf-8", "surrogatepass"),
    Extension.TUPLE: lambda data: tuple(decoder.decode(data)),
    Extension.SET: lambda data: set(decoder.decode(data)),
    Extension.FROZENSET: lambda data: frozenset(decoder.decode(data)),
    Extension.MAPPING: lambda data: dict(decoder.decode(data)),
    Extension.DATETIME: _unpack_datetime,
    Extension.DATE: lambda data: DATES[1].fromisoformat(data.decode()),
    Extension.TIME: _unpack_time,
    Extension.TIMEDELTA: lambda data: timedelta(*decoder.decode(data)),
    Extension.DECIMAL: lambda data: Decimal(data.decode()),
    Extension.UUID: lambda data: UUID(bytes=data),
    Extension.MARKUP: lambda data: Markup(data.decode("utf-8", "surrogatepass")),  # noqa: S704  # it was
}

decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ext_hook=_unpack_ext)
"""Decodes values, also those of the extension types."""
