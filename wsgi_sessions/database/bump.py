"""Version stamps in a SQL database, bumped in the transaction that changes the data.

They are in a table of our own, which `database.version_table.create_version_table` makes, or in
rows of an existing table of settings::

    with psycopg.connect(dsn) as connection:      # one transaction: all of it, or nothing
        load_everything(connection)
        bump_version(connection, "league:5", table=SYSTEM_SETTINGS)

Tested on SQLite and PostgreSQL. Other databases work as far as they understand the same statements;
without ``ON CONFLICT`` (MySQL), the rows must exist before they are bumped.
"""

# ruff: noqa: S608 - names cannot be parameters; VersionTable accepts only plain identifiers

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_sessions.contract import Bump
from wsgi_sessions.database.dbapi import executor, seconds_of
from wsgi_sessions.database.unpooled import open_unpooled
from wsgi_sessions.database.version_table import GLOBAL, OWN_TABLE
from wsgi_sessions.database.words import words_of
from wsgi_sessions.errors import ConfigurationError, StoreUnavailable, bare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wsgi_sessions.database.dbapi import Execute, ParamStyle
    from wsgi_sessions.database.version_table import VersionTable

T = TypeVar("T")

_MAX_ATTEMPTS = 50
_DESCRIPTION = "Sessions made from data of another version are refreshed (wsgi_sessions)."


def bump_version(
    connection: Any,
    scope: str = GLOBAL,
    *,
    table: VersionTable = OWN_TABLE,
    paramstyle: ParamStyle | None = None,
    least: int = 0,
) -> int:
    """Add one to the version of a scope in the transaction of `connection`; return the sum.

    The bump is visible when that transaction commits, and never if it is rolled back. This function
    does neither. Other bumps of the scope wait for the transaction, so bump near its end. A missing
    row is made.

    Args:
        connection: DB-API 2.0 (PEP 249), SQLAlchemy, or a SQLAlchemy ORM session. With autocommit,
            the bump alone is atomic.
        least: the least new version.
        paramstyle: see `executor`.

    Raises:
        ConfigurationError: `connection` is not one, or the row does not hold a whole number.

    Errors of the driver are raised as they are.
    """
    if not scope:
        raise ConfigurationError("a scope has to have a name")
    execute, name = executor(connection, paramstyle), table.row_of(scope)
    for _ in range(_MAX_ATTEMPTS):
        version = _advance(execute, table, name, least) or _insert(execute, table, name, least)
        if version is not None:
            return version
    raise StoreUnavailable(
        f"the version of {scope[:80]!a} is bumped by too many at once: bump it in a transaction",
        operation="bump",
    )


def _advance(execute: Execute, table: VersionTable, name: str, least: int) -> int | None:
    """Add one to the row; None if there is none, or another bump was faster.

    The first statement changes nothing: it takes the row's lock (in SQLite, the database's), so
    that no other bump comes in between. With autocommit it holds nothing, and the comparison
    decides. The number is written as a literal, which fits integer and text columns alike.
    """
    lock = f"UPDATE {table.name} SET {table.scope} = {table.scope} WHERE {table.scope} = :name"
    if not execute(lock, {"name": name}).affected:
        return None
    select = f"SELECT {table.version} FROM {table.name} WHERE {table.scope} = :name"
    rows = execute(select, {"name": name}).rows
    if not rows:
        return None
    old = rows[0][0]
    version = max(_whole(old, table, name) + 1, least)
    touched = f", {table.updated_at} = CURRENT_TIMESTAMP" if table.updated_at else ""
    update = (
        f"UPDATE {table.name} SET {table.version} = '{version:d}'{touched} "
        f"WHERE {table.scope} = :name AND {table.version} = :old"
    )
    return version if execute(update, {"name": name, "old": old}).affected else None


def _insert(execute: Execute, table: VersionTable, name: str, least: int) -> int | None:
    """Insert the row, at version 1 or `least`; return None if it exists."""
    version = max(1, least)
    values = {table.scope: ":name", table.version: f"'{version:d}'"}
    if table.description:
        values[table.description] = ":description"
    for column in filter(None, (table.created_at, table.updated_at)):
        values[column] = "CURRENT_TIMESTAMP"
    statement = (
        f"INSERT INTO {table.name} ({', '.join(values)}) VALUES ({', '.join(values.values())}) "
        f"ON CONFLICT ({table.scope}) DO NOTHING"
    )
    parameters = {"name": name, "description": _DESCRIPTION}
    return version if execute(statement, parameters).affected > 0 else None


