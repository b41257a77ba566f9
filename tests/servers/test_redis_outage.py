"""Redis killed, hung and back again under gunicorn: refused in time, and nobody is logged out."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from gunicorn_server import GunicornServer, assert_unavailable, at_once
from operations import GROW, LOGIN, LOGOUT, READ, START, STARTED, WRITE
from redis_servers import RedisServer, available, wait_until
from requirements_of_tests import require
from spreads import classes_by_default

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gunicorn_server import HttpBrowser, Reply

DEADLINE = 1.0  # WSGI_SESSIONS_TIMEOUT, its default: seconds
SLACK = 1.5  # seconds: for a busy machine
RECOVERY = 3.0  # seconds after Redis answers again


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    """A Redis of its own that keeps its data when it is killed."""
    require(available())
    with RedisServer(persistence="aof") as redis:
        yield redis


@pytest.fixture(scope="module", params=classes_by_default("gevent"))
def server(redis: RedisServer, request: pytest.FixtureRequest) -> Iterator[GunicornServer]:
    with GunicornServer(worker_class=request.param, url=redis.url) as server:
        yield server


@pytest.fixture
def visitor(server: GunicornServer) -> HttpBrowser:
    """A browser that is logged in."""
    browser = server.browser()
    START.request(browser)
    assert LOGIN.request(browser).status == 200
    return browser


def test_killed_and_restarted(
    redis: RedisServer, server: GunicornServer, visitor: HttpBrowser
) -> None:
    outage(server, visitor, begin=redis.kill, end=redis.start)


def test_hung_and_resumed(redis: RedisServer, server: GunicornServer, visitor: HttpBrowser) -> None:
    try:
        outage(server, visitor, begin=redis.pause, end=redis.resume)
    finally:
        redis.resume()


def outage(
    server: GunicornServer,
    visitor: HttpBrowser,
    *,
    begin: Callable[[], None],
    end: Callable[[], None],
) -> None:
    """What visitors see before, during and after."""
    before, cookie = len(server.log()), visitor.cookie
    assert WRITE.request(visitor).status == 200
    begin()
    refused_in_time(visitor)
    those_without_session_go_on(server, visitor)
    assert visitor.cookie == cookie
    end()
    wait_for_recovery(server, visitor)

    assert visitor.values() == {**STARTED, **(WRITE.changes or {}), **(LOGIN.changes or {})}
    assert visitor.get("/read").json["principal"] == "alice"
    assert GROW.request(visitor).status == 200
    assert "Traceback" not in server.log()[before:]
    gone = visitor.twin()
    assert LOGOUT.request(visitor).status == 200
    assert gone.is_anonymous()


def refused_in_time(visitor: HttpBrowser) -> None:
    """Every worker that needs the session answers 503 within the deadline."""
    for operation in (READ, WRITE, LOGIN, LOGOUT):
        for reply in at_once(*[partial(timed, operation.request, visitor.twin())] * 3):
            assert_unavailable(reply)


def timed(request: Callable[[HttpBrowser], Reply], browser: HttpBrowser) -> Reply:
    """A reply that came in time."""
    begun = time.monotonic()
    reply = request(browser)
    assert time.monotonic() - begun < DEADLINE + SLACK
    return reply


def those_without_session_go_on(server: GunicornServer, visitor: HttpBrowser) -> None:
    """Routes that do not need a session, and visitors who have none."""
    slow = partial(READ.request, visitor.twin())
    replies = at_once(slow, partial(timed, lambda browser: browser.get("/none"), visitor.twin()))
    assert [reply.status for reply in replies] == [503, 200]
    assert server.browser().is_anonymous()
    stranger = server.browser()
    assert_unavailable(START.request(stranger))
    assert stranger.cookie is None


def wait_for_recovery(server: GunicornServer, visitor: HttpBrowser) -> None:
    """Until every worker has found Redis again: each has connections of its own."""
    answered: set[int] = set()

    def all_answer() -> bool:
        together = [partial(visitor.twin().get, "/read", hold=10) for _ in range(6)]
        replies = at_once(*together)
        answered.update(reply.json["pid"] for reply in replies if reply.status == 200)
        return answered == set(server.workers())

    wait_until(all_answer, "all workers to answer", RECOVERY)


@pytest.mark.parametrize("kind", ["killed", "hung"])
def test_in_the_middle_of_a_request(
    redis: RedisServer, server: GunicornServer, visitor: HttpBrowser, kind: str
) -> None:
    """It has read its session when Redis goes. Its changes are stored as a whole or not at all."""
    begin, end = (redis.kill, redis.start) if kind == "killed" else (redis.pause, redis.resume)
    slow = server.begin(visitor, WRITE.path, **WRITE.query)
    begin()
    try:
        assert_unavailable(timed(lambda _: slow.finish(), visitor))
    finally:
        end()
    wait_for_recovery(server, visitor)

    logged_in = {**STARTED, **(LOGIN.changes or {})}
    allowed = [logged_in]
    if kind == "hung":  # what it was sent, it may carry out when it wakes up
        allowed.append({**logged_in, **(WRITE.changes or {})})
    assert visitor.values() in allowed
    assert visitor.get("/read").json["principal"] == "alice"


def test_no_caller_is_refused_once_it_is_back(
    redis: RedisServer, server: GunicornServer, visitor: HttpBrowser
) -> None:
    """Also not those who come first, all at once, to workers that nobody has asked since."""
    redis.kill()
    for _ in range(3):
        crowd(visitor)
    redis.start()
    time.sleep(RECOVERY)  # the promise, with nobody asking
    assert {reply.status for reply in crowd(visitor)} == {200}
    wait_for_recovery(server, visitor)


def crowd(visitor: HttpBrowser) -> list[Reply]:
    return at_once(*[partial(READ.request, visitor.twin()) for _ in range(16)])
