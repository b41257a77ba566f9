"""What a client gets where a session could not be reached or stored is the application's to say."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import flask
import pytest
from flask import Flask, session
from flask_clients import of_nobody
from werkzeug.exceptions import Conflict, HTTPException, ServiceUnavailable
from wsgi_client import Browser, Response, call, environ_of

from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.errors import (
    ConfigurationError,
    LockTimeout,
    SessionConflict,
    SessionError,
    StoreUnavailable,
)
from wsgi_sessions.http.answers import asks_for_json
from wsgi_sessions.http.environ import get_session, get_transaction
from wsgi_sessions.identity import IdSigner
from wsgi_sessions.stack.build import build
from wsgi_sessions.stack.config import Config
from wsgi_sessions.testing.wrapped import sessions_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.core.manager import SessionManager

SECRET = "s" * 40
COOKIE = f"session={IdSigner([SECRET]).sign('i' * 40)}"


class OutageSite:
    """An application on a memory store that can be down."""

    def __init__(self, *, environ: dict[str, str] | None = None, **hooks: Any) -> None:
        self.answer: Callable[[Any, Any], Any] | None = None
        given = {"WSGI_SESSIONS_URL": "memory://", "WSGI_SESSIONS_SECRET_KEYS": SECRET}
        config = Config.from_environ(
            {**given, "WSGI_SESSIONS_SWEEP_INTERVAL": "off", **(environ or {})}
        )
        self.stack = build(self._app, config, **hooks)
        self.store = Faulty(self.stack.manager)

    def _app(self, environ: Any, start_response: Any) -> Any:
        if self.answer is not None:
            return self.answer(environ, start_response)
        if environ["PATH_INFO"] == "/write":
            get_session(environ)["n"] = 1
        elif environ["PATH_INFO"] == "/conflict":
            raise SessionConflict([])
        else:
            get_session(environ).get("n")
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"fine"]

    def ask(self, path: str, method: str = "GET", **more: Any) -> Response:
        cookie = None if path == "/write" else COOKIE
        return call(self.stack, environ_of(path, method, cookie, **more))


class Faulty:
    """A switch for each operation of a store."""

    def __init__(self, manager: SessionManager) -> None:
        self.calls = 0
        self.fault: Exception | None = StoreUnavailable("down for the test")
        store: Any = manager.backend.sessions
        for name in ("create", "load", "save", "touch", "delete"):
            setattr(store, name, self._switched(getattr(store, name)))

    def _switched(self, operation: Any) -> Any:
        def switched(*args: Any, **more: Any) -> Any:
            self.calls += 1
            if self.fault is not None:
                raise self.fault
            return operation(*args, **more)

        return switched


# -- the answer of the middleware --------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", True),
        ("application/json, text/plain, */*", False),
        ("application/json, text/plain;q=0.5, */*", True),
        ("application/problem+json", True),
        ("application/vnd.api+json;q=0.9, text/html;q=0.8", True),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("text/html, application/json", False),
        ("application/json;q=0", False),
        ("application/json;q=x", False),
        ("APPLICATION/JSON ; Q=0.3", True),
    ],
)
def test_clients_that_ask_for_json_get_it(accept: str, expected: bool) -> None:
    assert asks_for_json(accept) == expected


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [("/", 503, "session_unavailable"), ("/conflict", 409, "session_conflict")],
)
def test_the_answer_in_json(path: str, status: int, name: str) -> None:
    response = OutageSite().ask(path, HTTP_ACCEPT="application/json")
    assert response.status == status
    assert response.header("Content-Type") == "application/json"
    assert response.header("Cache-Control") == "no-store"
    assert (response.header("Retry-After") is None) == (status == 409)
    found = json.loads(response.body)
    assert set(found) == {"error", "message"}
    assert found["error"] == name
    assert OutageSite().ask(path).header("Content-Type") == "text/plain; charset=utf-8"


@pytest.mark.parametrize("accept", ["application/json", "text/html"])
@pytest.mark.parametrize("path", ["/", "/write"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_client_that_sent_data_is_not_told_that_nothing_is_lost(
    path: str, method: str, accept: str
) -> None:
    body = OutageSite().ask(path, method, HTTP_ACCEPT=accept).body
    assert b"may not have been saved" in body
    assert b"othing is lost" not in body
    assert b"may not have been saved" not in OutageSite().ask(path, "GET", HTTP_ACCEPT=accept).body


# -- a page of the application's ---------------------------------------------------------------


def page(environ: Any, start_response: Any) -> Any:
    """A page of an application's own."""
    error = environ["wsgi_sessions.error"]
    found = get_session(environ)
    facts = {
        "error": type(error).__name__,
        "session": dict(found),
        "principal": found.principal,
        "body": environ["wsgi.input"].read().decode(),
    }
    start_response("521 Down", [("Content-Type", "application/json"), ("X-Own", "1")])
    yield json.dumps(facts).encode()


