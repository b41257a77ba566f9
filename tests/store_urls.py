"""The table of stores that the contract suite runs against. Each server is real, and its own."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from redis_servers import ClusterGroup, RedisServer, SentinelGroup, available
from requirements_of_tests import require

from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wsgi_sessions.stores.base import Backend


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


class Place(NamedTuple):
    """Where a store is, and a namespace in it that nobody else uses."""

    name: str
    url: str
    prefix: str

    def open(self, clock: Callable[[], float] = time.time) -> Backend:
        """A backend of its own, patient with a busy machine."""
        return open_backend(self.url, key_prefix=self.prefix, timeout=5.0, clock=clock)


STORES: dict[str, Callable[[Path], AbstractContextManager[str]]] = {
    "memory": _memory,
    "file": _files,
    "redis": _server(RedisServer),
    "unix": _server(lambda: RedisServer(transport="unix")),
    "sentinel": _server(SentinelGroup),
    "cluster": _server(ClusterGroup),
}
