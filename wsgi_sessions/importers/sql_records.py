"""Foreign sessions in a SQL table: Django's ``django_session``, read through SQLAlchemy."""

# ruff: noqa: S608 - names cannot be parameters; check_identifier lets plain ones in only

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_sessions.errors import ConfigurationError, StoreUnavailable
from wsgi_sessions.stores.sql.connection import check_identifier, executor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.stores.sql.connection import Execute, Outcome

T = TypeVar("T")


class SqlRecords:
    """`ForeignRecords` in a table. Times without a zone are UTC, as with Django's ``USE_TZ``.

    `connect` gives a connection of SQLAlchemy, which is closed after each use. `table` is a plain
    SQL name.
    """

    def __init__(self, connect: Callable[[], Any], table: str, clock: Callable[[], float]) -> None:
        self._connect = connect
        self._table = table
        self._clock = clock

    def load(self, name: str) -> bytes | None:
        row = self._row(name)
        if row is None or _seconds(row[1]) <= self._clock():
            return None
        return str(row[0]).encode()

    def delete(self, name: str) -> None:
        statement = f"DELETE FROM {self._table} WHERE session_key = :name"
        self._run("retire", lambda execute: execute(statement, {"name": name}))

    def names(self) -> Iterator[str]:
        select = f"SELECT session_key FROM {self._table}"
        outcome: Outcome = self._run("import", lambda execute: execute(select, {}))
        return (str(name) for (name,) in outcome.rows)

    def expires_at(self, name: str) -> float | None:
        row = self._row(name)
        return None if row is None else _seconds(row[1])

    def close(self) -> None:
        """Nothing stays open."""

    def _row(self, name: str) -> tuple[Any, ...] | None:
        select = f"SELECT session_data, expire_date FROM {self._table} WHERE session_key = :name"
        outcome: Outcome = self._run("import", lambda execute: execute(select, {"name": name}))
        return outcome.rows[0] if outcome.rows else None

    def _run(self, operation: str, work: Callable[[Execute], T]) -> T:
        try:
            with self._connect() as connection:
                result = work(executor(connection))
                connection.commit()
                return result
        except Exception as error:  # noqa: BLE001  # drivers share no base class
            # Not chained: the text of a driver's error has the names of sessions in it.
            raise StoreUnavailable(
                f"the table {self._table} of the sessions to import cannot be used "
                f"({type(error).__name__}): look whether the database answers",
                operation=operation,
            ) from None


def open_sql_records(
    url: str, *, table: str, timeout: float, clock: Callable[[], float]
) -> SqlRecords:
    """The records at a SQLAlchemy URL, which is not asked. Raises ConfigurationError.

    No connection stays open between questions, so that forked workers share none.
    """
    check_identifier(table, parts=2)
    try:
        from sqlalchemy import create_engine, make_url
        from sqlalchemy.exc import ArgumentError, NoSuchModuleError
        from sqlalchemy.pool import NullPool
    except ImportError:
        raise ConfigurationError(
            "importing from a database needs SQLAlchemy: pip install 'wsgi-sessions[sql]'"
        ) from None
    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        options = _connect_options(parsed.get_backend_name(), timeout)
        engine = create_engine(parsed, poolclass=NullPool, connect_args=options)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError) as error:
        raise ConfigurationError(
            f"WSGI_SESSIONS_IMPORT_FROM: no database can be opened there ({type(error).__name__}): "
            "write it as django+postgresql://user@host/database or django+sqlite:////absolute/path"
        ) from None
    if parsed.get_backend_name() == "sqlite" and not os.path.isfile(parsed.database or ""):
        raise ConfigurationError(
            f"WSGI_SESSIONS_IMPORT_FROM: there is no database file {parsed.database!a}"
        )
    return SqlRecords(engine.connect, table, clock)


def _connect_options(database: str, timeout: float) -> dict[str, Any]:
    if database == "postgresql":
        limit = f"-c statement_timeout={max(1, round(timeout * 1000))}"
        return {"connect_timeout": max(2, round(timeout)), "options": limit}
    return {"timeout": timeout} if database == "sqlite" else {}


def _seconds(at: object) -> float:
    moment = at if isinstance(at, datetime) else datetime.fromisoformat(str(at))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()
