"""Foreign sessions in a SQL table, of Django or Flask-Session, read through SQLAlchemy."""

# ruff: noqa: S608 - names cannot be parameters; check_identifier admits only plain ones

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from wsgi_sessions import texts
from wsgi_sessions.database.dbapi import check_identifier, executor, seconds_of
from wsgi_sessions.database.unpooled import open_unpooled
from wsgi_sessions.database.words import words_of
from wsgi_sessions.errors import ConfigurationError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wsgi_sessions.database.dbapi import Execute, ExecuteResult

T = TypeVar("T")


@texts.shows("table")
class ForeignTable(NamedTuple):
    """A table, and its columns for the name, the payload and the expiry; all are plain SQL names.

    `prefix`: what stands before each name.
    """

    table: str
    name: str
    payload: str
    expiry: str
    prefix: str = ""


class SqlRecords:
    """`ForeignRecords` in a table. Times without a zone are UTC, as with Django's ``USE_TZ``.

    `connect` returns a SQLAlchemy connection, which is closed after each use.
    """

    def __init__(
        self, connect: Callable[[], Any], place: ForeignTable, clock: Callable[[], float]
    ) -> None:
        self._connect = connect
        self._place = place
        self._clock = clock

    def load(self, name: str) -> bytes | None:
        row = self._row(name)
        if row is None or row[1] is None or seconds_of(row[1]) <= self._clock():
            return None
        return row[0].encode() if isinstance(row[0], str) else bytes(row[0])

    def delete(self, name: str) -> None:
        statement = f"DELETE FROM {self._place.table} WHERE {self._place.name} = :name"
        self._run("retire", lambda execute: execute(statement, self._named(name)))

    def names(self) -> Iterator[str]:
        select = f"SELECT {self._place.name} FROM {self._place.table}"
        outcome: ExecuteResult = self._run("import", lambda execute: execute(select, {}))
        prefix = self._place.prefix
        found = (str(name) for (name,) in outcome.rows)
        return (name.removeprefix(prefix) for name in found if name.startswith(prefix))

    def expires_at(self, name: str) -> float | None:
        row = self._row(name)
        return None if row is None or row[1] is None else seconds_of(row[1])

    def close(self) -> None:
        """Do nothing: no connection stays open."""

    def _row(self, name: str) -> tuple[Any, ...] | None:
        table, name_of, payload, expiry, _ = self._place
        select = f"SELECT {payload}, {expiry} FROM {table} WHERE {name_of} = :name"
        outcome: ExecuteResult = self._run(
            "import", lambda execute: execute(select, self._named(name))
        )
        return outcome.rows[0] if outcome.rows else None

    def _named(self, name: str) -> dict[str, Any]:
        return {"name": self._place.prefix + name}

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
                f"the table {self._place.table} of the sessions to import cannot be used "
                f"({type(error).__name__}{said and f': {said}'}): check whether the database "
                "answers",
                operation=operation,
            ) from None


def open_sql_records(
    url: str, *, place: ForeignTable, timeout: float, clock: Callable[[], float]
) -> SqlRecords:
    """Return the records at a SQLAlchemy URL, without contacting it. Raises ConfigurationError.

    No connection stays open between queries, so that forked workers share none.
    """
    check_identifier(place.table, parts=2)
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
    return SqlRecords(engine.connect, place, clock)
