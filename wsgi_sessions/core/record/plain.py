"""Values without subclasses: supported values that equal the given ones.

Frameworks store what applications put in: a member of a ``str`` enumeration, an ``OrderedDict``, a
time in a pytz zone, a translation that is made when it is shown. Each is stored as an equal value
of a supported type (see `wsgi_sessions.core.record.codec`). A value that equals none is refused:
nothing is stored that would come back as something else.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from markupsafe import Markup

from wsgi_sessions import texts
from wsgi_sessions.core.record.codec import MAX_DEPTH, encode
from wsgi_sessions.errors import UnserializableValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CONTAINERS = (dict, list, tuple, set, frozenset)
_ZONES = (ZoneInfo, timezone)


def encode_plain(value: object, path: str = "value") -> bytes:
    """Like `encode`, for the `plain` form of the value. Raises UnserializableValue."""
    try:
        return encode(value, path)
    except UnserializableValue:
        return encode(plain(value, path), path)


def plain(value: object, path: str = "value") -> Any:
    """Return the value of supported types that equals this one.

    An object with ``__html__`` becomes Markup; an object that equals its own text, such as a lazy
    translation, becomes that text. Raises UnserializableValue with the path of a value that equals
    none.
    """
    return _plain(value, path, 0)


def _plain(value: object, path: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise UnserializableValue(path, f"nested more than {MAX_DEPTH} deep; is there a cycle?")
    if isinstance(value, _CONTAINERS):
        made = _container(value, path, depth)
        return made if type(value) in _CONTAINERS else _equal(made, value, path)
    if type(value) in _SCALARS:
        return value
    for kind, make in _MAKERS:
        if isinstance(value, kind):
            return _equal(make(kind, value), value, path)
    if hasattr(value, "__html__"):
        return Markup(value.__html__())  # noqa: S704  # it says itself that it is HTML
    return _equal(_text(value), value, path)


def _container(value: Any, path: str, depth: int) -> Any:
    if isinstance(value, dict):
        made = {}
        for key, item in dict.items(value):
            plain_key = _plain(key, f"{path}.<key>", depth + 1)
            inside = f".{plain_key}" if type(plain_key) is str else f"[{texts.quoted(plain_key)}]"
            made[plain_key] = _plain(item, f"{path}{inside}", depth + 1)
        return made
    for kind in _CONTAINERS[1:]:
        if isinstance(value, kind):
            return kind(_plain(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value))
    raise TypeError(f"not a container: {type(value).__qualname__}")


def _equal(made: Any, value: Any, path: str) -> Any:
    """Return the made value if it equals the given one."""
    try:
        is_equal = bool(made == value) or (made != made and value != value)  # NaN
    except Exception:  # noqa: BLE001  # of the application's class: then it is not equal
        is_equal = False
    if is_equal:
        return made
    raise UnserializableValue(
        path,
        f"a {type(value).__qualname__} cannot be kept in a session; "
        "store plain values, or an id that leads to the object",
    )


def _text(value: object) -> str | None:
    try:
        return str.__str__(str(value))
    except Exception:  # noqa: BLE001  # of the application's class: then there is no text
        return None


def _str(kind: type[str], value: str) -> str:
    if hasattr(value, "__html__"):
        return Markup(str.__str__(value))  # noqa: S704  # it says itself that it is HTML
    return kind.__str__(value)


def _moment(kind: type[datetime], value: datetime) -> datetime:
    wall = kind(*value.timetuple()[:6], value.microsecond, fold=value.fold)
    return next((made for made in _in_zones(wall, value) if made == value), wall)


def _in_zones(wall: datetime, value: datetime) -> Iterator[datetime]:
    """Return the same wall-clock time in zones that can be stored: by name, or else by offset."""
    zone, offset = value.tzinfo, value.utcoffset()
    if zone is None or type(zone) in _ZONES:
        yield wall.replace(tzinfo=zone)
        return
    name = getattr(zone, "zone", None) or getattr(zone, "key", None)  # pytz has the former
    if isinstance(name, str):
        with suppress(ZoneInfoNotFoundError, ValueError):
            yield wall.replace(tzinfo=ZoneInfo(name))
    if offset is not None:
        yield wall.replace(tzinfo=_fixed(offset, value.tzname()))


def _clock_time(kind: type[time], value: time) -> time:
    zone, offset = value.tzinfo, value.utcoffset()
    if zone is not None and type(zone) not in _ZONES:
        zone = None if offset is None else _fixed(offset, value.tzname())
    return kind(value.hour, value.minute, value.second, value.microsecond, zone, fold=value.fold)


def _fixed(offset: timedelta, name: str | None) -> tzinfo:
    if not offset:
        return timezone.utc
    return timezone(offset) if name is None else timezone(offset, name)


# Kept as objects, not looked up by name: libraries that freeze time in tests replace the names.
_MAKERS: tuple[tuple[Any, Callable[[Any, Any], Any]], ...] = (
    (str, _str),
    (int, lambda _, value: int(value)),
    (float, lambda kind, value: kind.__float__(value)),
    (bytes, lambda kind, value: kind(value)),
    (datetime, _moment),
    (date, lambda kind, value: kind(value.year, value.month, value.day)),
    (time, _clock_time),
    (timedelta, lambda kind, value: kind(value.days, value.seconds, value.microseconds)),
    (Decimal, lambda kind, value: kind(value)),
    (UUID, lambda kind, value: kind(int=value.int)),
)
_SCALARS = frozenset(
    {type(None), bool, int, float, str, bytes, date, timedelta, Decimal, UUID, Markup}
)
