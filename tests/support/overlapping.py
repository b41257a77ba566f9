"""Requests that overlap in an order that the test chooses, in one thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worlds import Visit, id_of
from wsgi_client import Response, call, environ_of

from wsgi_sessions import Config, build, get_session
from wsgi_sessions.core.events import Event, Events
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.core.transaction import Transaction
from wsgi_sessions.operations.inspection import live_sessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import Backend
    from wsgi_sessions.core.commit.results import Result
    from wsgi_sessions.core.session import Session
    from wsgi_sessions.core.source import Access

SECRET = "s" * 40


class Sessions:
    """The sessions of a backend, and what was reported of them."""

    def __init__(self, backend: Backend, **settings: Any) -> None:
        self.backend = backend
        self.events: list[Event] = []
        self.manager = SessionManager(backend, events=Events(self.events.append), **settings)

    def begin(
        self, session_id: str | None, route: str = "GET /", access: Access = "shared"
    ) -> Transaction:
        """A request that has read its session."""
        transaction = Transaction(self.manager, Visit(session_id, route, access))
        _ = transaction.session.new
        return transaction

    def new(self, **data: Any) -> str:
        """The id of a session that holds `data`."""
        transaction = self.begin(None)
        transaction.session.update(data)
        transaction.commit()
        return id_of(transaction)

    def login(self, session_id: str | None, principal: str) -> str:
        """The id after a log-in."""
        transaction = self.begin(session_id)
        transaction.session.login(principal)
        transaction.commit()
        return id_of(transaction)

    def do(self, session_id: str | None, action: Callable[[Session], object]) -> Result:
        """A whole request; what its commit came to."""
        transaction = self.begin(session_id)
        action(transaction.session)
        return transaction.commit()

    def seen(self, session_id: str | None) -> tuple[object, dict[str, Any]]:
        """The principal and data that a request with this id finds."""
        session = self.begin(session_id).session
        return session.principal, dict(session)

    def live(self) -> int:
        """How many sessions there are."""
        return sum(1 for _ in live_sessions(self.backend))

    def reported(self, name: str) -> list[object]:
        """The routes of events."""
        return [event.facts.get("route") for event in self.events if event.name == name]


class Site:
    """A WSGI application: what a page does is a function of its session.

    A request may have another one happen `meanwhile`: after it has read its session, and before it
    does what its page does.
    """

    def __init__(self, url: str, **settings: Any) -> None:
        self.events: list[Event] = []
        self.pages: dict[str, Callable[[Session], object]] = {}
        self.status = "200 OK"
        config = Config(url=url, secret_keys=(SECRET,), sweep_interval=None, **settings)
        self.stack = build(self._app, config, on_event=self.events.append)

    def get(
        self,
        path: str,
        cookie: str | None = None,
        meanwhile: Callable[[], object] | None = None,
    ) -> Response:
        return call(self.stack, environ_of(path, cookie=cookie, meanwhile=meanwhile))

    def _app(self, environ: Any, start_response: Any) -> list[bytes]:
        session, meanwhile = get_session(environ), environ["meanwhile"]
        _ = session.new
        if meanwhile is not None:
            meanwhile()
        page = self.pages.get(environ["PATH_INFO"])
        if page is not None:
            page(session)
        start_response(self.status, [("Content-Type", "text/plain")])
        return [repr((session.principal, dict(session))).encode()]


def cookie_in(response: Response) -> str:
    """What the browser would send from now on."""
    return (response.header("Set-Cookie") or "").partition(";")[0]
