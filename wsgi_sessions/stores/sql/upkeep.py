"""The upkeep of the SQL store by one elected process, and its warnings."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import or_, select, text, update

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.stores.sql.schema import locks, principals, read_version, schema
from wsgi_sessions.stores.sql.sessions import delete_chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy import Connection

    from wsgi_sessions.stores.sql.engine.transactions import SqlEngine
    from wsgi_sessions.stores.sql.leases import SqlLeases
    from wsgi_sessions.stores.sql.quarantine import SqlQuarantine

_CHUNK = 500
_LARGEST_CLOCK_DIFFERENCE = 5.0


class SqlUpkeep:
    """`Leftovers`: abandoned rows of locks, leases and the index, by their expiry."""

    def __init__(self, engine: SqlEngine, quarantine: SqlQuarantine, leases: SqlLeases) -> None:
        self._engine = engine
        self._quarantine = quarantine
        self._leases = leases

    @contextmanager
    def elect(self, interval: float) -> Iterator[bool]:
        """See `Leftovers.elect`. The process that can set the time of the last sweep is elected."""
        now, last = self._engine.now, schema.c.swept_at
        # A time in the future was set before the database's clock was set back.
        is_due = or_(last.is_(None), last <= now - interval, last > now + 1.0)
        statement = update(schema).where(is_due).values(swept_at=now)
        yield self._engine.single("elect", None, lambda c: c.execute(statement)).rowcount > 0

    def remove_leftovers(self) -> dict[str, int]:
        """See `Leftovers.remove_leftovers`."""
        engine = self._engine
        return {
            "locks": _in_chunks(lambda n: delete_chunk(engine, "locks", locks, n, engine.now)),
            "leases": _in_chunks(self._leases.delete_expired),
            "index": _in_chunks(
                lambda n: delete_chunk(engine, "index", principals, n, engine.expiry_now)
            ),
            "quarantined": self._quarantine.remove_old(),
        }


def _in_chunks(remove: Callable[[int], int]) -> int:
    removed = 0
    while True:
        count = remove(_CHUNK)
        removed += count
        if count < _CHUNK:
            return removed


class SqlAdvice:
    """`Advice` about settings that lose sessions, and clocks that disagree.

    Raises `StoreUnavailable` if the database does not answer.
    """

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine

    def warnings(self) -> list[str]:
        settings = {"postgresql": _of_postgresql, "sqlite": _of_sqlite}.get(self._engine.dialect)
        found = [] if settings is None else self._engine.single("advice", None, settings)
        difference = SqlClock(self._engine).now() - wall_clock()
        if abs(difference) > _LARGEST_CLOCK_DIFFERENCE:
            found.append(
                f"this host's clock and the database's differ by {difference:.0f} s: absolute "
                "lifetimes end that much too early or too late; let both follow NTP"
            )
        return found


class SqlDiagnosis:
    """`Diagnosis` of the database: its kind, and the version of its tables."""

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine

    def facts(self) -> Mapping[str, str | int | float]:
        """See `Diagnosis.facts`."""
        version = self._engine.single("diagnose", None, read_version)
        return {"database": self._engine.label, "schema_version": version}

    def tidy(self, key: str) -> None:
        """See `Diagnosis.tidy`: there is nothing to remove."""


class SqlClock:
    """`StoreClock` of the database."""

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine

    def now(self) -> float:
        """See `StoreClock.now`."""
        statement = select(self._engine.now)
        now: float = self._engine.single("clock", None, lambda c: c.execute(statement).scalar_one())
        return now


def _of_postgresql(connection: Connection) -> list[str]:
    found = []
    if connection.execute(text("SHOW fsync")).scalar() == "off":
        found.append(
            "PostgreSQL runs with fsync=off: a crash of its host may destroy all of its data; "
            "set fsync=on"
        )
    if connection.execute(text("SHOW transaction_read_only")).scalar() == "on":
        found.append(
            "PostgreSQL is read-only, a standby perhaps: no session can be saved; let the store "
            "URL name the primary (target_session_attrs=read-write)"
        )
    return found


def _of_sqlite(connection: Connection) -> list[str]:
    found = []
    if connection.exec_driver_sql("PRAGMA journal_mode").scalar() not in ("wal", "memory"):
        found.append(
            "SQLite does not use WAL: readers and writers keep each other out, and on a network "
            "file system locks may fail; keep the file on a local disk and set journal_mode=WAL"
        )
    if connection.exec_driver_sql("PRAGMA synchronous").scalar() == 0:
        found.append(
            "SQLite runs with synchronous=OFF: a power failure may destroy the file; set NORMAL"
        )
    for _, name, path in connection.exec_driver_sql("PRAGMA database_list"):
        if name == "main" and path and stat.S_IMODE(os.stat(path).st_mode) & 0o077:
            found.append(f"other users can open {path}, which holds the sessions: chmod 600 it")
    return found
