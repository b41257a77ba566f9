"""Exclusive paths hold by every name that a router takes for them, and `exclusive` marks a view."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import flask
import pytest
from flask_clients import all_closed
from redis_servers import wait_until
from wsgi_client import Browser

import wsgi_sessions
from wsgi_sessions import Config, build, get_session
from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.contrib.flask import exclusive as exclusive_view
from wsgi_sessions.errors import HeadersAlreadySent
from wsgi_sessions.http.path_patterns import PathPatterns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed.wsgi import WSGIApplication

    from wsgi_sessions.core.limits.waiters import BoundedLocks

LONG = 60.0
NAMES = [
    "/coupon",
    "//coupon",
    "///coupon//",
    "/coupon/",
    "coupon",
    "/./coupon",
    "/x/../coupon",
    "/x/..//coupon/.",
    "/coupon;v=1",
    "/x;v=1/../coupon",
    "/Coupon",
]


@pytest.mark.parametrize("pattern", ["/coupon", "/coupon/", "/COUPON"])
@pytest.mark.parametrize("name", NAMES)
def test_a_path_matches_by_every_name_that_a_router_may_take(pattern: str, name: str) -> None:
    assert PathPatterns([pattern]).match(name)


@pytest.mark.parametrize("name", ["", "/", "/coupons", "/coupon/1", "/my/coupon", "/coupon/.."])
def test_another_path_does_not_match(name: str) -> None:
    assert not PathPatterns(["/coupon"]).match(name)


def test_a_pattern_that_no_longer_matches_with_dots_resolved_matches_as_it_is() -> None:
    assert PathPatterns(["/a/*"]).match("/a/../b")


def test_a_path_in_utf_8_matches() -> None:
    assert PathPatterns(["/café"]).match("/café".encode().decode("latin-1"))


class Coupons:
    """``/coupon`` looks whether it was used, waits to be told to go on, and uses it."""

    def __init__(self, app: WSGIApplication | None = None, **settings: Any) -> None:
        self.inside = threading.Semaphore(0)
        self.go_on = threading.Event()
        config = Config(
            url="memory://",
            secret_keys=("s" * 40,),
            sweep_interval=None,
            exclusive_wait=LONG,
            **settings,
        )
        self.stack = build(app or self.serve, config)

    def serve(self, environ: Any, start_response: Any) -> Any:
        session = get_session(environ)
        if environ["PATH_INFO"] == "/begin":
            session["n"] = 1
            body = b""
        else:
            body = self.use(session)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]

    def use(self, session: Any) -> bytes:
        if session.get("used"):
            return b"refused"
        self.inside.release()
        assert self.go_on.wait(30)
        session["used"] = True
        return b"granted"


def answers_of_two(
    coupons: Coupons, path: str, locks: BoundedLocks, app: WSGIApplication | None = None
) -> list[bytes]:
    """The answers to two requests of one session, of which the second comes during the first."""
    browser = Browser(app or coupons.stack)
    browser.get("/begin")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(browser.get, path)
        assert coupons.inside.acquire(timeout=30)
        second = pool.submit(browser.get, path)
        wait_until(
            lambda: any(locks.waiters.waiting.values()) or coupons.inside.acquire(blocking=False),
            "the second waits, or got in",
            30,
        )
        coupons.go_on.set()
        return sorted([first.result(30).body, second.result(30).body])


ONCE = [b"granted", b"refused"]


@pytest.mark.parametrize("name", ["/coupon", "//coupon", "/coupon/", "/x/../coupon", "/Coupon"])
def test_requests_take_turns_by_every_name(name: str) -> None:
    coupons = Coupons(exclusive_paths=("/coupon",))
    locks: Any = coupons.stack.manager.locks
    assert answers_of_two(coupons, name, locks) == ONCE


@pytest.mark.parametrize("pattern", ["/coupon", "/shop/coupon"])
def test_a_mounted_application_matches_by_its_own_path_and_the_whole_one(pattern: str) -> None:
    coupons = Coupons(exclusive_paths=(pattern,))

    def mounted(environ: Any, start_response: Any) -> Any:
        environ["SCRIPT_NAME"] = "/shop"
        return coupons.stack(environ, start_response)

    locks: Any = coupons.stack.manager.locks
    assert answers_of_two(coupons, "/coupon", locks, mounted) == ONCE


def test_a_path_that_is_rewritten_behind_the_middleware_matches_as_the_router_sees_it() -> None:
    coupons = Coupons(lambda *call: rewriting(*call), exclusive_paths=("/coupon",))

    def rewriting(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] == "/alias":
            environ["PATH_INFO"] = "/coupon"
        return coupons.serve(environ, start_response)

    locks: Any = coupons.stack.manager.locks
    assert answers_of_two(coupons, "/alias", locks) == ONCE


@pytest.mark.parametrize("is_read_before", [False, True], ids=["unread", "read before"])
def test_an_exclusive_application_is_exclusive_by_any_path(is_read_before: bool) -> None:
    coupons = Coupons(lambda *call: outer(*call))
    inner = wsgi_sessions.exclusive(coupons.serve)

    def outer(environ: Any, start_response: Any) -> Any:
        if is_read_before:
            assert not get_session(environ).get("used")
        return inner(environ, start_response)

    locks: Any = coupons.stack.manager.locks
    assert answers_of_two(coupons, "/any", locks) == ONCE


def test_an_exclusive_application_that_fails_stores_nothing_and_holds_nothing_up() -> None:
    coupons = Coupons(lambda *call: failing(*call))

    @wsgi_sessions.exclusive
    def failing(environ: Any, start_response: Any) -> Any:
        session = get_session(environ)
        session["n"] = session.get("n", 0) + 1
        is_first = session["n"] == 1
        start_response("200 OK" if is_first else "500 Oops", [("X-N", str(session["n"]))])
        return [b""]

    browser = Browser(coupons.stack)
    assert [browser.get("/").header("X-N") for _ in range(3)] == ["1", "2", "2"]


def test_a_stream_cannot_hold_the_session_once_its_headers_have_left() -> None:
    def late(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        yield b"first"
        with pytest.raises(HeadersAlreadySent, match="too late"):
            wsgi_sessions.exclusive(late)(environ, start_response)
        yield b"second"

    assert Browser(Coupons(late).stack).get("/").body == b"firstsecond"


@pytest.mark.parametrize("name", ["/coupon", "//coupon", "/coupon/"])
@pytest.mark.parametrize("marked", ["by a pattern", "by the decorator"])
def test_a_flask_view_runs_once_at_a_time(
    name: str, marked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    coupons, app = Coupons(), flask.Flask("shop")
    app.config.update(
        SECRET_KEY="s" * 40,
        WSGI_SESSIONS_URL="memory://",
        WSGI_SESSIONS_SWEEP_INTERVAL="off",
        WSGI_SESSIONS_EXCLUSIVE_WAIT="60s",
        WSGI_SESSIONS_EXCLUSIVE_PATHS="/coupon" if marked == "by a pattern" else "/other",
    )

    def coupon() -> bytes:
        return coupons.use(flask.session)

    view = exclusive_view(coupon) if marked == "by the decorator" else coupon
    app.add_url_rule("/coupon", view_func=view, strict_slashes=False)
    app.add_url_rule("/begin", view_func=lambda: flask.session.update(n=1) or "", endpoint="begin")
    with all_closed(monkeypatch):
        interface = WSGISessions(app)
        locks: Any = interface.manager(app).locks
        assert answers_of_two(coupons, name, locks, app) == ONCE
