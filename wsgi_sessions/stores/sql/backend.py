"""Sessions in a SQL database: PostgreSQL, SQLite, and MariaDB or MySQL where there is a driver.

The tables are in `sql.schema`; all their names begin with ``wsgi_sessions``. ``wsgi-sessions
migrate-schema`` makes them, or the first use if a setting asks for that, and nothing else does.

Every change is a compare-and-set in one statement, and records expire by the database's own clock.
Several applications in one database share its sessions: give each a database of its own, or in
PostgreSQL a schema (``?options=-csearch_path%3Dapp``).

Not promised: that an acknowledged write survives a failover to an asynchronous standby, or, with
SQLite's ``synchronous=NORMAL``, a power failure. With the application's own `Engine`, the time-outs
for connecting and for a hung server are those of the Engine.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from sqlalchemy import Engine

from wsgi_sessions.contract import Backend
from wsgi_sessions.database.connect import connect_sql, label_of, parse_sql_url
from wsgi_sessions.database.sqlite import use_wal_if_empty
from wsgi_sessions.errors import ConfigurationError
from wsgi_sessions.stores.databases import MIGRATION_SECONDS
from wsgi_sessions.stores.sql.contexts import SqlContexts
from wsgi_sessions.stores.sql.endings import SqlEndings
from wsgi_sessions.stores.sql.engine.transactions import SqlEngine
from wsgi_sessions.stores.sql.index import SqlIndex
from wsgi_sessions.stores.sql.leases import SqlLeaseListing, SqlLeases
from wsgi_sessions.stores.sql.locks import SqlHolds
from wsgi_sessions.stores.sql.quarantine import SqlQuarantine
from wsgi_sessions.stores.sql.refreshes import SqlRefreshes
from wsgi_sessions.stores.sql.schema import (
    create_schema,
    ensure_schema,
    require_schema,
    schema_version,
)
from wsgi_sessions.stores.sql.sessions import SqlExpiry, SqlIteration, SqlStore
from wsgi_sessions.stores.sql.upkeep import SqlAdvice, SqlClock, SqlDiagnosis, SqlUpkeep
from wsgi_sessions.stores.sql.versions import SqlStamps
from wsgi_sessions.stores.token_locks import TokenLocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from wsgi_sessions.stores.sql.engine.transactions import Work


def open_sql(target: str | Engine, *, timeout: float = 1.0, create_all: bool = False) -> Backend:
    """The implementation of `stores.databases.open_sql`, which is public."""
    if create_all:
        engine = _engine(target, timeout, _ensure_in(target), create="file")
    else:
        engine = _engine(target, timeout, require_schema)
    quarantine = SqlQuarantine(engine)
    sessions = SqlStore(engine, quarantine)
    leases = SqlLeases(engine)
    iteration = SqlIteration(engine)
    return Backend(
        name=engine.dialect,
        sessions=sessions,
        iteration=iteration,
        search=iteration,
        index=SqlIndex(engine),
        locks=TokenLocks(SqlHolds(engine)),
        quarantine=quarantine,
        expired=SqlExpiry(engine),
        leftovers=SqlUpkeep(engine, quarantine, leases),
        advice=SqlAdvice(engine),
        diagnosis=SqlDiagnosis(engine),
        versions=SqlStamps(engine),
        contexts=SqlContexts(engine),
        leases=leases,
        lease_listing=SqlLeaseListing(engine),
        clock=SqlClock(engine),
        refreshes=SqlRefreshes(engine),
        endings=SqlEndings(engine),
    )


def migrate_schema(target: str | Engine, *, timeout: float = MIGRATION_SECONDS) -> tuple[int, int]:
    """The implementation of `stores.databases.migrate_schema`, which is public."""
    # The application's own Engine is used as it is, its journal too.
    prepare = None if isinstance(target, Engine) else use_wal_if_empty
    engine = _engine(target, timeout, prepare, create="file")
    try:
        return create_schema(engine), schema_version(engine)
    finally:
        engine.close()


def _ensure_in(target: str | Engine) -> Callable[[Connection], Work | None]:
    """See `ensure_schema`. A SQLite file of our own gets its write-ahead log first."""
    if isinstance(target, Engine):
        return ensure_schema

    def prepare(connection: Connection) -> Work | None:
        use_wal_if_empty(connection)
        return ensure_schema(connection)

    return prepare


def _engine(
    target: str | Engine,
    timeout: float,
    prepare: Callable[[Connection], Work | None] | None,
    *,
    create: Literal["file", "nothing"] = "nothing",
) -> SqlEngine:
    if not 0 < timeout < math.inf:
        raise ConfigurationError(f"the store's timeout must be above 0 seconds, not {timeout}")
    if isinstance(target, Engine):
        label = label_of(target.url)
        return SqlEngine(
            target, label=label, timeout=timeout, prepare=prepare, ownership="borrowed"
        )
    url = parse_sql_url(target)
    engine = connect_sql(url, timeout, create=create)
    return SqlEngine(engine, label=label_of(url), timeout=timeout, prepare=prepare)
