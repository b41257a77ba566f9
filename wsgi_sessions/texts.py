"""Texts that leave the process: log lines, error messages, `repr`, and terminal output.

A key that a client chose, a path, a cookie's name or a server's answer may hold anything: escape
sequences that a terminal obeys, line breaks that forge a log line, characters that reverse the
writing direction, or 200 KB of text. `shown` escapes and cuts. All such texts go through it: the
message of each error of this package, each argument of its log calls, the cells that its commands
print. `hashed` is for texts that must not be seen at all. Pure, except `log`, which gives a logger.
"""

from __future__ import annotations

import hashlib
import logging
import traceback
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

C = TypeVar("C", bound=type)

WORD = 80
"""Characters shown of a name that a client may have chosen."""
LINE = 1000
"""Characters shown of a message."""
TEXT = 20_000
"""Characters shown of a text of several lines, such as a traceback."""
_CHAINED = ("The above exception was the direct cause", "During handling of the above exception")


def shown(text: object, limit: int = LINE) -> str:
    """Return a text on one line, of at most `limit` characters, with ``…`` where it was cut.

    Characters that are not printable are escaped as in a string literal: control characters (C0,
    C1, DEL), line breaks, characters that set the writing direction, lone surrogates, unassigned
    characters. Printable ones stay, in any script. Never raises: an object whose `str` fails is
    shown as its type.
    """
    plain = text if isinstance(text, str) else _text_of(text)
    if plain.isprintable():
        return plain if len(plain) <= limit else plain[: limit - 1] + "…"
    escaped = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in plain[:limit])
    is_whole = len(plain) <= limit and len(escaped) <= limit
    return escaped if is_whole else escaped[: limit - 1] + "…"


def named(text: object) -> str:
    """Return a name that a client may have chosen, such as a key, cut short."""
    return shown(text, WORD)


def quoted(value: object) -> str:
    """Return the `repr` of a value that a client may have chosen, such as a key, cut short.

    Never raises, unlike `repr` of an integer with many digits.
    """
    return shown(represented(value), WORD)


def as_bytes(text: str) -> bytes:
    """Return any text in UTF-8, including lone surrogates."""
    return text.encode("utf-8", "surrogatepass")


def hashed(text: str) -> str:
    """Return the SHA-256 of any text in hex, 64 characters.

    It stands for a text that must not appear in the name of a key or a file, or in a message.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def lines(text: object, limit: int = TEXT) -> str:
    """Like `shown`, for one of this package's own texts with several lines."""
    return _cut("\n".join(shown(line, limit) for line in _text_of(text).split("\n")), limit)


def shows(*fields: str) -> Callable[[C], C]:
    """Give a class a `repr` of only these fields, each escaped and cut.

    For classes whose other fields hold ids, store keys, cookies, secrets or values: a `repr` ends
    up in logs.
    """

    def decorate(cls: C) -> C:
        def brief(self: object) -> str:
            facts = (f" {name}={quoted(getattr(self, name))}" for name in fields)
            return f"<{type(self).__name__}{''.join(facts)}>"

        cls.__repr__ = brief  # type: ignore[assignment,method-assign]
        return cls

    return decorate


def log(name: str) -> logging.Logger:
    """Return the logger of this name; its messages and tracebacks are escaped and cut.

    A handler still finds the exception itself in ``exc_info``.
    """
    logger = logging.getLogger(name)
    logger.addFilter(_ESCAPING)  # once, however often
    return logger


class _Escaping(logging.Filter):
    """A filter that escapes the arguments of a log call before any handler sees them."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(_escaped, record.args))
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text = _traceback(record.exc_info[1])
        return True


_ESCAPING = _Escaping()


def _escaped(argument: object) -> object:
    return argument if isinstance(argument, (int, float)) else shown(argument)


def _traceback(error: BaseException) -> str:
    """Return the traceback of an exception; a long one keeps its end."""
    text = "".join(_pieces(error)).rstrip("\n")
    return text if len(text) <= TEXT else "…" + text[1 - TEXT :]


def _pieces(error: BaseException) -> Iterator[str]:
    for piece in traceback.TracebackException.from_exception(error).format():
        stripped = piece.strip("\n")
        if stripped.lstrip(" |+").startswith(("File ", "Traceback ", *_CHAINED)):
            yield piece  # made by the interpreter
        else:
            yield shown(stripped) + "\n"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _text_of(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001  # an application's own `__str__`; a message must come out
        return f"<{type(value).__name__}>"


def represented(value: object) -> str:
    """Return the whole `repr` of a value, or its type if `repr` raises (a number of 5000 digits).

    Neither escaped nor cut.
    """
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  # as above
        return f"<{type(value).__name__}>"
