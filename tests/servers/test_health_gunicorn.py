"""Health under gunicorn: several workers, a Redis that hangs or dies, a folder that goes away."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn_server import SECRET, GunicornServer
from redis_servers import RedisServer, available, wait_until
from requirements_of_tests import require
from spreads import classes_by_default

from wsgi_sessions.health.checker import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gunicorn_server import Reply

PATH, LIVE = "/api/health/session", "/health/live"
LIMIT, SLACK = 0.5, 6.0  # seconds: WSGI_SESSIONS_HEALTH_TIMEOUT, and for a busy machine
ENVIRON = {
    "WSGI_SESSIONS_HEALTH_PATH": PATH,
    "WSGI_SESSIONS_HEALTH_TIMEOUT": "500ms",
    "WSGI_SESSIONS_TIMEOUT": "20s",  # the check does not wait for the store's own deadline
}


def ask(server: GunicornServer, path: str = PATH) -> Reply:
    return server.browser().get(path)


@pytest.mark.parametrize("worker_class", classes_by_default("gevent"))
def test_every_worker_tells_the_same(worker_class: Any) -> None:
    with GunicornServer(worker_class=worker_class, environ=ENVIRON) as server:
        for _ in range(12):
            found = ask(server).json
            assert (found["backend"], found["healthy"]) == ("file", True)
            stranger = server.browser()
            stranger.headers = {"X-Forwarded-For": "127.0.0.1"}
            assert stranger.get(PATH).json == {"backend": "file", "healthy": True}
            assert found["details"]["keys"] == [fingerprint(SECRET)]
            assert ask(server, LIVE).json == {"alive": True}
        server.sessions.rename(server.folder / "elsewhere")
        wait_until(lambda: ask(server).status == 503, "the fault to be seen", 20)
        assert ask(server).headers["Cache-Control"] == "no-store"
        assert ask(server, LIVE).status == 200
        (server.folder / "elsewhere").rename(server.sessions)
        wait_until(lambda: ask(server).status == 200, "a healthy store again", 20)


@pytest.fixture(params=classes_by_default("gthread"))
def on_redis(request: pytest.FixtureRequest) -> Iterator[tuple[GunicornServer, RedisServer]]:
    require(available())
    with (
        RedisServer() as redis,
        GunicornServer(worker_class=request.param, url=redis.url, environ=ENVIRON) as server,
    ):
        yield server, redis


@pytest.mark.parametrize("how", ["hung", pytest.param("killed", marks=pytest.mark.soak)])
def test_a_redis_that_is_down(on_redis: tuple[GunicornServer, RedisServer], how: str) -> None:
    server, redis = on_redis
    begin: Callable[[], None] = redis.pause if how == "hung" else redis.kill
    end: Callable[[], None] = redis.resume if how == "hung" else redis.start
    begin()  # before any worker has a report to share
    try:
        for _ in range(4):
            started = time.monotonic()
            reply = ask(server)
            assert time.monotonic() - started < LIMIT + SLACK
            assert (reply.status, reply.headers["Cache-Control"]) == (503, "no-store")
            assert ask(server, LIVE).status == 200
    finally:
        end()
    healthy = b'{"backend": "redis", "healthy": true'
    wait_until(lambda: ask(server).body.startswith(healthy), "a healthy store again", 20)
