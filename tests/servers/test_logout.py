"""A session that was ended stays ended, whoever saves late."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest
import race_app
from redis_servers import wait_until

from wsgi_sessions import Config, build

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gunicorn_server import GunicornServer, HttpBrowser

    from wsgi_sessions.stack.build import Stack

LATE = [("/change", {"item": 1}), ("/note", {"item": 1}), ("/exclusive", {}), ("/read", {})]


@pytest.fixture
def alice(server: GunicornServer) -> HttpBrowser:
    """A browser that is logged in."""
    browser = server.browser()
    browser.get("/start")
    assert browser.get("/login", user="alice").status == 200
    return browser


@pytest.mark.parametrize(("path", "query"), LATE, ids=[path for path, _ in LATE])
def test_a_late_save_brings_nothing_back(
    server: GunicornServer, alice: HttpBrowser, path: str, query: dict[str, int]
) -> None:
    thief = alice.twin()  # keeps the cookie that the log-out takes from Alice
    slow = server.begin(alice, path, **query)
    logged_out = alice.get("/logout")
    late = slow.finish()

    assert logged_out.status == 200
    assert "Max-Age=0" in logged_out.set_cookies[0]
    assert alice.cookie is None
    assert late.status == 200
    assert late.set_cookies == []
    assert thief.is_anonymous()
    gone = [event["route"] for event in server.events("gone")]
    assert gone == ([] if path == "/read" else [f"GET {path}"])


def test_a_new_session_has_nothing_of_the_old_one(
    server: GunicornServer, alice: HttpBrowser
) -> None:
    """Who comes back with a dead cookie gets another id."""
    dead = alice.twin()
    alice.get("/logout")
    old = dead.cookie
    assert dead.get("/start").status == 200
    assert dead.cookie not in (None, old)
    assert dead.get("/read").json["principal"] is None


@pytest.mark.parametrize("before", ["nobody", "alice"])
def test_a_late_save_does_not_bring_back_an_old_id(server: GunicornServer, before: str) -> None:
    """A log-in gives the session another id; who saves under the old one is too late."""
    browser = server.browser()
    browser.get("/start")
    if before != "nobody":
        browser.get("/login", user=before)
    fixated = browser.twin()
    slow = server.begin(browser, "/change", item=1)
    assert browser.get("/login", user="bob").status == 200
    late = slow.finish()

    assert late.status == 200
    assert late.set_cookies == []
    assert browser.cookie != fixated.cookie
    assert fixated.is_anonymous()
    assert browser.get("/read").json["principal"] == "bob"
    assert "key 1" not in browser.values()
    assert ("log" in browser.values()) == (before == "nobody"), "only one's own data is kept"
    name = "superseded" if before == "nobody" else "gone"  # from alice to bob, hers was destroyed
    assert [event["route"] for event in server.events(name)] == ["GET /change"]


def test_log_outs_and_saves_at_random(server: GunicornServer) -> None:
    """The log-out falls anywhere into a row of saves, also between their read and their write."""
    for _ in range(10):
        browser = server.browser()
        browser.get("/start")
        thief = browser.twin()
        with ThreadPoolExecutor(3) as pool:
            writers = [pool.submit(write_on, thief) for _ in range(2)]
            assert browser.get("/logout").status == 200
            cookies = [line for writer in writers for line in writer.result()]
        assert thief.is_anonymous()
        assert not any(str(thief.cookie) in line for line in cookies)


def write_on(browser: HttpBrowser) -> list[str]:
    """Save several times with the same cookie; all that were set meanwhile."""
    replies = [browser.twin().get("/assign", key="k", value="v") for _ in range(5)]
    return [line for reply in replies for line in reply.set_cookies]


# -- a store that only one process has -------------------------------------------------------------


@pytest.fixture
def stack() -> Iterator[Stack]:
    """The application on the memory store, in this process."""
    config = Config.from_environ(
        {"WSGI_SESSIONS_URL": "memory://", "WSGI_SESSIONS_SECRET_KEYS": "m" * 32}
    )
    with closing(build(race_app.app, config)) as stack:
        yield stack


def test_in_memory(stack: Stack, tmp_path: Path) -> None:
    cookie = ask(stack, "/start")["Set-Cookie"].partition(";")[0]
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(ask, stack, f"/change?item=1&gate={tmp_path}&number=2", cookie)
        wait_until(lambda: bool(os.listdir(tmp_path)), "the slow request")
        assert "Max-Age=0" in ask(stack, "/logout", cookie)["Set-Cookie"]
        race_app.arrive(str(tmp_path))
        assert "Set-Cookie" not in slow.result()
    assert stack.manager.backend.iteration.count() == 0
    assert stack.manager.events.counts()["gone"] == 1


def ask(stack: Stack, url: str, cookie: str = "") -> dict[str, str]:
    """One successful request; its headers."""
    path, _, query = url.partition("?")
    environ: dict[str, Any] = {"PATH_INFO": path, "QUERY_STRING": query, "HTTP_COOKIE": cookie}
    setup_testing_defaults(environ)
    environ["wsgi.errors"] = io.StringIO()
    answers: list[tuple[str, dict[str, str]]] = []

    def start_response(status: str, headers: list[tuple[str, str]], _: object = None) -> Any:
        answers.append((status, dict(headers)))

    stack(environ, start_response)
    status, headers = answers[-1]
    assert status == "200 OK"
    return headers