@pytest.mark.parametrize(
    "settings",
    [
        {"on_unavailable": page},
        {"environ": {"WSGI_SESSIONS_ON_UNAVAILABLE": f"{__name__}:page"}},
    ],
)
@pytest.mark.parametrize(
    ("path", "error"),
    [("/", "StoreUnavailable"), ("/write", "StoreUnavailable"), ("/conflict", "SessionConflict")],
)
def test_a_page_of_its_own_with_its_status(
    settings: dict[str, Any], path: str, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    site = OutageSite(**settings)
    response = site.ask(path, "POST", CONTENT_LENGTH="5")
    assert (response.status, response.header("X-Own")) == (521, "1")
    assert json.loads(response.body) == {
        "error": error,
        "session": {},
        "principal": None,
        "body": "",
    }
    assert caplog.text.count("session unavailable") == (path != "/conflict")
    assert site.ask(path, "HEAD").body == b""


def test_a_page_sees_no_session_that_could_be_read_but_not_stored() -> None:
    site = OutageSite(on_unavailable=page)
    site.store.fault = None
    browser = Browser(site.stack)
    site.answer = lambda environ, start: _login(environ, start)
    browser.get("/")
    site.answer = None
    site.store.fault = None
    store: Any = site.stack.manager.backend.sessions

    def refuse(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("full")

    store.save = refuse
    site.answer = _write
    response = browser.get("/")
    assert response.status == 521
    assert json.loads(response.body)["session"] == {}


def _login(environ: Any, start_response: Any) -> Any:
    get_session(environ)["n"] = 1
    start_response("200 OK", [])
    return [b""]


def _write(environ: Any, start_response: Any) -> Any:
    get_session(environ).increment("n")
    start_response("200 OK", [])
    return [b""]


@pytest.mark.parametrize("how", ["raises", "no start_response", "raises in the body", "writes"])
def test_a_page_that_fails_is_replaced(how: str, caplog: pytest.LogCaptureFixture) -> None:
    def failing(environ: Any, start_response: Any) -> Any:
        if how == "raises":
            raise KeyError("x")
        if how == "writes":
            get_session(environ)["n"] = 1
        if how != "no start_response":
            start_response("200 OK", [])
        if how == "raises in the body":
            return map(int, ["x"])
        return [b"partial"]

    response = OutageSite(on_unavailable=failing).ask("/")
    assert (response.status, response.header("Retry-After")) == (503, "1")
    assert "the application's page for an outage failed" in caplog.text


@pytest.mark.parametrize("path", ["nowhere:page", f"{__name__}:nothing", f"{__name__}:SECRET"])
def test_a_page_that_cannot_be_found_stops_the_start(path: str) -> None:
    with pytest.raises(ConfigurationError, match="WSGI_SESSIONS_ON_UNAVAILABLE"):
        OutageSite(environ={"WSGI_SESSIONS_ON_UNAVAILABLE": path})


@pytest.mark.parametrize("status", ["503 Unavailable", "502 Bad Gateway", "200 OK", "404 X"])
def test_an_application_that_caught_the_error_answers_itself(
    status: str, caplog: pytest.LogCaptureFixture
) -> None:
    site = OutageSite()

    def own(environ: Any, start_response: Any) -> Any:
        with pytest.raises(StoreUnavailable):
            get_session(environ).get("n")
        start_response(status, [("Content-Type", "text/plain")])
        return [b"own page"]

    site.answer = own
    response = site.ask("/")
    assert (response.status, response.body) == (int(status[:3]), b"own page")
    assert response.header("Set-Cookie") is None
    assert caplog.text.count("session unavailable") == 1, "reported all the same"


def test_a_500_of_a_framework_is_replaced() -> None:
    site = OutageSite(on_unavailable=page)

    def framework(environ: Any, start_response: Any) -> Any:
        with pytest.raises(StoreUnavailable):
            get_session(environ).get("n")
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        return [b"oh"]

    site.answer = framework
    assert site.ask("/").status == 521


# -- after the first failure -------------------------------------------------------------------


def test_after_the_first_failure_a_session_reads_as_empty() -> None:
    site, found = OutageSite(), []

    def look(environ: Any, start_response: Any) -> Any:
        own, again = get_session(environ), get_transaction(environ).session
        with pytest.raises(StoreUnavailable):
            own.get("n")
        found.append((dict(own), len(again), "n" in own, own.get("n", 7), own.principal, own.new))
        stores: list[Callable[[], Any]] = [
            lambda: own.update(n=1),
            lambda: own.login("alice"),
            own.flush,
            own.cycle_id,
            own.commit,
            own.exclusive().__enter__,
            get_transaction(environ).hold,
        ]
        for store in stores:
            with pytest.raises(StoreUnavailable, match="down for the test"):
                store()
        assert not own.accessed
        assert not own.modified
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"done"]

    site.answer = look
    assert site.ask("/").body == b"done"
    assert found == [({}, 0, False, 7, None, True)]
    assert site.store.calls == 1, "the store is not asked again"


# -- Flask -------------------------------------------------------------------------------------


class FlaskOutageSite:
    """A Flask application whose store can be down."""

    def __init__(self, **hooks: Any) -> None:
        self.app = app = Flask(__name__)
        app.config.update(
            SECRET_KEY=SECRET, WSGI_SESSIONS_URL="memory://", WSGI_SESSIONS_ON_CONFLICT="raise"
        )
        self.sessions = WSGISessions(app, **hooks)
        bp = flask.Blueprint("shop", __name__, url_prefix="/shop")
        self.blueprint = bp
        for target in (app, bp):
            target.add_url_rule("/read", "read", lambda: str(session.get("n")))
            target.add_url_rule("/write", "write", self._write, methods=["GET", "POST"])
            target.add_url_rule("/conflict", "conflict", self._conflict)
            target.add_url_rule("/nothing", "nothing", lambda: "nothing")

        @app.after_request
        def look(response: flask.Response) -> flask.Response:
            response.headers["X-After"] = str(session.get("n", "nobody"))
            return response

    @staticmethod
    def _write() -> str:
        session["n"] = 1
        return "ok"

    @staticmethod
    def _conflict() -> str:
        raise SessionConflict([])

    def ask(self, path: str, method: str = "GET", **headers: str) -> Any:
        if "shop" not in self.app.blueprints:
            self.app.register_blueprint(self.blueprint)
        store = Faulty(sessions_of(self.app).manager)
        if "conflict" in path:
            store.fault = None
        if "write" not in path:
            headers["Cookie"] = f"session={of_nobody(self.app)}"
        return self.app.test_client(use_cookies=False).open(path, method=method, headers=headers)


PATHS = ["/read", "/write", "/shop/read", "/shop/write"]


def shown(error: Any) -> Any:
    """A handler that draws its page as all pages are: with a look at the session."""
    return flask.jsonify(own=type(error).__name__, user=session.get("user")), 503


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "handled", [StoreUnavailable, SessionError, 503, ServiceUnavailable, HTTPException]
)
def test_flask_handlers_answer(path: str, handled: Any, caplog: pytest.LogCaptureFixture) -> None:
    site = FlaskOutageSite()
    site.app.register_error_handler(handled, shown)
    response = site.ask(path)
    assert (response.status_code, response.content_type) == (503, "application/json"), response.text
    of_http = handled in (503, ServiceUnavailable, HTTPException)
    expected = "ServiceUnavailable" if of_http else "StoreUnavailable"
    assert response.json == {"own": expected, "user": None}
    assert response.headers["X-After"] == "nobody"
    assert "Set-Cookie" not in response.headers
    assert [r.getMessage().split()[1] for r in warnings(caplog)] == ["unavailable"]


