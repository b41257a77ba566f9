"""One environ, many events, as Flask-SocketIO has it: each event is a unit of work of its own, in
both orders of set-up. Its responses are never sent, so nothing that needs a cookie is stored."""

from __future__ import annotations

import threading
from ast import literal_eval
from typing import TYPE_CHECKING, Any, Literal

import pytest
from flask import Flask, session
from flask_clients import all_closed
from overlapping import SECRET
from wsgi_client import Browser, call, environ_of

from wsgi_sessions.contrib.flask import WSGISessions, current_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Order = Literal["sessions-first", "sockets-first"]
ORDERS: tuple[Order, ...] = ("sessions-first", "sockets-first")
ENGINE = "EIO=4&transport=websocket"  # as Engine.IO's clients say
RIGHTS = {
    "PRINCIPAL_KEY": "n",
    "VERSION_RIGHTS": "user:{principal}",
    "VERSION_MAX_AGE": "0",
}
NO_COOKIE = "the response cannot carry a cookie, or no longer can"


class Sockets:
    """What Flask-SocketIO makes of an application: requests to /socket.io/ are its own, and what
    clients send later is handled with the environ of then."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._inner = app.wsgi_app
        app.wsgi_app = self  # type: ignore[method-assign]
        self.environ: dict[str, Any] = {}
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/socket.io/":
            return self._inner(environ, start_response)
        self.environ = environ
        self.meanwhile()
        start_response("200 OK", [])
        return [b"ok"]

    def event(self, handle: Callable[[], object]) -> None:
        """Handle an event of the client, with manage_session=False."""
        with self._app.request_context(self.environ):
            opened = session._get_current_object()  # type: ignore[attr-defined]
            handle()
            if opened.modified:
                response = self._app.response_class()
                self._app.session_interface.save_session(self._app, opened, response)


class SocketSite:
    """A Flask application with pages and sockets, and a browser that has a session."""

    def __init__(
        self,
        folder: Path,
        order: Order,
        query: str = ENGINE,
        held: str = "/held",
        **settings: str,
    ) -> None:
        self.app = Flask(__name__)
        self.app.config.update(
            SECRET_KEY=SECRET,
            WSGI_SESSIONS_URL=f"file://{folder}",
            WSGI_SESSIONS_SWEEP_INTERVAL="off",
            WSGI_SESSIONS_EXCLUSIVE_PATHS=held,
            WSGI_SESSIONS_EXCLUSIVE_WAIT="100ms",
            **settings,
        )
        self.events: list[Any] = []
        self._query = query
        if order == "sockets-first":
            self.sockets = Sockets(self.app)
        self.sessions = WSGISessions(self.app, on_event=self.events.append)
        if order == "sessions-first":
            self.sockets = Sockets(self.app)
        self.app.add_url_rule("/", view_func=lambda: repr(dict(session)))
        self.app.add_url_rule("/add", view_func=self._add)
        self.app.add_url_rule("/held", endpoint="held", view_func=self._add)
        self.browser = Browser(self.app)
        self.browser.get("/add")
        self.events.clear()

    def connect(self, *, anonymous: bool = False) -> None:
        """The request that a client's events come by."""
        cookie = None if anonymous else f"session={self.browser.cookies['session']}"
        call(self.app, environ_of("/socket.io/", cookie=cookie, QUERY_STRING=self._query))

    def n(self) -> int:
        """What a page finds."""
        found: dict[str, int] = literal_eval(self.browser.get("/").body.decode())
        return found["n"]

    def reported(self) -> list[tuple[str, object]]:
        return [(event.name, event.facts.get("reason")) for event in self.events]

    @staticmethod
    def _add() -> str:
        add()
        return "added"


def add() -> None:
    session["n"] = session.get("n", 0) + 1


@pytest.fixture(params=[(order, query) for order in ORDERS for query in (ENGINE, "")])
def site(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SocketSite]:
    """In both orders; the query of Engine.IO is not needed."""
    with all_closed(monkeypatch):
        yield SocketSite(tmp_path, *request.param)


