"""`SessionClient`: what an application's tests do by one line each."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from configparser import ConfigParser
from contextlib import closing
from typing import TYPE_CHECKING, Any

import flask
import pytest
from documents import ROOT
from pyramid.config import Configurator
from pyramid.response import Response
from redis_servers import available
from requirements_of_tests import require
from werkzeug.middleware.proxy_fix import ProxyFix

from wsgi_sessions import Config, CookiePolicy, StoreUnavailable, build, exclusive, get_session
from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.testing import SessionClient, StoreFaults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from redis_servers import RedisServer

    from wsgi_sessions import Event, Stack

SECRET = "s" * 40


class Counters:
    """An application that counts in its session, in two ways."""

    def __init__(self, url: str = "memory://", **settings: Any) -> None:
        self.events: list[Event] = []
        self.in_between: Callable[[], object] = lambda: None
        settings = {"secret_keys": (SECRET,), "sweep_interval": None, **settings}
        self.stack: Stack = build(
            self.answer, Config(url=url, **settings), on_event=self.events.append
        )

    def answer(self, environ: Any, start_response: Any) -> list[bytes]:
        session, path = get_session(environ), environ["PATH_INFO"]
        seen = (session.principal, dict(session)) if path != "/untouched" else None
        self.in_between()
        if path == "/naive":
            session["n"] = session.get("n", 0) + 1
        elif path == "/increment":
            session.increment("n")
        elif path == "/set":
            session[environ["QUERY_STRING"]] = True
        elif path == "/fail":
            raise ZeroDivisionError
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [repr(seen).encode()]


@pytest.fixture
def counters() -> Iterator[Counters]:
    counters = Counters()
    with closing(counters.stack):
        yield counters


@pytest.fixture
def client(counters: Counters) -> Iterator[SessionClient]:
    with SessionClient(counters.stack) as client:
        yield client


# -- the session -----------------------------------------------------------------------------------


def test_a_log_in_is_seen_by_the_application(client: SessionClient) -> None:
    client.login("alice", cart=[1])
    assert client.get("/show").text == "('alice', {'cart': [1]})"
    assert client.manager.destroy_sessions_of("alice") == 1
    assert client.get("/show").text == "(None, {})"


def test_each_client_is_a_browser(client: SessionClient, counters: Counters) -> None:
    client.login("alice")
    assert SessionClient(counters.stack).get("/show").text == "(None, {})"


def test_changes_in_a_block_are_stored(client: SessionClient) -> None:
    with client.session() as session:
        session["cart"] = [1]
    with client.session() as session:
        session["cart"].append(2)
    assert client.get("/show").text == "(None, {'cart': [1, 2]})"
    client.get("/increment")
    with client.session() as session:
        assert dict(session) == {"cart": [1, 2], "n": 1}
        session.flush()
    assert client.get("/show").text == "(None, {})"
    assert client.get_cookie("session") is None


def test_a_block_that_only_looks_makes_no_session(client: SessionClient) -> None:
    with client.session() as session:
        assert session.get("n") is None
    assert client.get_cookie("session") is None
    assert client.backend.iteration.count() == 0


def test_a_block_that_raises_stores_nothing(client: SessionClient) -> None:
    client.login("alice")
    with pytest.raises(ZeroDivisionError), client.session() as session:
        session["n"] = 1 / 0
    assert client.get("/show").text == "('alice', {})"


def test_a_block_on_a_store_that_fails_raises(client: SessionClient) -> None:
    client.login("alice")
    with client.fail_store("save"), pytest.raises(StoreUnavailable), client.session() as session:
        session["n"] = 1
    assert client.get("/show").text == "('alice', {})"


def test_an_application_with_a_key_for_its_user_finds_it() -> None:
    counters = Counters(principal_key="user_id")
    with closing(counters.stack):
        client = SessionClient(counters.stack)
        client.login(5)
        assert client.get("/show").text == "(5, {'user_id': 5})"


def test_a_cookie_of_a_path_and_a_host_comes_back() -> None:
    counters = Counters(cookie=CookiePolicy("__Secure-id", path="/shop", secure="always"))
    with closing(counters.stack):
        client = SessionClient(counters.stack)
        client.login("alice")
        assert client.get("/shop/show").text.startswith("('alice'")
        assert client.get("/show").text.startswith("(None")


# -- time ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", ["memory", "file", "sqlite"])
def test_time_passes_at_once(store: str, tmp_path: Path) -> None:
    urls = {
        "memory": "memory://",
        "file": f"file://{tmp_path}/s",
        "sqlite": f"sqlite:///{tmp_path}/s.db",
    }
    schema: Any = {"sql_schema": "create"} if store == "sqlite" else {}
    counters = Counters(urls[store], idle_lifetime=3600.0, absolute_lifetime=7200.0, **schema)
    before = time.time()
    with closing(counters.stack), SessionClient(counters.stack) as client:
        client.login("alice")
        for _ in range(2):
            client.advance(minutes=50)
            assert client.get("/increment").text.startswith("('alice'")
        client.advance(minutes=10)
        assert client.get("/show").text.startswith("('alice'")
        client.advance(minutes=11)
        assert client.get("/show").text == "(None, {})", "its absolute lifetime is over"
        assert time.time() > before + 7200
    assert time.time() < before + 3600, "the clock was put back"


def test_an_unused_session_expires(client: SessionClient) -> None:
    client.login("alice")
    client.advance(days=1, seconds=1)
    assert client.get("/show").text == "(None, {})"


def test_time_of_a_server_cannot_be_moved(end_to_end_redis: RedisServer) -> None:
    require(available())
    counters = Counters(end_to_end_redis.url, key_prefix="client:")
    before = time.time()
    with closing(counters.stack), SessionClient(counters.stack) as client:
        client.login("alice")
        with pytest.raises(RuntimeError, match=r"\(redis\).*memory:// or in files"):
            client.advance(hours=2)
        assert time.time() < before + 3600
        assert client.backend.iteration.count() == 1


def test_time_is_moved_in_a_block_and_forward_only(counters: Counters) -> None:
    client = SessionClient(counters.stack)
    with pytest.raises(RuntimeError, match="with SessionClient"):
        client.advance(hours=1)
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="forward only"):
            client.advance(hours=wrong)


# -- faults ----------------------------------------------------------------------------------------


def test_a_store_fails_on_demand(client: SessionClient) -> None:
    client.login("alice")
    with client.fail_store():
        assert client.get("/show").status_code == 503
        assert client.get("/untouched").status_code == 200
    assert client.get("/show").status_code == 200
    with client.fail_store("save", "create"):
        assert client.get("/show").status_code == 200
        assert client.get("/increment").status_code == 503
    assert client.get("/show").text == "('alice', {})"


def test_an_operation_that_there_is_not_is_named(client: SessionClient) -> None:
    with (
        pytest.raises(ValueError, match=r"'saves'.*expected one of create, load"),
        client.fail_store("saves"),
    ):
        pytest.fail("not reached")


def test_an_answer_is_lost(client: SessionClient) -> None:
    client.login("alice")
    with client.faults.lose_answers("save"):
        assert client.get("/increment").status_code == 503
        assert client.get("/increment").status_code == 200
    assert client.get("/show").text == "('alice', {'n': 2})"


def test_calls_are_counted(client: SessionClient) -> None:
    client.login("alice")
    with StoreFaults(client.backend).count() as calls:
        client.get("/untouched")
        assert not calls
        client.get("/increment")
        assert calls == {"load": 1, "save": 1}
    client.get("/increment")
    assert calls == {"load": 1, "save": 1}


# -- overlapping requests --------------------------------------------------------------------------


def test_requests_overlap_in_the_same_way_each_time(
    client: SessionClient, counters: Counters
) -> None:
    for _ in range(20):
        with client.session() as session:
            session.flush()
        client.login("alice")
        answers = client.parallel("/set?a", "/increment", "/increment")
        assert {answer.text for answer in answers} == {"('alice', {})"}
        assert client.get("/show").text == "('alice', {'a': True, 'n': 2})"
    assert not [event for event in counters.events if event.name == "conflict"]


def test_a_naive_counter_is_seen_to_lose(client: SessionClient, counters: Counters) -> None:
    client.login("alice", n=0)
    client.parallel("/naive", "/naive")
    assert client.get("/show").text == "('alice', {'n': 1})"
    (conflict,) = [event for event in counters.events if event.name == "conflict"]
    assert conflict.facts["route"] == "GET /naive"


def test_arguments_of_a_request_are_those_of_open(client: SessionClient) -> None:
    client.login("alice")
    answers = client.parallel(
        {"path": "/set", "method": "POST", "query_string": "a", "data": {"x": "y"}}, "/set?b"
    )
    assert [answer.request.method for answer in answers] == ["POST", "GET"]
    assert client.get("/show").text == "('alice', {'a': True, 'b': True})"


def test_cookies_of_overlapping_requests_are_kept(client: SessionClient) -> None:
    """As by a browser: the last one that comes counts."""
    first, second = client.parallel("/set?a", "/set?b")
    assert first.headers["Set-Cookie"] != second.headers["Set-Cookie"]
    assert client.get("/show").text == "(None, {'b': True})"


def test_requests_that_take_turns_do_not_hang(counters: Counters) -> None:
    @exclusive
    def turns(environ: Any, start_response: Any) -> list[bytes]:
        return counters.answer(environ, start_response)

    stack = build(turns, Config(url="memory://", secret_keys=(SECRET,), sweep_interval=None))
    with closing(stack):
        client = SessionClient(stack)
        client.login("alice", n=0)
        answers = client.parallel("/naive", "/naive", "/naive")
        assert [answer.text for answer in answers] == [
            "('alice', {'n': 0})",
            "('alice', {'n': 1})",
            "('alice', {'n': 2})",
        ]


def test_an_application_s_exception_is_raised(client: SessionClient) -> None:
    client.login("alice")
    with pytest.raises(ZeroDivisionError):
        client.parallel("/increment", "/fail")
    assert client.get("/show").text == "('alice', {'n': 1})"


def test_a_request_that_waits_for_another_raises(
    client: SessionClient, counters: Counters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsgi_sessions.testing.overlap.PATIENCE", 0.05)
    client.login("alice")
    meeting = threading.Barrier(2)
    counters.in_between = lambda: meeting.wait(20)
    with pytest.raises(RuntimeError, match="must not wait for another one"):
        client.parallel("/increment", "/increment")
    meeting.abort()


# -- whose sessions --------------------------------------------------------------------------------


def flask_app() -> flask.Flask:
    app = flask.Flask(__name__)
    app.config.update(SECRET_KEY=SECRET, WSGI_SESSIONS_URL="memory://", TESTING=True)

    @app.get("/naive")
    def naive() -> str:
        flask.session["n"] = flask.session.get("n", 0) + 1
        return str(flask.session["n"])

    return app


def test_flask_is_served_too() -> None:
    app = flask_app()
    sessions = WSGISessions(app)
    app.wsgi_app = ProxyFix(app.wsgi_app)  # type: ignore[method-assign]
    with SessionClient(app) as client:
        client.login("alice", n=5)
        assert client.get("/naive").text == "6"
        assert [answer.text for answer in client.parallel("/naive", "/naive")] == ["7", "7"]
        with client.fail_store():
            assert client.get("/naive").status_code == 503
        client.advance(days=40)
        assert client.get("/naive").text == "1"
    sessions.close(app)


def test_pyramid_is_served_too() -> None:
    def naive(request: Any) -> Response:
        request.session["n"] = request.session.get("n", 0) + 1
        return Response(str(request.session["n"]))

    settings = {"wsgi_sessions.url": "memory://", "wsgi_sessions.secret_keys": SECRET}
    with Configurator(settings=settings) as config:
        config.include("wsgi_sessions.contrib.pyramid")
        config.add_route("naive", "/naive")
        config.add_view(naive, route_name="naive")
        app = config.make_wsgi_app()
    with SessionClient(ProxyFix(app)) as client:
        client.login("alice", n=5)
        assert [answer.text for answer in client.parallel("/naive", "/naive")] == ["6", "6"]
        with client.fail_store():
            assert client.get("/naive").status_code == 503
        client.advance(days=40)
        assert client.get("/naive").text == "1"
    client.manager.backend.close()


def test_the_sessions_are_found_behind_other_middlewares(counters: Counters) -> None:
    def hides(environ: Any, start_response: Any) -> Any:
        return counters.stack(environ, start_response)

    for client in (
        SessionClient(ProxyFix(counters.stack)),
        SessionClient(hides, sessions=counters.stack),
        SessionClient(counters.stack.sessions),
    ):
        client.login("alice")
        assert client.get("/show").text == "('alice', {})"
    with pytest.raises(ValueError, match="in function: pass what build"):
        SessionClient(hides)


# -- pytest ----------------------------------------------------------------------------------------

TESTS = """
import pytest
from wsgi_sessions import Config, build, get_session

