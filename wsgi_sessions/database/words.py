"""The words of a SQL database, or its driver, about a fault, without the sent values."""

from __future__ import annotations

import re

from wsgi_sessions import texts

_MOST_WORDS = 200
_DIGEST = re.compile(r"[0-9a-f]{32,}")  # a store key, or the hash of a user
_STATEMENT = re.compile(r" near ['\"].*")  # a syntax error repeats the statement
_WITH_VALUES = ("DataError", "IntegrityError")


def words_of(original: BaseException) -> str:
    """Return the text of a driver's exception on one line.

    Not of SQLAlchemy's, which has the statement. Empty for errors about values: they repeat them.
    """
    if any(cls.__name__ in _WITH_VALUES for cls in type(original).__mro__):
        return ""
    if isinstance(original, UnicodeEncodeError):  # it repeats the whole text, perhaps a password
        return f"{original.encoding}: {original.reason}"
    primary = getattr(getattr(original, "diag", None), "message_primary", None)
    text = primary or " ".join(filter(None, map(_text_in, original.args)))
    plain = " ".join(_STATEMENT.sub("", text).split())
    return _DIGEST.sub("…", texts.shown(plain, _MOST_WORDS))


def _text_in(argument: object) -> str:
    """Return the text among an exception's arguments, without its code.

    pg8000 gives the fields of PostgreSQL's answer; those beside the message repeat values.
    """
    if isinstance(argument, dict):
        argument = argument.get("M")
    return argument if isinstance(argument, str) else ""
