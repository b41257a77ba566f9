"""A 503 says what is known: whether something may have been stored, or nothing was."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import databases
import pytest
from overlapping import Site, cookie_in
from redis_proxy import CuttingProxy
from redis_servers import RedisServer, available
from requirements_of_tests import require
from stopped_servers import TIMEOUT, connections, postmaster_of, stopped

from wsgi_sessions.errors import LockTimeout, StoreUnavailable, WriteInDoubt
from wsgi_sessions.http.answers import refusal_of
from wsgi_sessions.stores.redis.backend import open_redis
from wsgi_sessions.stores.sql.backend import migrate_schema
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "a" * 64
LATER = 2e9
UNKNOWN, AGAIN = "It is unknown whether", "Try again in a moment"


def error(operation: str, *, in_doubt: bool) -> StoreUnavailable:
    raised = StoreUnavailable("down", operation=operation)
    raised.in_doubt = in_doubt
    return raised


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (error("save", in_doubt=True), UNKNOWN),
        (error("delete", in_doubt=True), UNKNOWN),
        (error("save", in_doubt=False), AGAIN),
        (error("load", in_doubt=True), AGAIN),
        (WriteInDoubt("down", operation="create"), AGAIN),
        (LockTimeout("held", operation="lock"), AGAIN),
    ],
    ids=repr,
)
def test_the_text_of_an_answer(raised: StoreUnavailable, says: str) -> None:
    refusal = refusal_of(raised)
    assert refusal.code == 503
    assert says in refusal.text


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    require(available())
    with RedisServer() as redis:
        yield redis


@pytest.fixture
def proxy(redis: RedisServer) -> Iterator[CuttingProxy]:
    with closing(CuttingProxy(redis)) as proxy:
        yield proxy


def test_redis_whose_answers_are_lost_leaves_it_in_doubt(
    proxy: CuttingProxy, redis: RedisServer
) -> None:
    with closing(open_redis(proxy.url)) as backend:
        backend.sessions.create(KEY, b"1", LATER)
        backend.sessions.save(KEY, b"2", LATER, expected_version=1)
        proxy.cut(replies=2)
        with pytest.raises(StoreUnavailable) as caught:
            backend.sessions.save(KEY, b"3", LATER, expected_version=2)
        assert caught.value.in_doubt
    assert redis.command("GETRANGE", f"session:{{{KEY}}}", 17, -1) == b"3"


def test_redis_that_was_not_asked_or_has_refused_leaves_nothing_in_doubt() -> None:
    require(available())
    with RedisServer() as own, closing(open_redis(own.url)) as backend:
        backend.sessions.create(KEY, b"1", LATER)
        own.command("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(StoreUnavailable) as caught:
            backend.sessions.save(KEY, b"2", LATER, expected_version=1)
        assert not caught.value.in_doubt
        backend.close()
        own.kill()
        with pytest.raises(StoreUnavailable) as caught:
            backend.sessions.save(KEY, b"2", LATER, expected_version=1)
        assert not caught.value.in_doubt


def test_the_client_learns_of_the_doubt(proxy: CuttingProxy) -> None:
    site = Site(proxy.url)
    with closing(site.stack):
        site.pages["/add"] = lambda session: session.increment("n")

        def add_and_cut(session: Any) -> None:
            session.increment("n")
            proxy.cut(replies=2)

        site.pages["/cut"] = add_and_cut
        cookie = cookie_in(site.get("/add"))
        site.get("/add", cookie)
        answer = site.get("/cut", cookie)
        assert answer.status == 503
        assert UNKNOWN in str(answer.body)


def test_postgresql_whose_answers_are_lost_leaves_it_in_doubt() -> None:
    database = databases.new_database(databases.shared_postgresql())
    migrate_schema(database.url)
    with closing(open_backend(database.url, timeout=TIMEOUT)) as backend:
        backend.sessions.create(KEY, b"1", LATER)
        with stopped(*connections(database), postmaster_of(database)):
            with pytest.raises(StoreUnavailable) as caught:
                backend.sessions.save(KEY, b"2", LATER, expected_version=1)
            assert caught.value.in_doubt
