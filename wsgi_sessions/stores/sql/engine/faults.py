"""Faults between a store and a SQL database: the reaction to each, and what may be shown of it."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import exc

from wsgi_sessions.database.words import words_of
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import short_key
from wsgi_sessions.stores.sql.engine.causes import (
    BY_CLASS,
    BY_NUMBER,
    BY_STATE,
    BY_TEXT,
    LOST,
    TOO_LARGE_PERHAPS,
    SqlReaction,
)

if TYPE_CHECKING:
    from wsgi_sessions.stores.sql.engine.causes import Known


_HUNG_UP = ("2006", "2013", "2055")
_MUCH = 20_000  # bytes


class SqlFault(NamedTuple):
    """One kind of fault: its sentence, the reaction to it, and what may be shown beside.

    `detail` is the class and the code of the driver's exception, `words` the database's own, on one
    line, without the values that it was sent.
    """

    sentence: str
    reaction: SqlReaction
    detail: str = ""
    words: str = ""

    @property
    def explained(self) -> str:
        """The sentence with its details."""
        return f"{self.sentence} ({self._details})" if self._details else self.sentence

    @property
    def _details(self) -> str:
        return ": ".join(part for part in (self.detail, self.words) if part)

    def error(
        self,
        database: str,
        operation: str,
        key: str | None,
        attempts: int,
        kind: type[StoreUnavailable] = StoreUnavailable,
    ) -> StoreUnavailable:
        """Return the exception that leaves the store: the sentence and the database's own words.

        Its cause is not the driver's exception, whose text may hold keys and payloads.
        """
        error = kind(
            f"{database} {self.explained}",
            operation=operation,
            key=None if key is None else short_key(key),
            attempts=attempts,
        )
        error.__cause__ = DatabaseFault(self._details)
        return error


class DatabaseFault(Exception):
    """The driver's exception for a log: its class, code, and words that may be shown."""


def fault_of(error: BaseException) -> SqlFault:
    """Return the fault behind anything that came instead of an answer.

    That is an exception of SQLAlchemy, of the driver (a pool and an isolation level let those
    through), or of a library that the driver uses.
    """
    if isinstance(error, exc.TimeoutError):
        sentence = "has no free connection in this process's pool: hand in an Engine with more"
        return SqlFault(sentence, SqlReaction.REPORT, "the pool's time-out")
    original = getattr(error, "orig", None) or error
    code = _code(original)
    sentence, reaction = _known(code, str(original)) or _unknown(original, code)
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        reaction = SqlReaction.RECONNECT
    if code in _HUNG_UP and _holds_much(error):
        sentence = TOO_LARGE_PERHAPS
    detail = f"{type(original).__name__} {code}".strip()
    return SqlFault(sentence, reaction, detail, words_of(original))


def _holds_much(error: BaseException) -> bool:
    """Return whether a statement had many bytes of values: MySQL hangs up on too many."""
    values = getattr(error, "params", None)
    if isinstance(values, dict):
        values = list(values.values())
    if not isinstance(values, (list, tuple)):
        return False
    return sum(len(value) for value in values if isinstance(value, (bytes, str))) > _MUCH


def _code(original: BaseException) -> str:
    """Return a number of MySQL, SQLSTATE, or SQLite's name of the error; empty if there is none.

    MySQL's drivers have SQLSTATEs too, which tell less than the numbers.
    """
    if not isinstance(original, OSError) and original.args and type(original.args[0]) is int:
        return str(original.args[0])
    for name in ("sqlstate", "pgcode", "sqlite_errorname"):
        code = getattr(original, name, None)
        if code:
            return str(code)
    fields = original.args[0] if original.args else None
    return str(fields.get("C", "")) if isinstance(fields, dict) else ""  # pg8000's


def _known(code: str, text: str) -> Known | None:
    if code.isdigit() and len(code) == 4 and code in BY_NUMBER:
        return BY_NUMBER[code]
    if code in BY_STATE:
        return BY_STATE[code]
    if len(code) == 5 and code[:2] in BY_CLASS:
        return BY_CLASS[code[:2]]
    if _is_of_server(code):
        return None
    for part, sentence, reaction in BY_TEXT:
        if part in text:
            return sentence, reaction
    return None


def _unknown(original: BaseException, code: str) -> Known:
    """Return the fault of an unknown error.

    libpq and MySQL's drivers give no SQLSTATE for errors of their own: then there is no connection.
    """
    names = {cls.__name__ for cls in type(original).__mro__}
    if _is_of_server(code) or isinstance(original, sqlite3.Error):
        return "answered with an error", SqlReaction.REPORT
    if isinstance(original, OSError) or names & {"OperationalError", "InterfaceError"}:
        return LOST
    if "DatabaseError" in names:
        return "answered with an error", SqlReaction.REPORT
    return (
        "cannot be used: correct the store URL, or report it if that is right",
        SqlReaction.GIVE_UP,
    )


def _is_of_server(code: str) -> bool:
    """Return whether it is a SQLSTATE, or a number of MySQL outside of the client's range."""
    return len(code) == 5 or (code.isdigit() and len(code) == 4 and code[0] != "2")
