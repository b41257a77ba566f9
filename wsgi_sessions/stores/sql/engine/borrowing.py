"""A connection from an engine's pool, borrowed for one operation."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import exc

from wsgi_sessions.errors import SessionError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine


@contextmanager
def connected(engine: Engine, deadline: float) -> Iterator[Connection]:
    """Borrow a connection of the engine.

    It is not used again after an unknown error: an answer may still be on its way.
    """
    with engine.connect() as connection:
        try:
            _set_deadline(connection, deadline)
            yield connection
        except (SessionError, exc.SQLAlchemyError):
            raise
        except BaseException:
            connection.invalidate()
            raise


def _set_deadline(connection: Connection, deadline: float) -> None:
    """Set the deadline of a driver's connection that keeps one.

    See `database.psycopg` and `database.pymysql`.
    """
    driver: Any = connection.connection.dbapi_connection
    if hasattr(driver, "deadline"):
        driver.deadline = deadline


def take_write_lock(connection: Connection) -> None:
    """Begin the transaction as a writer.

    One that reads first and writes later cannot wait for another writer, it fails. An engine with a
    "begin" event of its own has begun already.
    """
    connection.begin()
    driver: Any = connection.connection.dbapi_connection
    if not getattr(driver, "in_transaction", False):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