def read_versions(execute: Execute, table: VersionTable, scopes: Sequence[str]) -> dict[str, int]:
    """Return the version of each scope; there must be at least one scope.

    Raises StoreUnavailable if a row does not hold a whole number. Errors of the driver are raised
    too.
    """
    names = {f"name{number}": table.row_of(scope) for number, scope in enumerate(scopes)}
    markers = ", ".join(f":{marker}" for marker in names)
    select = (
        f"SELECT {table.scope}, {table.version} FROM {table.name} "
        f"WHERE {table.scope} IN ({markers})"
    )
    found = {name: _stored(value, table, name) for name, value in execute(select, names).rows}
    return {scope: found.get(table.row_of(scope), 0) for scope in scopes}


def read_history(execute: Execute, table: VersionTable, scope: str) -> list[Bump]:
    """Return the latest bump, the only one in the table. Raises as `read_versions`."""
    if table.updated_at is None:
        return []
    name = table.row_of(scope)
    select = (
        f"SELECT {table.version}, {table.updated_at} FROM {table.name} WHERE {table.scope} = :name"
    )
    rows = execute(select, {"name": name}).rows
    return [Bump(_stored(value, table, name), seconds_of(at)) for value, at in rows]


class SqlVersions:
    """`VersionStamps` in a SQL database; the sessions may be elsewhere, in Redis or files.

    Args:
        connect: returns a new connection at each call, closed after use: ``engine.connect`` of
            SQLAlchemy, or ``lambda: sqlite3.connect(path)``. A driver's own `connect` makes each
            look-up pay for the connection; the cache, `CachedStamps`, makes them rare.

    Raises:
        StoreUnavailable: also if the table is missing (see `create_version_table`).
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        *,
        table: VersionTable = OWN_TABLE,
        paramstyle: ParamStyle | None = None,
    ) -> None:
        self._connect = connect
        self._table = table
        self._paramstyle: ParamStyle | None = paramstyle

    def current(self, scopes: Sequence[str]) -> dict[str, int]:
        """See `VersionStamps.current`. One round trip, with a pooled connection."""
        if not scopes:
            return {}
        return self._on_connection(
            "versions", lambda c: read_versions(self._execute(c), self._table, scopes)
        )

    def bump(self, scope: str, *, least: int = 0) -> int:
        """See `VersionStamps.bump`. In a transaction of its own."""

        def work(connection: Any) -> int:
            version = bump_version(
                connection,
                scope,
                table=self._table,
                paramstyle=self._paramstyle,
                least=least,
            )
            connection.commit()
            return version

        return self._on_connection("bump", work)

    def history(self, scope: str, limit: int = 20) -> list[Bump]:
        """See `VersionStamps.history`. The table has the latest bump only."""
        if limit < 1:
            return []
        return self._on_connection(
            "versions", lambda c: read_history(self._execute(c), self._table, scope)
        )

    def _execute(self, connection: Any) -> Execute:
        return executor(connection, self._paramstyle)

    def _on_connection(self, operation: str, work: Callable[[Any], T]) -> T:
        try:
            with closing(self._connect()) as connection:
                return work(connection)
        except (StoreUnavailable, ConfigurationError):
            raise
        except Exception as error:  # noqa: BLE001  # drivers share no base class
            said = words_of(getattr(error, "orig", None) or error)
            raise StoreUnavailable(
                f"the version table {self._table.name} cannot be used "
                f"({type(error).__name__}{said and f': {said}'}): check that the database "
                "answers, and that create_version_table was called",
                operation=operation,
            ) from bare(error)


def open_sql_versions(
    url: str, *, timeout: float = 1.0, table: VersionTable = OWN_TABLE
) -> SqlVersions:
    """Return the stamps in the database at a SQLAlchemy URL; ``postgresql://`` means psycopg 3.

    No connection stays open between look-ups, so that forked workers share none. `timeout`
    (seconds) bounds a statement on PostgreSQL and the wait for a lock on SQLite; connecting to
    PostgreSQL may take up to two seconds, which is libpq's minimum.

    Raises ConfigurationError, without the URL, which may hold a password.
    """
    engine = open_unpooled(
        url,
        timeout=timeout,
        setting="the version stamps",
        forms="postgresql://user@host/database or sqlite:////absolute/path",
    )
    return SqlVersions(engine.connect, table=table)


def _whole(value: object, table: VersionTable, name: str) -> int:
    """Return a version from an integer or a text column."""
    try:
        return int(value)  # type: ignore[call-overload, no-any-return]  # what the driver gave
    except (TypeError, ValueError):
        raise ConfigurationError(
            f"{table.name}: the row {name[:80]!a} does not hold a whole number: set "
            f"{table.version} to one"
        ) from None


def _stored(value: object, table: VersionTable, name: str) -> int:
    try:
        return _whole(value, table, name)
    except ConfigurationError as error:
        raise StoreUnavailable(str(error), operation="versions") from bare(error)
