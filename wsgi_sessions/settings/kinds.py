"""Kinds of configuration values: how each is read from text, shown and described.

Every `Kind` here is pure. Parsers raise `ValueError`; the message, if any, says what is wrong and
never repeats the text, which may be a secret.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlsplit

from wsgi_sessions.identity import MIN_SECRET_BYTES, IdSigner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

SECOND, MINUTE, HOUR, DAY, WEEK = 1, 60, 3600, 86400, 604800
KIB, MIB = 1024, 1024**2
UNSET = "not set"
HIDDEN = "(hidden)"


def show_plain(value: object) -> str:
    """Return the plain text of a value."""
    return UNSET if value is None else str(value)


@dataclass(frozen=True)
class Kind(Generic[T]):
    """The way a value is read and shown.

    `parse` gets stripped, non-empty text. `allowed` completes "must be ...". `show` returns the
    text of a value without secrets; `conceal` returns the part of refused text that an error may
    repeat.
    """

    parse: Callable[[str], T]
    allowed: str
    show: Callable[[T], str] = show_plain
    conceal: Callable[[str], str] = ascii


def matching(pattern: re.Pattern[str], allowed: str) -> Kind[Any]:
    """Text that matches the whole pattern."""

    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError
        return text

    return Kind(parse, allowed)


def choice(names: Sequence[str]) -> Kind[Any]:
    """One of these names, in any case; the value is the name as spelled here."""
    by_lower = {name.lower(): name for name in names}

    def parse(text: str) -> str:
        try:
            return by_lower[text.lower()]
        except KeyError:
            raise ValueError from None

    return Kind(parse, f"one of {', '.join(names)}")


PRINTABLE = matching(
    re.compile(r"[!-~]{1,128}"), "up to 128 printable ASCII characters without blanks"
)
APPLICATION = matching(
    re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"),
    "a name of up to 64 ASCII letters, digits, dots, - and _, the first one a letter or a digit",
)
KEY_PREFIX = matching(
    re.compile(r"[!-z|~]{1,128}"), "up to 128 printable ASCII characters without blanks or braces"
)

_SWITCH = {
    **dict.fromkeys(("on", "true", "yes", "1"), True),
    **dict.fromkeys(("off", "false", "no", "0"), False),
}


def _parse_switch(text: str) -> bool:
    try:
        return _SWITCH[text.lower()]
    except KeyError:
        raise ValueError from None


def show_switch(value: bool | None) -> str:  # noqa: FBT001 - the value is what is shown
    """Return the value as the environment spells it."""
    return show_plain(None) if value is None else "on" if value else "off"


SWITCH = Kind[Any](
    _parse_switch, "on or off (true/false, yes/no and 1/0 are understood)", show_switch
)
"""True or False, which the environment spells on and off."""


def or_off(kind: Kind[T]) -> Kind[T | None]:
    """`kind`, or ``off``, which is None."""

    def parse(text: str) -> T | None:
        return None if text.lower() == "off" else kind.parse(text)

    def show(value: T | None) -> str:
        return "off" if value is None else kind.show(value)

    return Kind(parse, f"{kind.allowed}, or off", show, kind.conceal)


def or_unset(kind: Kind[T]) -> Kind[T | None]:
    """`kind`, for a setting without a default; None is shown as "not set"."""

    def show(value: T | None) -> str:
        return UNSET if value is None else kind.show(value)

    return Kind(kind.parse, kind.allowed, show, kind.conceal)


# -- numbers ---------------------------------------------------------------------------------------

# ASCII digits only (`\d` and int() accept others), and few enough to stay exact.
_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,3})?) ?(ms|s|m|h|d|w)?")
_MILLISECONDS = {
    "w": WEEK * 1000,
    "d": DAY * 1000,
    "h": HOUR * 1000,
    "m": MINUTE * 1000,
    "s": 1000,
    "ms": 1,
}


def duration(low: float, high: float, examples: str) -> Kind[float]:
    """Seconds from `low` to `high`, with a unit or as bare seconds."""

    def parse(text: str) -> float:
        if not (match := _DURATION.fullmatch(text)):
            raise ValueError
        return _within(low, high, float(match[1]) * _MILLISECONDS[match[2] or "s"] / 1000)

    span = f"from {show_duration(low)} to {show_duration(high)}"
    allowed = f"a duration such as {examples}, {span}"
    return Kind(parse, allowed, show_duration)


def show_duration(seconds: float) -> str:
    """Return seconds in the largest unit that divides them: ``30m``; one day is ``24h``."""
    milliseconds = round(seconds * 1000, 6)
    for unit, length in _MILLISECONDS.items():
        least = length if unit in {"s", "ms"} else 2 * length
        if unit != "w" and milliseconds >= least and milliseconds % length == 0:
            return f"{milliseconds / length:.0f}{unit}"
    return f"{seconds}s"


_SIZE = re.compile(r"([0-9]{1,12}) ?([kKmM]?)(?:[iI]?[bB])?")


def size(low: int, high: int) -> Kind[int]:
    """Bytes from `low` to `high`; ``k`` is 1024 and ``m`` 1024²."""

    def parse(text: str) -> int:
        if not (match := _SIZE.fullmatch(text)):
            raise ValueError
        return _within(low, high, int(match[1]) * {"": 1, "k": KIB, "m": MIB}[match[2].lower()])

    allowed = f"a size such as 65536 (bytes), 64k or 1m, from {show_size(low)} to {show_size(high)}"
    return Kind(parse, allowed, show_size)


def show_size(count: int) -> str:
    """Return bytes in the largest unit that gives a whole number."""
    for unit, factor in (("m", MIB), ("k", KIB)):
        if count % factor == 0:
            return f"{count // factor}{unit}"
    return str(count)


def whole_number(low: int, high: int) -> Kind[int]:
    """An integer from `low` to `high`."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise ValueError
        return _within(low, high, int(text))

    return Kind(parse, f"a whole number from {low} to {high}")