def test_each_event_sees_and_stores_the_session_as_it_is(site: SocketSite) -> None:
    site.connect()
    for number in range(1, 8, 2):
        assert site.n() == number
        site.sockets.event(add)
        assert site.n() == number + 1
        site.browser.get("/add")


def test_the_same_holds_during_the_request_of_a_socket(site: SocketSite) -> None:
    def talk() -> None:
        for number in range(1, 8, 2):
            site.sockets.event(add)
            assert site.n() == number + 1
            site.browser.get("/add")

    site.sockets.meanwhile = talk
    site.connect()
    assert site.n() == 9
    assert site.reported() == []


def test_events_of_several_threads_have_a_session_each(site: SocketSite) -> None:
    both = threading.Barrier(4)

    def count() -> None:
        both.wait(10)
        current_session().increment("n")
        both.wait(10)

    def talk() -> None:
        threads = [threading.Thread(target=site.sockets.event, args=(count,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    site.sockets.meanwhile = talk
    site.connect()
    assert site.n() == 5


@pytest.mark.parametrize("order", ORDERS)
def test_an_event_that_only_reads_stores_nothing_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Order
) -> None:
    with all_closed(monkeypatch):
        site = SocketSite(tmp_path, order, held="/held,/socket.io/")
        site.connect()
        for _ in range(2):
            site.sockets.event(lambda: session["n"])
        assert site.browser.get("/held").body == b"added"
        assert site.reported() == []


@pytest.mark.parametrize("order", ORDERS)
def test_an_event_that_raises_stores_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Order
) -> None:
    def fail() -> None:
        add()
        raise KeyError("not ours")

    with all_closed(monkeypatch):
        site = SocketSite(tmp_path, order, held="/held,/socket.io/")
        site.connect()
        with pytest.raises(KeyError):
            site.sockets.event(fail)
        assert site.n() == 1
        assert site.browser.get("/held").body == b"added"
        assert site.reported() == [("dropped", "the application did not save it")]


def test_a_login_by_an_event_is_dropped_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for order in ORDERS:
        with all_closed(monkeypatch):
            site = SocketSite(tmp_path / order, order)
            site.connect()
            site.sockets.event(lambda: current_session().login("alice"))
            assert site.reported() == [("dropped", NO_COOKIE)]
            assert site.n() == 1


def test_an_event_of_a_visitor_without_a_session_begins_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for order in ORDERS:
        with all_closed(monkeypatch):
            site = SocketSite(tmp_path / order, order)
            site.connect(anonymous=True)
            site.sockets.event(add)
            assert site.reported() == [("dropped", NO_COOKIE)]


def test_a_logout_by_an_event_takes_place(site: SocketSite) -> None:
    site.connect()
    site.sockets.event(lambda: session.clear())
    assert site.browser.get("/").body == b"{}"


@pytest.mark.parametrize("order", ORDERS)
def test_a_page_whose_query_looks_like_that_of_a_socket_is_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Order
) -> None:
    with all_closed(monkeypatch):
        site = SocketSite(tmp_path, order)
        visitor = Browser(site.app)
        visitor.get("/add", QUERY_STRING=ENGINE)
        visitor.get("/held", QUERY_STRING=ENGINE)
        assert visitor.get("/", QUERY_STRING=ENGINE).body == b"{'n': 2}"
        assert site.reported() == [("created", None), ("cookieless", None)]


@pytest.mark.parametrize("order", ORDERS)
def test_revoked_rights_end_for_pages_and_events_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Order
) -> None:
    """Whatever a client writes into the query of a page."""
    with all_closed(monkeypatch):
        site = SocketSite(tmp_path, order, **{f"WSGI_SESSIONS_{k}": v for k, v in RIGHTS.items()})
        site.connect()
        seen: list[dict[str, int]] = []
        site.sockets.event(lambda: seen.append(dict(session)))
        versions = site.sessions.manager(site.app).backend.versions
        assert versions is not None
        versions.bump("user:1")
        site.sockets.event(lambda: seen.append(dict(session)))
        assert seen == [{"n": 1}, {}]
        for query in ("", ENGINE, "x=EIO="):
            assert site.browser.get("/", QUERY_STRING=query).status == 401, query
