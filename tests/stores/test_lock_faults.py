"""Locks on servers that hang or whose answers are lost: nobody waits for somebody who is gone."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import databases
import pytest
from redis_proxy import CuttingProxy
from redis_servers import RedisServer, available, wait_until
from requirements_of_tests import require
from stopped_servers import TIMEOUT, connections, postmaster_of, stopped

from wsgi_sessions.errors import StoreUnavailable
from wsgi_sessions.identity import new_id, store_key
from wsgi_sessions.stores.redis.backend import open_redis
from wsgi_sessions.stores.sql.backend import migrate_schema
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

    from databases import Database

    from wsgi_sessions.contract import Backend

KEY = "a" * 64


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    require(available())
    with RedisServer() as redis:
        yield redis


@pytest.fixture
def postgresql() -> Database:
    database = databases.new_database(databases.shared_postgresql())
    migrate_schema(database.url)
    return database


def enter(backend: Backend, key: str) -> None:
    with backend.locks.hold(key, 0.0):
        pass


def refused(backend: Backend, key: str) -> None:
    with pytest.raises(StoreUnavailable), backend.locks.hold(key, 0.0):
        pytest.fail("held")


def warm(backend: Backend) -> None:
    """It has a connection, its scripts are known, and so is the server's clock."""
    enter(backend, store_key(new_id()))


def test_a_hung_redis_takes_no_lock_for_a_caller_that_gave_up(redis: RedisServer) -> None:
    key = store_key(new_id())
    with closing(open_redis(redis.url, timeout=TIMEOUT)) as backend:
        warm(backend)
        redis.pause()
        try:
            refused(backend, key)
        finally:
            redis.resume()
    # Connected after the server woke up, so it is heard after what was sent before.
    with closing(open_redis(redis.url)) as another:
        enter(another, key)


def test_a_hung_postgresql_takes_no_lock_for_a_caller_that_gave_up(
    postgresql: Database,
) -> None:
    key = store_key(new_id())
    postmaster = postmaster_of(postgresql)
    with closing(open_backend(postgresql.url, timeout=TIMEOUT)) as backend:
        warm(backend)
        (pid,) = connections(postgresql)
        with stopped(pid, postmaster):
            refused(backend, key)
    wait_until(lambda: pid not in connections(postgresql), "what was sent to be carried out")
    with closing(open_backend(postgresql.url)) as another:
        enter(another, key)


@pytest.fixture
def proxy(redis: RedisServer) -> Iterator[CuttingProxy]:
    with closing(CuttingProxy(redis)) as proxy:
        yield proxy


def test_a_caller_that_comes_back_after_two_lost_answers_finds_the_lock_its_own(
    proxy: CuttingProxy,
) -> None:
    key = store_key(new_id())
    with closing(open_redis(proxy.url)) as backend:
        warm(backend)
        proxy.cut(replies=2)
        refused(backend, key)
        enter(backend, key)


def test_a_lost_answer_to_freeing_raises_no_alarm(proxy: CuttingProxy) -> None:
    key = store_key(new_id())
    with closing(open_redis(proxy.url)) as backend:
        warm(backend)
        with backend.locks.hold(key, 0.0) as held:
            proxy.cut()
        assert not held.was_lost
        enter(backend, key)
