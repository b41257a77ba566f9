"""Where sessions are kept in a run: each place is a store of its own, with its own server."""

from __future__ import annotations

import random
import tempfile
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from database_servers import MariaDBServer, PostgreSQLServer, missing_mariadb
from databases import new_database, new_mariadb
from redis_servers import ClusterGroup, RedisServer, available
from requirements_of_tests import require
from separable_redis import SeparableGroup

from wsgi_sessions.stores.sql.backend import migrate_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

SQL_WORDS = (b"INSERT", b"UPDATE", b"DELETE", b"SELECT", b"COMMIT")


class HistoryServer(Protocol):
    """What keeps a store, as a process of its own."""

    def pause(self) -> None:
        """It answers nothing, until `resume`."""

    def resume(self) -> None:
        """It goes on."""

    def restart(self) -> None:
        """It ends as in a crash, and starts with what it had acknowledged."""


@dataclass(frozen=True)
class Route:
    """How a store's server is reached: at a port of loopback, or by the path of a socket.

    `behind` is the store's URL when a proxy listens at this port instead. `words` are in commands,
    one in some: by them a fault chooses.
    """

    address: int | str
    behind: Callable[[int], str]
    words: tuple[bytes, ...]


@dataclass(frozen=True)
class HistoryPlace:
    """A store, and what faults can take hold of."""

    name: str
    url: str
    server: HistoryServer | None = None
    route: Route | None = None
    sentinel: SeparableGroup | None = None
    cluster: ClusterGroup | None = None
    environ: Mapping[str, str] = field(default_factory=dict)  # further settings


@contextmanager
def files(folder: Path) -> Iterator[HistoryPlace]:
    """A folder."""
    yield HistoryPlace("file", f"file://{folder}/sessions")


@contextmanager
def tmpfs(_: Path) -> Iterator[HistoryPlace]:
    """A folder in memory."""
    with tempfile.TemporaryDirectory(prefix="ws-history-", dir="/dev/shm") as folder:
        yield HistoryPlace("tmpfs", f"file://{folder}/sessions")


@contextmanager
def sqlite(folder: Path) -> Iterator[HistoryPlace]:
    """A database in a file. Its writers take turns, and a full machine may delay one."""
    url = f"sqlite:///{folder}/sessions.db"
    migrate_schema(url)
    yield HistoryPlace("sqlite", url, environ={"WSGI_SESSIONS_TIMEOUT": "5"})


@contextmanager
def redis(_: Path) -> Iterator[HistoryPlace]:
    """A Redis server that has everything on disk before it answers."""
    require(available())
    with RedisServer(persistence="aof") as server:
        words = (b"EVALSHA", b"SET", b"DEL", b"GET")
        route = Route(server.port, lambda port: f"redis://127.0.0.1:{port}/0", words)
        yield HistoryPlace("redis", server.url, server, route)


@contextmanager
def sentinel(_: Path) -> Iterator[HistoryPlace]:
    """A primary and a replica."""
    require(available())
    with SeparableGroup() as group:
        yield HistoryPlace("sentinel", group.url, sentinel=group)


@contextmanager
def cluster(_: Path) -> Iterator[HistoryPlace]:
    """A cluster, of which one node at a time is concerned."""
    require(available())
    with ClusterGroup(persistence="aof") as group:
        yield HistoryPlace("cluster", group.url, SomeNode(group), cluster=group)


@contextmanager
def postgresql(_: Path) -> Iterator[HistoryPlace]:
    """A database on a server of its own."""
    with PostgreSQLServer() as server:
        database = new_database(server.url)
        migrate_schema(database.address)
        name = database.address.partition("?")[0].rpartition("/")[2]
        behind = f"postgresql://postgres@127.0.0.1:{{}}/{name}".format
        route = Route(server.socket, behind, SQL_WORDS)
        yield HistoryPlace("postgresql", database.address, server, route)


@contextmanager
def mariadb(_: Path) -> Iterator[HistoryPlace]:
    """A database on a server of its own."""
    require(missing_mariadb())
    with MariaDBServer() as server:
        url = new_mariadb(server.socket)
        migrate_schema(url)
        name = url.partition("?")[0].rpartition("/")[2]
        behind = f"mariadb://root@127.0.0.1:{{}}/{name}".format
        route = Route(server.socket, behind, SQL_WORDS)
        yield HistoryPlace("mariadb", url, server, route)


class SomeNode:
    """One node of a cluster, another one each time."""

    def __init__(self, group: ClusterGroup) -> None:
        self._group = group
        self._node = group.nodes[0]

    def pause(self) -> None:
        self._node = random.choice(self._group.nodes)
        self._node.pause()

    def resume(self) -> None:
        self._node.resume()

    def restart(self) -> None:
        random.choice(self._group.nodes).restart()


PLACES: dict[str, Callable[[Path], AbstractContextManager[HistoryPlace]]] = {
    "file": files,
    "tmpfs": tmpfs,
    "sqlite": sqlite,
    "redis": redis,
    "sentinel": sentinel,
    "cluster": cluster,
    "postgresql": postgresql,
    "mariadb": mariadb,
}