@pytest.mark.parametrize("path", ["/shop/read", "/shop/write"])
def test_flask_handlers_of_a_blueprint_go_first(path: str) -> None:
    site = FlaskOutageSite()
    site.app.register_error_handler(503, lambda error: ("general", 503))
    site.blueprint.register_error_handler(503, lambda error: ("of the shop", 418))
    response = site.ask(path)
    assert (response.status_code, response.text) == (418, "of the shop")
    assert site.ask(path.removeprefix("/shop")).text == "general"


@pytest.mark.parametrize("handled", [SessionConflict, SessionError, 409, Conflict, HTTPException])
def test_flask_handlers_answer_a_conflict(handled: Any) -> None:
    site = FlaskOutageSite()
    site.app.register_error_handler(handled, lambda error: ("own", 409))
    response = site.ask("/conflict")
    assert (response.status_code, response.text) == (409, "own")


def test_flask_handlers_answer_a_conflict_at_the_commit() -> None:
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=SECRET, WSGI_SESSIONS_URL="memory://", WSGI_SESSIONS_ON_CONFLICT="raise"
    )
    WSGISessions(app)
    app.register_error_handler(409, lambda error: (f"own page, n={session.get('n')}", 409))

    @app.get("/<value>")
    def change(value: str) -> str:
        session["n"] = session.get("n", "") + value
        if value == "slow":
            other = app.test_client()
            other.set_cookie("session", flask.request.cookies["session"])
            other.get("/fast")
        return "ok"

    client = app.test_client()
    client.get("/first")
    response = client.get("/slow")
    assert (response.status_code, response.text) == (409, "own page, n=None")


def test_a_handler_for_everything_is_not_asked_and_a_hook_is() -> None:
    site = FlaskOutageSite()
    site.app.register_error_handler(Exception, lambda error: ("oops", 200))
    assert [site.ask(path).status_code for path in PATHS] == [503] * 4
    site = FlaskOutageSite(on_unavailable=page)
    site.app.register_error_handler(Exception, lambda error: ("oops", 200))
    site.app.register_error_handler(LockTimeout, lambda error: ("another", 200))
    assert [site.ask(path).status_code for path in PATHS] == [521] * 4


def test_a_flask_handler_that_fails_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    site = FlaskOutageSite()

    def failing(error: Any) -> Any:
        raise KeyError("x")

    site.app.register_error_handler(503, failing)
    assert site.ask("/write").status_code == 503
    assert site.ask("/read").status_code == 503


def test_flask_where_only_what_runs_after_a_view_needs_the_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    response = FlaskOutageSite().ask("/nothing")
    assert response.status_code == 503
    assert [r.getMessage().split()[1] for r in warnings(caplog)] == ["unavailable"]


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What an operator sees of a request."""
    found = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert all(record.exc_info is None for record in found)
    return found
