"""Real SQL databases for tests: SQLite in a file, a PostgreSQL server of the tests' own, and a
MariaDB server where there is one."""

from __future__ import annotations

import atexit
import functools
import itertools
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import psycopg
from database_servers import MariaDBServer, PostgreSQLServer
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Kind = Literal["dbapi", "sqlalchemy", "orm"]
KINDS: tuple[Kind, ...] = ("dbapi", "sqlalchemy", "orm")
DATABASES = ("sqlite", "postgresql")
_numbers = itertools.count()


class Database(NamedTuple):
    """One database, its SQLAlchemy URL and what its own driver connects with."""

    name: str
    url: str
    address: str

    def connect(self) -> Any:
        """A DB-API connection."""
        if self.name == "sqlite":
            return sqlite3.connect(self.address, timeout=20)
        return psycopg.connect(self.address)

    def engine(self) -> Engine:
        """A SQLAlchemy engine, which keeps no connection open."""
        return create_engine(self.url, poolclass=NullPool)

    def open(self, kind: Kind) -> Any:
        """A connection of this kind, in a transaction of its own; to be closed."""
        if kind == "dbapi":
            return self.connect()
        return self.engine().connect() if kind == "sqlalchemy" else Session(self.engine())

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """Execute and commit; the rows, if the statement returns some."""
        connection = self.connect()
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            rows = [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            cursor.close()
            connection.commit()
        finally:
            connection.close()
        return rows


def sqlite(folder: Path) -> Database:
    """A new SQLite database."""
    path = folder / f"{next(_numbers)}.db"
    return Database("sqlite", f"sqlite:///{path}", str(path))


@contextmanager
def postgresql(flush: Literal["at commits", "never"] = "never") -> Iterator[str]:
    """A PostgreSQL server; the URL of its first database."""
    with PostgreSQLServer(flush) as server:
        yield server.url


@functools.cache
def shared_postgresql() -> str:
    """The `postgresql` server that the tests of one process share; it ends with the process."""
    server = PostgreSQLServer()
    atexit.register(server.stop)
    return server.url


@functools.cache
def shared_mariadb() -> MariaDBServer:
    """A MariaDB server that the tests of one process share; it ends with it."""
    server = MariaDBServer("--log-bin")
    atexit.register(server.stop)
    return server


def new_mariadb(address: str | None = None) -> str:
    """The URL of a new database on the MariaDB server at this socket; without one, the shared."""
    name, address = f"test{next(_numbers)}", address or shared_mariadb().socket
    engine = create_engine(f"mariadb+pymysql://root@/?unix_socket={address}", poolclass=NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return f"mariadb://root@/{name}?unix_socket={address}"


def new_database(server: str) -> Database:
    """A new database on a PostgreSQL server."""
    name = f"test{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    address = server.replace("/postgres?", f"/{name}?")
    return Database("postgresql", address.replace("postgresql:", "postgresql+psycopg:"), address)
