"""Known faults of SQL databases: by code or text, a sentence with the remedy, and the reaction.

They are found by SQLSTATE (PostgreSQL), by MySQL's numbers, by SQLite's messages, and by libpq's,
which has no codes for faults before there is a connection.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    Known = tuple[str, "SqlReaction"]

MIGRATE = "wsgi-sessions migrate-schema"


class SqlReaction(enum.Enum):
    """The reaction of the engine to a fault."""

    AGAIN = "the database undid the transaction: try again until the deadline"
    RECONNECT = "no answer, and perhaps done: try once more on a fresh connection"
    REPORT = "the database has spoken: fail at once"
    GIVE_UP = "the driver itself failed: fail at once"


UNREACHABLE = "cannot be reached, or hung up: is it running?"
SLOW = "did not answer within the deadline: is it hung, overloaded, or far?"
_BUSY = "was kept busy by other transactions until the deadline: look for long ones"
_SCHEMA = f"lacks the tables of this release: run {MIGRATE}, or set `sql_schema=create`"
_REFUSED = "refused the user name or password: correct them in the store URL"
_FORBIDDEN = "forbids this user what sessions need: grant SELECT, INSERT, UPDATE and DELETE"
_FULL = "has no room: free some"
_READ_ONLY = "takes no writes: let the store URL name the primary, and look at permissions"
_ABSENT = "does not exist: create it, or correct the store URL"
_CROWDED = "has no room for a client: raise its max_connections, or run fewer workers"
_STARTING = "is starting or stopping: it answers when that is done"
_DAMAGED = "is damaged: restore it from a backup"
_STOPPED = "had the statement ended by an administrator, or by a limit"
_HOST = "takes no connections from this host: allow it, in pg_hba.conf or by CREATE USER"
_UNKNOWN_HOST = "has a host name that is not known here: correct the store URL, or the resolver"
_TLS = (
    "and this side cannot agree on TLS: look at the TLS options in the store URL, and whether its "
    "certificate names the host as the store URL does"
)
_POOLER = (
    "is behind a pooler, or speaks as one, that refused the connection or lost the server: look at "
    "its log, and leave options out of the store URL"
)
_NAMES = (
    "is behind a pooler, where names of prepared statements collide: leave prepare_threshold out "
    "of the store URL"
)
_TOO_LARGE = (
    "takes no statement of this size: raise its max_allowed_packet above twice "
    "`max_size`, or lower that"
)
TOO_LARGE_PERHAPS = (
    "hung up on a statement of much data: is its max_allowed_packet above twice "
    "`max_size`, and is it running?"
)
_STATEMENTS = (
    "logs statements, and so takes no changes under READ COMMITTED: set binlog_format to ROW or "
    "MIXED, or give the Engine isolation_level='REPEATABLE READ'"
)
_LOG_IN = (
    "wants a way to log in that the driver lacks: pip install cryptography, or let CREATE USER "
    "name another one"
)
_EXPIRED = "says that this user's password has expired: change it, and the store URL"

AGAIN: Known = (_BUSY, SqlReaction.AGAIN)
LOST: Known = (UNREACHABLE, SqlReaction.RECONNECT)


def _report(sentence: str, *codes: str) -> dict[str, Known]:
    return dict.fromkeys(codes, (sentence, SqlReaction.REPORT))


BY_STATE: Mapping[str, Known] = {
    **dict.fromkeys(("40001", "40P01", "55P03"), AGAIN),
    **dict.fromkeys(("57P01", "57P02", "57P05", "25P03"), LOST),
    "08P01": (_POOLER, SqlReaction.RECONNECT),
    **_report(SLOW, "57014"),
    **_report(_STARTING, "57P03"),
    **_report(_SCHEMA, "42P01", "42703", "3F000"),
    **_report(_FORBIDDEN, "42501"),
    **_report(_ABSENT, "3D000"),
    **_report(_READ_ONLY, "25006"),
    **_report(_CROWDED, "53300"),
    **_report(_NAMES, "42P05", "26000"),
    **_report(_DAMAGED, "XX001", "XX002"),
}
"""Faults by SQLSTATE."""
BY_CLASS: Mapping[str, Known] = {"08": LOST, **_report(_REFUSED, "28"), **_report(_FULL, "53")}
"""Faults by the first two characters of a SQLSTATE."""
BY_NUMBER: Mapping[str, Known] = {
    **dict.fromkeys(("1205", "1213", "1020"), AGAIN),
    **dict.fromkeys(("1053", "1077", "1078", "1079", "1080", "1184", "1927", "4031"), LOST),
    **dict.fromkeys(("1152", "1158", "1159", "1160", "1161"), LOST),
    **_report(SLOW, "1969", "3024"),
    **_report(_STOPPED, "1317"),
    **_report(_SCHEMA, "1146", "1054"),
    **_report(_REFUSED, "1045", "1698"),
    **_report(_FORBIDDEN, "1044", "1142", "1143", "1227", "1370"),
    **_report(_ABSENT, "1049"),
    **_report(_READ_ONLY, "1036", "1290", "1792", "1836"),
    **_report(_CROWDED, "1040", "1203", "1226"),
    **_report(_FULL, "1021", "1041", "1114"),
    **_report(_STATEMENTS, "1665"),
    **_report(_TOO_LARGE, "1153", "2020"),
    **_report(_HOST, "1129", "1130"),
    **_report(_LOG_IN, "1251", "1524", "2054", "2059", "2061"),
    **_report(_EXPIRED, "1820", "1862"),
    **_report(_TLS, "2026", "3159"),
    **_report(_UNKNOWN_HOST, "2005"),
    **_report(_DAMAGED, "1034", "1194", "1195", "1932"),
}
"""Faults by MySQL's error number."""
# SQLite's drivers give no codes before Python 3.11.
_SQLITE: tuple[tuple[str, str, SqlReaction], ...] = (
    ("database is locked", *AGAIN),
    ("database table is locked", *AGAIN),
    ("database schema is locked", *AGAIN),
    ("database schema has changed", *AGAIN),
    ("no such table", _SCHEMA, SqlReaction.REPORT),
    ("no such column", _SCHEMA, SqlReaction.REPORT),
    ("has no column named", _SCHEMA, SqlReaction.REPORT),
    ("readonly database", _READ_ONLY, SqlReaction.REPORT),
    ("database or disk is full", _FULL, SqlReaction.REPORT),
    (
        "unable to open",
        f"cannot be opened: look at the folder and its permissions, or make the file: {MIGRATE}",
        SqlReaction.REPORT,
    ),
    ("disk I/O error", "has a disk that fails, or lost its file", SqlReaction.REPORT),
    ("malformed", _DAMAGED, SqlReaction.REPORT),
    ("not a database", "is not a SQLite database: name another file", SqlReaction.REPORT),
)
_CONNECTING: tuple[tuple[str, str, SqlReaction], ...] = (
    ("unsupported startup parameter", _POOLER, SqlReaction.REPORT),
    ("password authentication failed", _REFUSED, SqlReaction.REPORT),
    ("no password supplied", _REFUSED, SqlReaction.REPORT),
    ("no such user", _REFUSED, SqlReaction.REPORT),
    ("no pg_hba.conf entry", _HOST, SqlReaction.REPORT),
    ("no such database", _ABSENT, SqlReaction.REPORT),
    ('FATAL:  database "', _ABSENT, SqlReaction.REPORT),
    ('FATAL:  role "', _REFUSED, SqlReaction.REPORT),
    ("starting up", _STARTING, SqlReaction.REPORT),
    ("shutting down", _STARTING, SqlReaction.REPORT),
    ("too many c", _CROWDED, SqlReaction.REPORT),  # clients, connections
    ("connection slots", _CROWDED, SqlReaction.REPORT),
    ("no more connections allowed", _CROWDED, SqlReaction.REPORT),
    ("session is read-only", _READ_ONLY, SqlReaction.REPORT),
    ("server is in hot standby", _READ_ONLY, SqlReaction.REPORT),
    ("could not translate host name", _UNKNOWN_HOST, SqlReaction.REPORT),
    ("failed to resolve host", _UNKNOWN_HOST, SqlReaction.REPORT),
    ("Name or service not known", _UNKNOWN_HOST, SqlReaction.REPORT),
    ("certificate", _TLS, SqlReaction.REPORT),
    ("does not support SSL", _TLS, SqlReaction.REPORT),
    (
        "invalid connection option",
        "has an unknown option in its URL: correct it",
        SqlReaction.REPORT,
    ),
    ("within the deadline", SLOW, SqlReaction.RECONNECT),
    ("timed out", SLOW, SqlReaction.RECONNECT),
    ("timeout expired", SLOW, SqlReaction.RECONNECT),
    ("'cryptography' package", _LOG_IN, SqlReaction.REPORT),
)
BY_TEXT = _SQLITE + _CONNECTING
"""Faults by a part of the text, where no code tells them."""
