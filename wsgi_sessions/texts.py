"""Texts that leave the process: log lines, error messages, `repr`, what a terminal shows. Pure, but
for `log`, which gives a logger.

A key that a client chose, a path, a cookie's name or what a server answered may hold anything:
escape sequences that a terminal obeys, line breaks that forge a log line, marks that turn the
writing direction, or 200 KB of it. `shown` escapes and cuts, and all such texts go through it: the
message of each error of this package, each argument of its log calls, the cells that its commands
print. `hashed` is for those that must not be seen at all.
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
    """A text on one line, of `limit` characters at most (and ``…`` where it was cut).

    Escaped as in a string literal is what is not printable: control characters (C0, C1, DEL), line
    breaks, marks of the writing direction, lone surrogates, unassigned characters. What is
    printable stays, in any script. Never raises: what has no text is shown as its type.
    """
    plain = text if isinstance(text, str) else _text_of(text)
    if plain.isprintable():
        return plain if len(plain) <= limit else plain[: limit - 1] + "…"
    escaped = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in plain[:limit])
    is_whole = len(plain) <= limit and len(escaped) <= limit
    return escaped if is_whole else escaped[: limit - 1] + "…"


def named(text: object) -> str:
    """A name that a client may have chosen, such as a key: short."""
    return shown(text, WORD)


def quoted(value: object) -> str:
    """The `repr` of a value that a client may have chosen, such as a key that is no text: short.

    Never raises, where `repr` does for an integer of many digits.
    """
    return shown(represented(value), WORD)


def as_bytes(text: str) -> bytes:
    """Any text in UTF-8, lone surrogates too."""
    return text.encode("utf-8", "surrogatepass")


def hashed(text: str) -> str:
    """SHA-256 of any text, 64 hex characters: in place of one that has no place in the name of a
    key or a file, or in a message."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def lines(text: object, limit: int = TEXT) -> str:
    """As `shown`, for a text of this package's own that has several lines."""
    return _cut("\n".join(shown(line, limit) for line in _text_of(text).split("\n")), limit)


def shows(*fields: str) -> Callable[[C], C]:
    """Give a class a `repr` of these fields alone, each escaped and cut.

    For classes whose other fields hold ids, store keys, cookies, secrets or values: a `repr` ends
    in logs.
    """

    def decorate(cls: C) -> C:
        def brief(self: object) -> str:
            facts = (f" {name}={quoted(getattr(self, name))}" for name in fields)
            return f"<{type(self).__name__}{''.join(facts)}>"

        cls.__repr__ = brief  # type: ignore[assignment,method-assign]
        return cls

    return decorate


def log(name: str) -> logging.Logger:
    """The logger of this name, whose messages and tracebacks are escaped and cut.

    A handler still finds the exception itself in ``exc_info``.
    """
    logger = logging.getLogger(name)
    logger.addFilter(_ESCAPING)  # once, however often
    return logger


class _Escaping(logging.Filter):
    """Escapes what a log call was given, before any handler sees it."""

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
    """The traceback of an exception; its end is what is kept of a long one."""
    text = "".join(_pieces(error)).rstrip("\n")
    return text if len(text) <= TEXT else "…" + text[1 - TEXT :]


def _pieces(error: BaseException) -> Iterator[str]:
    for piece in traceback.TracebackException.from_exception(error).format():
        stripped = piece.strip("\n")
        if stripped.lstrip(" |+").startswith(("File ", "Traceback ", *_CHAINED)):
            yield piece  # of the interpreter's own making
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
    """The whole `repr` of a value, or its type where that raises, as for a number of 5000 digits.

    Neither escaped nor cut.
    """
    try:
        return repr(value)
    except Exception:  # noqa: BLE001  # as above
        return f"<{type(value).__name__}>"
