"""The tables of the SQL store, their version, and how they are created and upgraded."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sqlalchemy import (
    DDL,
    TIMESTAMP,
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    event,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateColumn

from wsgi_sessions.clock import monotonic
from wsgi_sessions.database.version_table import OWN_TABLE
from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.stores.sql.engine.causes import MIGRATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy import Connection

    from wsgi_sessions.stores.sql.engine.transactions import SqlEngine

SCHEMA_VERSION = 3
"""The version that this release needs; it grows by one with each change of the tables."""

metadata = MetaData()
_Key = String(64)  # SHA-256 in hex
_Bytes = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
# MySQL would take "League" and "league" for one.
_Name = String(64).with_variant(String(64, collation="utf8mb4_bin"), "mysql", "mariadb")
_Scope = String(255).with_variant(String(255, collation="utf8mb4_bin"), "mysql", "mariadb")

sessions = Table(
    "wsgi_sessions",
    metadata,
    Column("key", _Key, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("payload", _Bytes, nullable=False),
    Index("wsgi_sessions_by_expiry", "expires_at"),
)
principals = Table(  # `principal` is a hash: any text, of any length
    "wsgi_sessions_principals",
    metadata,
    Column("principal", _Key, primary_key=True),
    Column("key", _Key, primary_key=True),
    Column("expires_at", Double, nullable=False),
    Index("wsgi_sessions_principals_by_expiry", "expires_at"),
)
locks = Table(
    "wsgi_sessions_locks",
    metadata,
    Column("key", _Key, primary_key=True),
    Column("holder", String(64), nullable=False),
    Column("expires_at", Double, nullable=False),
    Index("wsgi_sessions_locks_by_expiry", "expires_at"),
)
holders = Table(
    "wsgi_sessions_holders",
    metadata,
    Column("key", _Key, primary_key=True),
    Column("holder", String(128), primary_key=True),
    Column("expires_at", Double, nullable=False),
    Index("wsgi_sessions_holders_by_expiry", "expires_at"),
)
claims = Table(  # a row for each recently used session: its lock, and its claimant
    "wsgi_sessions_claims",
    metadata,
    Column("key", _Key, primary_key=True),
    Column("holder", String(128), nullable=False),  # empty: none
    Column("expires_at", Double, nullable=False),
    Index("wsgi_sessions_claims_by_expiry", "expires_at"),
)
# Locks and leases are useless after a crash of the server, and not worth a wait for its disk.
_unlogged = DDL("ALTER TABLE %(table)s SET UNLOGGED")  # type: ignore[no-untyped-call]  # SQLAlchemy's
for _passing in (locks, holders, claims):
    event.listen(_passing, "after_create", _unlogged.execute_if(dialect="postgresql"))
contexts = Table(  # `id`: a hash of principal and name, which are in the record
    "wsgi_sessions_contexts",
    metadata,
    Column("id", _Key, primary_key=True),
    Column("record", _Bytes, nullable=False),
)
refreshes = Table(
    "wsgi_sessions_refreshes",
    metadata,
    Column("key", _Key, primary_key=True),
    Column("due_at", Double, nullable=False),
    Column("application", _Name, nullable=False, server_default=""),  # empty: it has no name
    Index("wsgi_sessions_refreshes_by_due", "due_at"),
)
quarantine = Table(
    "wsgi_sessions_quarantine",
    metadata,
    Column("key", _Key, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("payload", _Bytes, nullable=False),
    Column("reason", String(200), nullable=False),
    Column("set_aside_at", Double, nullable=False),
    Index("wsgi_sessions_quarantine_by_time", "set_aside_at"),
)
endings = Table(  # traces of ended sessions
    "wsgi_sessions_endings",
    metadata,
    Column("key", _Key, primary_key=True),
    Column("user", String(16), nullable=False),  # a pseudonym; empty: it had no user
    Column("at", Double, nullable=False),
    Column("trace", _Bytes, nullable=False),
    Index("wsgi_sessions_endings_by_user", "user", "at"),
    Index("wsgi_sessions_endings_by_time", "at"),
)
# as `database.version_table.create_version_table` makes it, which may have been here first
versions = Table(
    OWN_TABLE.name,
    metadata,
    Column(OWN_TABLE.scope, _Scope, primary_key=True),
    Column(OWN_TABLE.version, BigInteger, nullable=False),
    Column("created_at", TIMESTAMP(timezone=True)),
    Column("updated_at", TIMESTAMP(timezone=True)),
)
schema = Table(  # one row; `swept_at` is when a process was last elected to clean up
    "wsgi_sessions_schema",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    Column("swept_at", Double),
)


def _to_1(connection: Connection) -> None:
    """Upgrade from nothing, or from a database with version stamps only."""
    metadata.create_all(connection)


def _to_2(connection: Connection) -> None:
    """Upgrade to a refresh queue for each application.

    The queue of an application with a name starts empty: its sessions are scheduled at their next
    `keep_alive`.
    """
    column = refreshes.c.application
    present = inspect(connection).get_columns(refreshes.name)
    if column.name not in {each["name"] for each in present}:
        added = CreateColumn(column).compile(dialect=connection.dialect)
        connection.execute(text(f"ALTER TABLE {refreshes.name} ADD COLUMN {added}"))


def _to_3(connection: Connection) -> None:
    """Upgrade to traces of ended sessions."""
    endings.create(connection, checkfirst=True)


STEPS: Mapping[int, Callable[[Connection], None]] = {1: _to_1, 2: _to_2, 3: _to_3}
"""The steps from one version of the schema to the next, by the version that they lead to."""

_LOCK = 0x7773_6769  # "wsgi": one number, in the name space of advisory locks
# MySQL's are the server's, and short.
_WAITING_SECONDS = 10.0
_PAUSE = 0.02
_LOCK_NAME = "CONCAT('wsgi_sessions.', MD5(DATABASE()))"


def create_schema(engine: SqlEngine) -> int:
    """Create the tables, or upgrade them; return their former version. Rows stay.

    Idempotent. If several processes do it at once, one does it and the others wait.
    """
    return engine.run("migrate", None, lambda connection: upgrade(connection))


def upgrade(
    connection: Connection,
    steps: Mapping[int, Callable[[Connection], None]] = STEPS,
) -> int:
    """Take the missing steps in the transaction of `connection`; return the former version."""
    with _one_at_a_time(connection):
        before = read_version(connection)
        schema.create(connection, checkfirst=True)
        for version in sorted(steps):
            if version > before:
                steps[version](connection)
        latest = max(steps)
        if before == 0:
            connection.execute(insert(schema).values(id=1, version=latest))
        elif before < latest:
            connection.execute(update(schema).values(version=latest))
        return before


def schema_version(engine: SqlEngine) -> int:
    """Return the version of the tables in the database; 0 if there are none."""
    return engine.run("schema", None, read_version)


def read_version(connection: Connection) -> int:
    """See `schema_version`."""
    if not inspect(connection).has_table(schema.name):
        return 0
    return connection.execute(select(schema.c.version)).scalar() or 0


def require_schema(connection: Connection) -> None:
    """Raise StoreUnavailable if the tables are missing or older than this release needs."""
    version = read_version(connection)
    if version < SCHEMA_VERSION:
        raise StoreUnavailable(
            f"the session tables are at schema version {version}, this release needs "
            f"{SCHEMA_VERSION}: run {MIGRATE}, or set `sql_schema=create`",
            operation="schema",
        )


def ensure_schema(connection: Connection) -> Callable[[Connection], int] | None:
    """Return the step that makes the tables fit for this release, or None."""
    return upgrade if read_version(connection) < SCHEMA_VERSION else None


def _take_lock(connection: Connection) -> None:
    """Take MySQL's lock, asking again and again: its limit ends a statement that waits."""
    ask = text(f"SELECT GET_LOCK({_LOCK_NAME}, 0)")
    latest = monotonic() + _WAITING_SECONDS
    while connection.execute(ask).scalar() != 1:
        if monotonic() > latest:
            raise StoreUnavailable(
                "another process is making the session tables: wait for it, or end its connection",
                operation="schema",
            )
        time.sleep(_PAUSE)


@contextmanager
def _one_at_a_time(connection: Connection) -> Iterator[None]:
    """Let one of the upgrading processes go first. SQLite's write lock has done it."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
    if connection.dialect.name not in ("mysql", "mariadb"):
        yield
        return
    _take_lock(connection)
    try:
        yield
        connection.commit()  # the next process has to see it
        connection.execute(text(f"SELECT RELEASE_LOCK({_LOCK_NAME})"))
    except BaseException:
        connection.invalidate()  # the lock belongs to the connection, which would be used again
        raise
