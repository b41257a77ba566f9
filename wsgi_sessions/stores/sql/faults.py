"""What can go wrong between a store and a SQL database, and what each fault calls for.

Decided by SQLSTATE (PostgreSQL), by SQLite's messages and by MySQL's numbers: drivers share no
finer classes.
"""

from __future__ import annotations

import enum
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import exc

from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import short_key

if TYPE_CHECKING:
    from collections.abc import Mapping

MIGRATE = "wsgi-sessions migrate-schema"


class Reaction(enum.Enum):
    """What the engine does about a fault."""

    AGAIN = "the database undid the transaction: try again until the deadline"
    RECONNECT = "no answer, and perhaps done: try once more on a fresh connection"
    REPORT = "the database has spoken: fail at once"


class Fault(NamedTuple):
    """One kind of fault: the sentence about it, the reaction to it, and what may be logged."""

    sentence: str
    reaction: Reaction
    detail: str = ""

    def error(
        self, database: str, operation: str, key: str | None, attempts: int
    ) -> StoreUnavailable:
        """The exception that leaves the store. Its cause bears the driver's code, not its text:
        that may hold keys and payloads."""
        error = StoreUnavailable(
            f"{database} {self.sentence}",
            operation=operation,
            key=None if key is None else short_key(key),
            attempts=attempts,
        )
        error.__cause__ = DatabaseFault(self.detail)
        return error


class DatabaseFault(Exception):
    """What the driver raised: its class and code."""


_BUSY = "was kept busy by other transactions until the deadline: look for long ones"
UNREACHABLE = "cannot be reached, or hung up: is it running?"
_SLOW = "did not answer within the deadline: is it hung, overloaded, or far?"
_SCHEMA = f"lacks the tables of this release: run {MIGRATE}, or set WSGI_SESSIONS_SQL_SCHEMA=create"
_REFUSED = "refused the user name or password: correct them in the store URL"
_FORBIDDEN = "forbids this user what sessions need: grant SELECT, INSERT, UPDATE and DELETE"
_FULL = "has no room: free some"
_READ_ONLY = "takes no writes: let the store URL name the primary, and look at permissions"

_BY_STATE: Mapping[str, tuple[str, Reaction]] = {
    "40001": (_BUSY, Reaction.AGAIN),
    "40P01": (_BUSY, Reaction.AGAIN),
    "55P03": (_BUSY, Reaction.AGAIN),
    "57014": (_SLOW, Reaction.REPORT),
    "57P01": (UNREACHABLE, Reaction.RECONNECT),
    "57P02": (UNREACHABLE, Reaction.RECONNECT),
    "57P03": ("is starting or stopping: it answers when that is done", Reaction.REPORT),
    "57P05": (UNREACHABLE, Reaction.RECONNECT),
    "25P03": (UNREACHABLE, Reaction.RECONNECT),
    "42P01": (_SCHEMA, Reaction.REPORT),
    "42703": (_SCHEMA, Reaction.REPORT),
    "42501": (_FORBIDDEN, Reaction.REPORT),
    "3D000": ("does not exist: create it, or correct the store URL", Reaction.REPORT),
    "25006": (_READ_ONLY, Reaction.REPORT),
    "53300": ("has no room for a client: raise its max_connections", Reaction.REPORT),
}
_BY_CLASS: Mapping[str, tuple[str, Reaction]] = {
    "08": (UNREACHABLE, Reaction.RECONNECT),
    "28": (_REFUSED, Reaction.REPORT),
    "53": (_FULL, Reaction.REPORT),
}
_BY_NUMBER: Mapping[int, tuple[str, Reaction]] = {
    1205: (_BUSY, Reaction.AGAIN),
    1213: (_BUSY, Reaction.AGAIN),
    1020: (_BUSY, Reaction.AGAIN),
    1146: (_SCHEMA, Reaction.REPORT),
    1054: (_SCHEMA, Reaction.REPORT),
    1045: (_REFUSED, Reaction.REPORT),
    1049: ("does not exist: create it, or correct the store URL", Reaction.REPORT),
    1142: (_FORBIDDEN, Reaction.REPORT),
    1290: (_READ_ONLY, Reaction.REPORT),
    1040: ("has no room for a client: raise its max_connections", Reaction.REPORT),
}
# SQLite's drivers give no codes before Python 3.11.
_BY_TEXT: tuple[tuple[str, str, Reaction], ...] = (
    ("database is locked", _BUSY, Reaction.AGAIN),
    ("database table is locked", _BUSY, Reaction.AGAIN),
    ("database schema is locked", _BUSY, Reaction.AGAIN),
    ("database schema has changed", _BUSY, Reaction.AGAIN),
    ("no such table", _SCHEMA, Reaction.REPORT),
    ("no such column", _SCHEMA, Reaction.REPORT),
    ("has no column named", _SCHEMA, Reaction.REPORT),
    ("readonly database", _READ_ONLY, Reaction.REPORT),
    ("database or disk is full", _FULL, Reaction.REPORT),
    (
        "unable to open",
        f"cannot be opened: look at the folder and its permissions, or make the file: {MIGRATE}",
        Reaction.REPORT,
    ),
    ("disk I/O error", "has a disk that fails, or lost its file", Reaction.REPORT),
    ("malformed", "is damaged: restore it from a backup", Reaction.REPORT),
    ("not a database", "is no SQLite database: name another file", Reaction.REPORT),
)


def fault_of(error: exc.SQLAlchemyError) -> Fault:
    """The fault behind an exception of SQLAlchemy."""
    if isinstance(error, exc.TimeoutError):
        sentence = "has no free connection in this process's pool: hand in an Engine with more"
        return Fault(sentence, Reaction.REPORT, "the pool's time-out")
    original = getattr(error, "orig", None)
    if original is None:
        return Fault("cannot be used: see the cause", Reaction.REPORT, type(error).__name__)
    code = _code(original)
    sentence, reaction = _known(code, str(original)) or _unknown(error, code)
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        reaction = Reaction.RECONNECT
    detail = f"{type(original).__name__} {code}".strip()
    return Fault(sentence, reaction, detail)


def _code(original: BaseException) -> str:
    """SQLSTATE, a number of MySQL, or SQLite's name of the error; empty if there is none."""
    for name in ("sqlstate", "pgcode", "sqlite_errorname"):
        code = getattr(original, name, None)
        if code:
            return str(code)
    if original.args and isinstance(original.args[0], int):
        return str(original.args[0])
    return ""


def _known(code: str, text: str) -> tuple[str, Reaction] | None:
    if code.isdigit() and len(code) == 4:
        return _BY_NUMBER.get(int(code))
    if code in _BY_STATE:
        return _BY_STATE[code]
    if len(code) == 5 and code[:2] in _BY_CLASS:
        return _BY_CLASS[code[:2]]
    for part, sentence, reaction in _BY_TEXT:
        if part in text:
            return sentence, reaction
    return None


def _unknown(error: exc.SQLAlchemyError, code: str) -> tuple[str, Reaction]:
    """libpq and MySQL's drivers give no SQLSTATE of what they find themselves: no connection."""
    if isinstance(error, (exc.OperationalError, exc.InterfaceError)) and not (
        isinstance(error.orig, sqlite3.Error) or len(code) == len("08000")
    ):
        return UNREACHABLE, Reaction.RECONNECT
    return "answered with an error: see the cause", Reaction.REPORT
