"""Nobody gets another visitor's session, and a visitor who stores nothing gets none."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults

import pytest
from gunicorn_server import SECRET, record_file

from wsgi_sessions import Config, build, get_session, open_backend
from wsgi_sessions.identity import IdSigner, new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from _typeshed.wsgi import StartResponse, WSGIEnvironment
    from gunicorn_server import GunicornServer, HttpBrowser
    from redis_servers import RedisServer

USERS = ("alice", "bob")
THREADS = 3  # for each user


def member(server: GunicornServer, user: str) -> HttpBrowser:
    """A browser that is logged in."""
    browser = server.browser()
    browser.get("/start", name=user)
    assert browser.get("/login", user=user).status == 200
    return browser


# -- many requests of two users at once ------------------------------------------------------------


def test_each_response_carries_its_own_user(server: GunicornServer) -> None:
    visit_side_by_side(server, seconds=1.5)


@pytest.mark.soak
def test_each_response_carries_its_own_user_for_long(server: GunicornServer) -> None:
    visit_side_by_side(server, seconds=20)


def visit_side_by_side(server: GunicornServer, seconds: float) -> None:
    """Two users, several threads each; everything that is answered is about the one who asks."""
    stop = threading.Event()
    browsers = {user: member(server, user) for user in USERS}
    with ThreadPoolExecutor(THREADS * len(USERS)) as pool:
        runs = {
            user: [pool.submit(visit, browsers[user].twin(), user, stop) for _ in range(THREADS)]
            for user in USERS
        }
        stop.wait(seconds)
        stop.set()
        visits = {user: sum(run.result() for run in runs[user]) for user in USERS}

    for user, browser in browsers.items():
        assert visits[user] > 10
        assert browser.values()[f"visits of {user}"] == visits[user]


def visit(browser: HttpBrowser, user: str, stop: threading.Event) -> int:
    """Ask until told to stop, and check each response; how often."""
    count = 0
    while not stop.is_set():
        seen = browser.get("/whoami", user=user, hold=1).json
        assert seen["names"] == [user] * 3
        assert seen["visits"] == [f"visits of {user}"]
        assert set(browser.get("/stream").body.split()) == {user.encode()}
        count += 1
    return count


# -- a record in another one's place ---------------------------------------------------------------


def test_a_copied_record_is_refused(server: GunicornServer, request: pytest.FixtureRequest) -> None:
    """Who can write to the store makes Bob's record of Alice's: Bob does not become Alice."""
    alice, bob = (member(server, user) for user in USERS)
    if server.store == "file":
        source, target = (record_file(server, browser) for browser in (alice, bob))
        shutil.copyfile(source, target)
    elif server.store in ("sqlite", "postgresql"):
        copy_record(server.url, alice, bob)
    else:
        redis: RedisServer = request.getfixturevalue("end_to_end_redis")
        names = [f"{server.worker_class}:@tests:{{{browser.key}}}" for browser in (alice, bob)]
        redis.command("COPY", *names, "REPLACE")

    assert bob.is_anonymous()
    assert bob.get("/assign", key="name", value="bob").status == 200
    assert alice.get("/read").json["principal"] == "alice"
    assert alice.values()["name"] == "alice"


def copy_record(url: str, source: HttpBrowser, target: HttpBrowser) -> None:
    with closing(open_backend(url)) as backend:
        record, other = (backend.sessions.load(browser.key) for browser in (source, target))
        assert record is not None
        assert other is not None
        backend.sessions.save(
            target.key, record.payload, record.expires_at, expected_version=other.version
        )


# -- visitors without a session --------------------------------------------------------------------


@pytest.mark.parametrize("store", ["memory", "file", "redis", "sqlite", "postgresql"])
def test_looking_makes_no_session(
    store: str,
    tmp_path_factory: pytest.TempPathFactory,
    store_url: Callable[[str], str | None],
) -> None:
    folder = tmp_path_factory.mktemp("visitors")
    url = "memory://" if store == "memory" else store_url(store) or f"file://{folder}"
    config = Config.from_environ(
        {
            "WSGI_SESSIONS_URL": url,
            "WSGI_SESSIONS_SECRET_KEYS": SECRET,
            "WSGI_SESSIONS_KEY_PREFIX": "visitors:",
        }
    )
    with closing(build(look, config)) as stack:
        unknown = f"session={IdSigner([SECRET]).sign(new_id())}"
        for number in range(10_000):
            environ: dict[str, Any] = {} if number % 100 else {"HTTP_COOKIE": unknown}
            setup_testing_defaults(environ)
            list(stack(environ, start_without_cookie))
        assert list(stack.manager.backend.iteration.keys()) == []
        assert stack.manager.events.counts().keys() <= {"refused"}  # the cookie of an unknown id


def look(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Read everything that can be read."""
    session = get_session(environ)
    assert not session
    assert session.get("user") is None
    assert "user" not in session
    assert list(session.items()) == []
    assert session.principal is None
    assert session == {}
    session.pop("user", None)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"welcome"]


def start_without_cookie(status: str, headers: list[tuple[str, str]], _: object = None) -> Any:
    assert status == "200 OK"
    cookies = [value for name, value in headers if name.lower() == "set-cookie"]
    assert all("Max-Age=0" in cookie for cookie in cookies)  # of a session that is not there
