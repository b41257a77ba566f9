"""The table of stores that the contract suite runs against. Each server is real, and its own."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import databases
import pytest
from database_servers import missing_mariadb
from opened_places import open_place
from redis_servers import ClusterGroup, RedisServer, SentinelGroup, available
from requirements_of_tests import require
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from wsgi_sessions.clock import wall_clock
from wsgi_sessions.database.connect import parse_sql_url
from wsgi_sessions.stores.sql.backend import migrate_schema
from wsgi_sessions.stores.sql.schema import metadata, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from _pytest.mark import ParameterSet

    from wsgi_sessions.contract import Backend


@contextmanager
def _memory(_: Path) -> Iterator[str]:
    yield "memory://"


@contextmanager
def _files(folder: Path) -> Iterator[str]:
    yield f"file://{folder}"


def _server(
    start: Callable[[], RedisServer | SentinelGroup | ClusterGroup],
) -> Callable[[Path], AbstractContextManager[str]]:
    @contextmanager
    def started(_: Path) -> Iterator[str]:
        require(available())
        with start() as server:
            yield server.url

    return started


@contextmanager
def _sqlite(folder: Path) -> Iterator[str]:
    yield sqlite_url(folder)


@contextmanager
def _postgresql(_: Path) -> Iterator[str]:
    yield postgresql_url()


@contextmanager
def _mariadb(_: Path) -> Iterator[str]:
    require(missing_mariadb())
    yield mariadb_url()


def sqlite_url(folder: Path) -> str:
    """A new SQLite database with the tables of the store."""
    url = databases.sqlite(folder).url
    migrate_schema(url)
    return url


def postgresql_url() -> str:
    """A new PostgreSQL database with the tables of the store, on the shared server."""
    url = databases.new_database(databases.shared_postgresql()).address
    migrate_schema(url)
    return url


def mariadb_url() -> str:
    """A new MariaDB database with the tables of the store, on the shared server."""
    url = databases.new_mariadb()
    migrate_schema(url)
    return url


class Place(NamedTuple):
    """Where a store is, and a namespace in it that nobody else uses."""

    name: str
    url: str
    prefix: str

    @property
    def own_url(self) -> str:
        """Without the store that it takes over from, if it does."""
        return self.url.split()[0]

    @property
    def settings(self) -> dict[str, str]:
        """As an application's environment has it."""
        names = ("WSGI_SESSIONS_URL", "WSGI_SESSIONS_MIGRATE_FROM")
        return dict(zip(names, self.url.split(), strict=False))

    def open(self, clock: Callable[[], float] = wall_clock) -> Backend:
        """A backend of its own, patient with a busy machine."""
        return open_place(self.url, self.prefix, clock=clock)


TAKING_OVER = "redis, from files"
STORES: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "memory": _memory,
    "file": _files,
    "redis": _server(RedisServer),
    "unix": _server(lambda: RedisServer(transport="unix")),
    "sentinel": _server(SentinelGroup),
    "cluster": _server(ClusterGroup),
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mariadb": _mariadb,
    TAKING_OVER: _server(RedisServer),
}
# Kin of a store that the default run has: its commands by another way, its SQL by another driver.
LONG = {"unix", "sentinel", "mariadb"}
# Sessions alone are taken over: for all else, that is Redis.
LONG_BESIDE_SESSIONS = {*LONG, TAKING_OVER}


def of_the_table(*left_out: str, long: set[str] = LONG) -> list[ParameterSet]:
    """The stores as parameters of a test; the `long` ones only in the long runs."""
    return [
        pytest.param(name, marks=[pytest.mark.soak] if name in long else [])
        for name in STORES
        if name not in left_out
    ]


def place_of(name: str, url: str, folder: Path, prefix: str) -> Place:
    """An empty place of one's own in a store of the table: by the prefix on servers that know one,
    else in the folder, else by emptying what others have left."""
    if name == "file":
        url = f"file://{folder}/sessions"
    elif name == TAKING_OVER:
        url = f"{url} file://{folder}/sessions"
    elif name == "sqlite":
        url = sqlite_url(folder)
    elif name in ("postgresql", "mariadb"):
        _empty(url)
    return Place(name, url, prefix)


def _empty(url: str) -> None:
    engine = create_engine(parse_sql_url(url), poolclass=NullPool)
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            if table is not schema:
                connection.execute(table.delete())