N = TypeVar("N", int, float)


def _within(low: float, high: float, number: N) -> N:
    if not low <= number <= high:
        raise ValueError("out of range")
    return number


# -- paths, URLs and secrets -----------------------------------------------------------------------


def _parse_patterns(text: str) -> tuple[str, ...]:
    patterns = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if not all(re.fullmatch(r"/[!-~]*", pattern) for pattern in patterns):
        raise ValueError
    return patterns


PATH_PATTERNS = Kind[tuple[str, ...]](
    _parse_patterns,
    "paths that begin with /, separated by commas, where * matches anything: /cart,/api/*",
    lambda patterns: ",".join(patterns) or UNSET,
)

HEADER = matching(
    re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}"), "a header's name such as Idempotency-Key"
)
FOLDER = matching(re.compile(r"/[ -~]{0,1000}"), "the absolute path of a folder, in ASCII")
PATH = matching(re.compile(r"/[!-~]{0,200}"), "a path such as /health, in ASCII without blanks")
HOOK_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*")
HOOK = matching(HOOK_PATH, "a function, written package.module:function")
"""The path of a hook, which `wsgi_sessions.stack.hooks` imports."""


def several(kind: Kind[str]) -> Kind[tuple[str, ...]]:
    """Several of a kind, separated by commas."""

    def parse(text: str) -> tuple[str, ...]:
        return tuple(kind.parse(part.strip()) for part in text.split(","))

    return Kind(
        parse, f"{kind.allowed}; several separated by commas", lambda v: ",".join(v) or UNSET
    )


