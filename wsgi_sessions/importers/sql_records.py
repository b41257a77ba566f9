"""Foreign sessions in a SQL table: Django's ``django_session``, read through SQLAlchemy."""

# ruff: noqa: S608 - names cannot be parameters; check_identifier admits only plain ones

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

from wsgi_sessions.database.dbapi import check_identifier, executor, seconds_of
from wsgi_sessions.database.unpooled import open_unpooled
from wsgi_sessions.database.words import words_of
from wsgi_sessions.errors import ConfigurationError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.database.dbapi import Execute, ExecuteResult

T = TypeVar("T")


class SqlRecords:
    """`ForeignRecords` in a table. Times without a zone are UTC, as with Django's ``USE_TZ``.

    `connect` returns a SQLAlchemy connection, which is closed after each use. `table` is a plain
    SQL name.
    """

    def __init__(self, connect: Callable[[], Any], table: str, clock: Callable[[], float]) -> None:
        self._connect = connect
        self._table = table
        self._clock = clock

    def load(self, name: str) -> bytes | None:
        row = self._row(name)
        if row is None or seconds_of(row[1]) <= self._clock():
            return None
        return str(row[0]).encode()

    def delete(self, name: str) -> None:
        statement = f"DELETE FROM {self._table} WHERE session_key = :name"
        self._run("retire", lambda execute: execute(statement, {"name": name}))

    def names(self) -> Iterator[str]:
        select = f"SELECT session_key FROM {self._table}"
        outcome: ExecuteResult = self._run("import", lambda execute: execute(select, {}))
        return (str(name) for (name,) in outcome.rows)

    def expires_at(self, name: str) -> float | None:
        row = self._row(name)
        return None if row is None else seconds_of(row[1])

    def close(self) -> None:
        """Do nothing: no connection stays open."""

    def _row(self, name: str) -> tuple[Any, ...] | None:
        select = f"SELECT session_data, expire_date FROM {self._table} WHERE session_key = :name"
        outcome: ExecuteResult = self._run(
            "import", lambda execute: execute(select, {"name": name})
        )
        return outcome.rows[0] if outcome.rows else None

    def _run(self, operation: str, work: Callable[[Execute], T]) -> T:
        try:
            with self._connect() as connection:
                result = work(executor(connection))
                connection.commit()
                return result
        except Exception as error:  # noqa: BLE001  # drivers share no base class
            # Not chained: the driver's message contains names of sessions.
            said = words_of(getattr(error, "orig", None) or error)
            raise StoreUnavailable(
                f"the table {self._table} of the sessions to import cannot be used "
                f"({type(error).__name__}{said and f': {said}'}): check whether the database "
                "answers",
                operation=operation,
            ) from None


def open_sql_records(
    url: str, *, table: str, timeout: float, clock: Callable[[], float]
) -> SqlRecords:
    """Return the records at a SQLAlchemy URL, without contacting it. Raises ConfigurationError.

    No connection stays open between queries, so that forked workers share none.
    """
    check_identifier(table, parts=2)
    engine = open_unpooled(
        url,
        timeout=timeout,
        setting="`imports.source`",
        forms="django+postgresql://user@host/database or django+sqlite:////absolute/path",
    )
    if engine.dialect.name == "sqlite" and not os.path.isfile(engine.url.database or ""):
        raise ConfigurationError(
            f"`imports.source`: there is no database file {engine.url.database!a}"
        )
    return SqlRecords(engine.connect, table, clock)