@pytest.fixture
def app():
    def answer(environ, start_response):
        start_response("200 OK", [])
        return [str(get_session(environ).principal).encode()]
    stack = build(answer, Config(url="memory://", secret_keys=("s" * 40,)))
    yield stack
    stack.close()

def test_one(session_client):
    session_client.login("alice")
    session_client.advance(hours=1)
    assert session_client.get("/").text == "alice"

def test_two(session_clients):
    alice, bob = session_clients(), session_clients()
    alice.login("alice")
    assert bob.get("/").text == "None"
"""


def test_pytest_has_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_app.py").write_text(TESTS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "wsgi_sessions.testing.plugin", "-W", "error"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},  # it may be installed, too
    )
    assert re.search(r"^2 passed", done.stdout, re.MULTILINE), done.stdout


def test_pytest_finds_the_fixtures_without_configuration() -> None:
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg")
    assert settings["options.entry_points"]["pytest11"].split() == [
        *("wsgi_sessions", "=", "wsgi_sessions.testing.plugin"),
    ]


def test_a_client_needs_no_pytest_and_the_contract_says_that_it_does() -> None:
    program = """
import sys
sys.modules["pytest"] = None
import wsgi_sessions.testing
print(wsgi_sessions.testing.SessionClient.__name__)
try:
    wsgi_sessions.testing.SessionStoreContract
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "SessionClient",
        "SessionStoreContract needs pytest: pip install 'wsgi-sessions[testing]'",
    ]