_URL = re.compile(r"[a-z][a-z0-9+.-]*://[!-~]*")
_ANOTHER_URL = re.compile(r"[\s,;]+[a-zA-Z][a-zA-Z0-9+.-]*://")
_BEFORE_A_URL = re.compile(r"\s+(?=[a-z][a-z0-9+.-]*://)")
_URL_AFTER_A_COMMA = re.compile(r"[,;]\s*[a-zA-Z][a-zA-Z0-9+.-]*://")


def _parse_url(text: str) -> str:
    if _ANOTHER_URL.search(text):
        raise ValueError("these are several URLs: name one")
    if not _URL.fullmatch(text):
        raise ValueError
    try:
        parts = urlsplit(text)
        # Several hosts (Sentinel, Cluster) are checked by their store, which knows them.
        _ = "," in parts.netloc or parts.port
    except ValueError:
        # Python's own message repeats the text, which may be a password.
        raise ValueError("its host or port is malformed") from None
    return text


def hide_credentials(url: str) -> str:
    """Return a URL, however malformed, without its user, password and query values."""
    # Up to the last @: a password with an unescaped @ or / must not show its tail.
    shown = re.sub(r"^([^:/@]*://)?.*@", r"\1***@", url, flags=re.DOTALL)
    # `redis://:password` without a host: text after a colon is shown only if it can be a port.
    shown = re.sub(r"(?<=://)([^/?#\[\]:]*):(?![0-9]{1,5}(?:[,/?#]|$))[^/?#]*", r"\1:***", shown)
    return re.sub(r"([?&][^=&]*=)[^&#]*", r"\1***", shown)


URL = Kind[str](
    _parse_url,
    "one URL such as redis://host:6379/0 or file:///srv/sessions, "
    "with anything but ASCII letters, digits and signs percent-encoded",
    hide_credentials,
    lambda text: ascii(hide_credentials(text)),
)


def _parse_urls(text: str) -> str:
    if _URL_AFTER_A_COMMA.search(text):
        # A URL may contain commas, between the hosts of a Redis Cluster.
        raise ValueError("several URLs are separated by blanks")
    return " ".join(dict.fromkeys(map(_parse_url, re.split(r"[ \t\r\n]+", text))))


def separate(urls: str) -> tuple[str, ...]:
    """Return the URLs in a text that `URLS` parsed, or that was written in Python."""
    return tuple(_BEFORE_A_URL.split(urls))


URLS = Kind[str](
    _parse_urls,
    f"{URL.allowed}; or several, separated by blanks",
    lambda urls: " ".join(map(hide_credentials, separate(urls))),
    URL.conceal,
)
"""URLs in order of priority, separated by single blanks."""


def _checked_secrets(secrets: Sequence[str]) -> tuple[str, ...]:
    if not all(secrets):
        raise ValueError("one of them is empty")
    IdSigner(secrets)  # refuses short, repeated and unprintable ones, without showing them
    return tuple(secrets)


def _separated_secrets(text: str) -> tuple[str, ...]:
    # An empty item between commas is a variable that was not expanded: refused, not skipped.
    items = [part.split() or [""] for part in text.split(",")]
    return _checked_secrets([secret for item in items for secret in item])


def _show_secrets(secrets: Sequence[str]) -> str:
    return f"{len(secrets)} {HIDDEN}" if secrets else UNSET


def _hide(_text: str) -> str:
    return HIDDEN


_EACH = f"each of {MIN_SECRET_BYTES} bytes or more, the newest last"
SECRETS = Kind[tuple[str, ...]](
    _separated_secrets, f"secrets separated by commas or blanks, {_EACH}", _show_secrets, _hide
)
SECRET_LINES = Kind[tuple[str, ...]](
    lambda text: _checked_secrets([line.strip() for line in text.splitlines() if line.strip()]),
    f"a file of one secret a line, {_EACH}",
    _show_secrets,
    _hide,
)
ONE_SECRET = Kind[tuple[str, ...]](
    lambda text: _checked_secrets([text]),
    f"one secret of {MIN_SECRET_BYTES} bytes or more",
    _show_secrets,
    _hide,
)
