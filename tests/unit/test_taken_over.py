"""Requests that end without a response, as WebSocket libraries end them, and roll-backs: what needs
no cookie is stored, and nothing is dropped without a word."""

from __future__ import annotations

from ast import literal_eval
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, session
from flask import Response as FlaskResponse
from flask_clients import all_closed
from overlapping import SECRET, Sessions, cookie_in
from wsgi_client import Browser, call, environ_of

from wsgi_sessions import Config, StoreUnavailable, build, get_session
from wsgi_sessions.contrib.flask import WSGISessions
from wsgi_sessions.stores.urls import open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from wsgi_sessions import Event, Session

    End = Callable[[], Any]

NO_COOKIE = "the response cannot carry a cookie, or no longer can"


def raise_stop_iteration() -> list[bytes]:
    """As flask-sock under gunicorn."""
    raise StopIteration


def return_nothing() -> list[bytes]:
    """As flask-sock under gevent, eventlet and others."""
    return []


def return_an_empty_string() -> bytes:
    """As applications of uWSGI."""
    return b""


ENDS: list[End] = [raise_stop_iteration, return_nothing, return_an_empty_string]


class Socket:
    """An application with pages, and a path whose requests end without start_response."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.events: list[Event] = []
        self.talk: Callable[[Session], object] = lambda session: None
        self.end: End = raise_stop_iteration
        config = Config(url=url, secret_keys=(SECRET,), sweep_interval=None, **settings)
        self.stack = build(self._app, config, on_event=self.events.append)
        page = call(self.stack, environ_of("/begin"))
        self.cookie = cookie_in(page)
        self.events.clear()

    def open(self, talk: Callable[[Session], object], cookie: str | None = None) -> Any:
        """Talk on a socket until its request ends; what the server gets for a body."""
        self.talk = talk
        body = None
        try:
            body = self.stack(environ_of("/socket", cookie=cookie), _no_response)
            assert not body
        except StopIteration:
            assert self.end is raise_stop_iteration
        return body

    def values(self) -> dict[str, Any]:
        """What the next page finds."""
        page = call(self.stack, environ_of("/read", cookie=self.cookie))
        found: dict[str, Any] = literal_eval(page.body.decode())
        return found

    def reported(self) -> list[tuple[str, object]]:
        return [(event.name, event.facts.get("reason")) for event in self.events]

    def _app(self, environ: Any, start_response: Any) -> Any:
        session = get_session(environ)
        if environ["PATH_INFO"] == "/socket":
            self.talk(session)
            return self.end()
        if environ["PATH_INFO"] == "/begin":
            session["n"] = 0
        start_response("200 OK", [])
        return [repr(dict(session)).encode()]


def _no_response(*_: Any) -> Any:
    pytest.fail("a response was begun on a connection that the application has taken")


@pytest.fixture
def socket(tmp_path: Path) -> Iterator[Socket]:
    site = Socket(f"file://{tmp_path}")
    yield site
    site.stack.close()


def add(session: Session) -> None:
    session["n"] += 1
    session["said"] = "hello"


@pytest.mark.parametrize("end", ENDS)
def test_changes_of_a_socket_are_stored(socket: Socket, end: End) -> None:
    socket.end = end
    socket.open(add, socket.cookie)
    assert socket.values() == {"n": 1, "said": "hello"}
    assert socket.reported() == []


@pytest.mark.parametrize("end", ENDS)
def test_a_new_session_that_no_client_would_learn_of_is_dropped(socket: Socket, end: End) -> None:
    socket.end = end
    socket.open(lambda session: session.update(n=7))
    assert socket.reported() == [("dropped", NO_COOKIE)]


@pytest.mark.parametrize("end", ENDS)
def test_a_login_on_a_socket_is_dropped_and_leaves_the_session_alone(
    socket: Socket, end: End
) -> None:
    socket.end = end
    socket.open(lambda session: session.login("alice"), socket.cookie)
    assert socket.reported() == [("dropped", NO_COOKIE)]
    assert socket.values() == {"n": 0}


def test_a_logout_on_a_socket_takes_place(socket: Socket) -> None:
    socket.open(lambda session: session.flush(), socket.cookie)
    assert socket.values() == {}


@pytest.mark.parametrize("end", ENDS)
def test_a_socket_on_an_exclusive_path_frees_the_session(tmp_path: Path, end: End) -> None:
    socket = Socket(f"file://{tmp_path}", exclusive_paths=("/socket",), exclusive_wait=0.05)
    socket.end = end
    for _ in range(2):
        socket.open(add, socket.cookie)
    assert socket.values()["n"] == 2
    socket.stack.close()


def test_changes_that_cannot_be_stored_at_the_end_of_a_socket_are_lost_and_reported(
    socket: Socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("the store is down", operation="save", key=None, attempts=1)

    def talk(session: Session) -> None:
        add(session)
        monkeypatch.setattr(socket.stack.manager, "commit", fail)

    with pytest.raises(StoreUnavailable):
        socket.open(talk, socket.cookie)
    assert socket.reported() == [("lost", None)]


def test_a_body_without_a_status_is_still_an_error_and_says_what_it_dropped(
    socket: Socket,
) -> None:
    socket.end = lambda: [b"a body"]
    with pytest.raises(RuntimeError, match="did not call start_response"):
        socket.open(add, socket.cookie)
    assert [name for name, _ in socket.reported()] == ["dropped"]
    assert socket.values() == {"n": 0}


# -- roll-backs ------------------------------------------------------------------------------------


class Failing:
    """An application that fails after it has changed its session, as `fail` does."""

    def __init__(self, url: str, fail: Callable[[Session, Any], list[bytes]]) -> None:
        self.events: list[Event] = []
        config = Config(url=url, secret_keys=(SECRET,), sweep_interval=None)
        self._fail = fail
        self.stack = build(self._app, config, on_event=self.events.append)

    def run(self) -> list[object]:
        """The reasons of what was dropped."""
        with_cookie = Browser(self.stack)
        with_cookie.get("/")
        with suppress(KeyError):
            with_cookie.get("/fail")
        self.stack.close()
        return [event.facts["reason"] for event in self.events if event.name == "dropped"]

    def _app(self, environ: Any, start_response: Any) -> list[bytes]:
        session = get_session(environ)
        if environ["PATH_INFO"] == "/fail":
            return self._fail(session, start_response)
        session["n"] = 0
        start_response("200 OK", [])
        return []


def _raise(session: Session, _: Any) -> list[bytes]:
    session["n"] += 1
    raise KeyError("not ours")


def _answer_500(session: Session, start_response: Any) -> list[bytes]:
    session["n"] += 1
    start_response("500 Internal Server Error", [])
    return []


def _read_and_raise(session: Session, _: Any) -> list[bytes]:
    assert session["n"] == 0
    raise KeyError("not ours")


def _log_out_and_raise(session: Session, _: Any) -> list[bytes]:
    session.flush()
    raise KeyError("not ours")


@pytest.mark.parametrize(
    ("fail", "reasons"),
    [
        (_raise, ["the application raised KeyError"]),
        (_answer_500, ["the response was a 500"]),
        (_read_and_raise, []),
        (_log_out_and_raise, []),
    ],
)
def test_the_changes_of_a_failed_request_are_reported_as_dropped(
    tmp_path: Path, fail: Callable[[Session, Any], list[bytes]], reasons: list[str]
) -> None:
    assert Failing(f"file://{tmp_path}", fail).run() == reasons


def test_a_value_that_no_session_can_hold_is_dropped_with_a_word() -> None:
    sessions = Sessions(open_backend("memory://"))
    transaction = sessions.begin(sessions.new(log=[]))
    transaction.session["log"].append(object())
    transaction.roll_back("the application raised KeyError")
    assert sessions.reported("dropped") == ["GET /"]


# -- Flask -----------------------------------------------------------------------------------------


class SocketResponse(FlaskResponse):
    """As that of flask-sock."""

    end: End = staticmethod(raise_stop_iteration)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        return type(self).end()


def flask_app(folder: Path, sessions: type[WSGISessions] = WSGISessions) -> Flask:
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=SECRET, WSGI_SESSIONS_URL=f"file://{folder}", WSGI_SESSIONS_SWEEP_INTERVAL="off"
    )
    sessions(app)

    @app.get("/")
    def page() -> str:
        session.setdefault("n", 0)
        return str(session["n"])

    @app.get("/socket")
    def talk() -> FlaskResponse:
        session["n"] += 1
        return SocketResponse()

    return app


def talk_in_flask(app: Flask) -> bytes:
    """What a page shows after a socket that has changed the session."""
    browser = Browser(app)
    browser.get("/")
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    with suppress(StopIteration):
        app(environ_of("/socket", cookie=cookie), _no_response)
    return browser.get("/").body


@pytest.mark.parametrize("end", ENDS)
def test_changes_of_a_flask_socket_are_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: End
) -> None:
    monkeypatch.setattr(SocketResponse, "end", staticmethod(end))
    with all_closed(monkeypatch):
        assert talk_in_flask(flask_app(tmp_path)) == b"1"


def test_a_socket_of_flask_that_is_not_saved_stores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unsaved(WSGISessions):
        def save_session(self, app: Any, session: Any, response: Any) -> None:
            if not isinstance(response, SocketResponse):
                super().save_session(app, session, response)

    with all_closed(monkeypatch):
        assert talk_in_flask(flask_app(tmp_path, Unsaved)) == b"0"
