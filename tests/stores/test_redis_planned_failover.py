"""A primary that gives its office up in order: no connection breaks, and yet all must be left."""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING

import pytest
from listeners import Listener
from redis_servers import RedisServer, SentinelGroup, available, wait_until
from requirements_of_tests import require

from wsgi_sessions.clock import monotonic
from wsgi_sessions.stores.redis.wire.connection import NodeExecutor
from wsgi_sessions.stores.redis.wire.endpoints import SentinelEndpoint
from wsgi_sessions.stores.redis.wire.url import parse_url
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator


KEY = hashlib.sha256(b"a session").hexdigest()
THREADS = 4


class Sentinel(Listener):
    """Answers every question with the address that it has just been told."""

    def __init__(self, primary: RedisServer) -> None:
        self.primary = primary
        self.questions = 0
        super().__init__()

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/sessions/0"

    def serve(self, client: socket.socket) -> None:
        client.recv(65536)
        self.questions += 1
        port = str(self.primary.port).encode()
        client.sendall(b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%b\r\n" % (len(port), port))


class HeldClock:
    """The monotonic one, set forward as a test wants it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return monotonic() + self.ahead


@pytest.fixture
def servers() -> Iterator[tuple[RedisServer, RedisServer]]:
    """Two that take themselves for the primary, as during a planned failover."""
    require(available())
    with RedisServer() as former, RedisServer() as present:
        for server in (former, present):
            server.command("SET", "port", server.port)
        yield former, present


@pytest.fixture
def clock() -> HeldClock:
    return HeldClock()


def executor_of(sentinel: Sentinel, clock: HeldClock) -> NodeExecutor:
    return NodeExecutor(SentinelEndpoint(parse_url(sentinel.url), 5.0), 5.0, clock)


def ports(executor: NodeExecutor) -> set[int]:
    """Of the servers that answer those who ask at once, each on a connection of its own."""
    barrier = threading.Barrier(THREADS)
    slowly = "for i = 1, 2000000 do end return redis.call('GET', KEYS[1])"

    def ask(_: int) -> int:
        barrier.wait(10)
        return int(executor.execute("port", None, "EVAL", slowly, 1, "port"))

    with ThreadPoolExecutor(THREADS) as threads:
        return set(threads.map(ask, range(THREADS)))


def test_all_connections_lead_to_the_new_primary_within_a_second(
    servers: tuple[RedisServer, RedisServer], clock: HeldClock, caplog: pytest.LogCaptureFixture
) -> None:
    former, present = servers
    with Sentinel(former) as sentinel, closing(executor_of(sentinel, clock)) as executor:
        assert ports(executor) == {former.port}
        sentinel.primary = present
        clock.ahead += 1.0
        with caplog.at_level(logging.WARNING):
            executor.execute("ping", None, "PING")
        assert ports(executor) == {present.port}
    assert "moved to" in caplog.text


def test_one_connection_that_finds_the_new_primary_takes_all_along(
    servers: tuple[RedisServer, RedisServer], clock: HeldClock
) -> None:
    former, present = servers
    with Sentinel(former) as sentinel, closing(executor_of(sentinel, clock)) as executor:
        assert ports(executor) == {former.port}
        sentinel.primary = present
        executor._endpoint.connect().close()  # as does a thread for which no connection is idle
        assert ports(executor) == {present.port}


def test_sentinels_are_asked_once_a_second_and_no_more(
    servers: tuple[RedisServer, RedisServer], clock: HeldClock
) -> None:
    former, _ = servers
    with Sentinel(former) as sentinel, closing(executor_of(sentinel, clock)) as executor:
        executor.execute("ping", None, "PING")
        before = sentinel.questions
        clock.ahead += 1.0
        executor.execute("ping", None, "PING")
        assert sentinel.questions == before + 1


def test_while_no_sentinel_answers_the_primary_is_used_and_it_is_said_once(
    servers: tuple[RedisServer, RedisServer], clock: HeldClock, caplog: pytest.LogCaptureFixture
) -> None:
    former, _ = servers
    with ExitStack() as stack:
        sentinel = stack.enter_context(Sentinel(former))
        executor = stack.enter_context(closing(executor_of(sentinel, clock)))
        executor.execute("ping", None, "PING")
        sentinel.__exit__()
        with suppress(OSError), caplog.at_level(logging.WARNING):
            for _ in range(3):
                clock.ahead += 6.0
                assert executor.execute("ping", None, "PING") == b"PONG"
        stack.pop_all()
        executor.close()
    assert caplog.text.count("no sentinel tells") == 1


def test_a_primary_that_writes_without_its_replicas_is_warned_of() -> None:
    require(available())
    with RedisServer() as primary, closing(open_backend(primary.url)) as backend:
        assert backend.advice is not None
        assert backend.advice.warnings() == []
        with RedisServer(options={"replicaof": f"127.0.0.1 {primary.port}"}):
            wait_until(lambda: bool(primary.command("ROLE")[2]), "a replica")
            (warning,) = backend.advice.warnings()
            assert "min-replicas-to-write 1 and min-replicas-max-lag 10" in warning
            primary.command("CONFIG", "SET", "min-replicas-to-write", 1)
            assert backend.advice.warnings() == []


@pytest.mark.soak
def test_a_planned_failover_undoes_nothing_that_comes_a_second_after_it() -> None:
    require(available())
    with SentinelGroup() as group, closing(open_backend(group.url)) as backend:
        backend.sessions.create(KEY, b"kept", time.time() + 600)
        wait_until(lambda: group.replica.command("DBSIZE") == 1, "a replicated record")
        group.sentinel.command("SENTINEL", "FAILOVER", group.service)
        wait_until(lambda: group.primary_port() == group.replica.port, "a failover", 30)
        time.sleep(1.1)  # what is promised
        backend.sessions.delete(KEY)
        assert group.replica.command("DBSIZE") == 0
