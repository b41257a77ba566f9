"""An application with version stamps."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from wsgi_client import Browser, Response

from wsgi_sessions.core.events import Event, Events
from wsgi_sessions.core.manager import SessionManager
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy, SessionCookie
from wsgi_sessions.http.environ import get_session
from wsgi_sessions.http.middleware import SessionMiddleware
from wsgi_sessions.identity import IdSigner
from wsgi_sessions.operations.inspection import live_sessions
from wsgi_sessions.stores.memory.backend import open_memory
from wsgi_sessions.versions.middleware import VersionMiddleware

if TYPE_CHECKING:
    from collections.abc import Callable


SECRET = "s" * 40


PAGE = {"HTTP_SEC_FETCH_MODE": "navigate", "HTTP_SEC_FETCH_DEST": "document"}


SCRIPT = {"HTTP_SEC_FETCH_MODE": "cors", "HTTP_SEC_FETCH_DEST": "empty"}


TEXT = [("Content-Type", "text/plain")]


class VersionSite:
    """An application whose users' data changes behind its back, on a memory store."""

    def __init__(self, *, manager: dict[str, Any] | None = None, **settings: Any) -> None:
        self.events: list[Event] = []
        self.backend = open_memory()
        assert self.backend.versions is not None
        self.stamps = self.backend.versions
        events = Events(self.events.append)
        self.manager = SessionManager(self.backend, events=events, **(manager or {}))
        self.refreshed: Counter[Any] = Counter()
        self.names = {"alice": "Alice", "bob": "Bob"}
        self.on_refresh: Callable[[Any, Any], Any] | None = None
        self.pages: dict[str, Callable[[Any], object]] = {
            "/": dict,
            "/null": lambda session: None,
            "/logout": lambda session: session.flush(),
            "/cart": lambda session: session.update(cart=[1]),
        }
        self.handler: Any = None
        self.versions = VersionMiddleware(
            self.serve,
            self.stamps,
            **{
                "refresh": self.refresh,
                "required": ("name",),
                "login_url": "/login",
                "max_age": 0.0,
                "events": events,
                **settings,
            },
        )
        cookie = SessionCookie(CookiePolicy(), IdSigner([SECRET]))
        self.app = SessionMiddleware(self.versions, self.manager, cookie)
        self.calls: Counter[str] = Counter()
        self.fault: Exception | None = None
        self._count_calls()

    def refresh(self, session: Any, environ: Any) -> Any:
        self.refreshed[session.principal] += 1
        if self.on_refresh is not None:
            return self.on_refresh(session, environ)
        return {"name": self.names[session.principal]}

    def serve(self, environ: Any, start_response: Any) -> Any:
        if self.handler is not None:
            return self.handler(environ, start_response)
        path = environ["PATH_INFO"]
        if path.startswith("/login/"):
            self.log_in(get_session(environ), path.removeprefix("/login/"))
            result: object = None
        elif path in self.pages:
            result = self.pages[path](get_session(environ))
        else:
            result = dict(get_session(environ))
        start_response("200 OK", [*TEXT])
        return [json.dumps(result).encode()]

    def log_in(self, session: Any, user: str) -> None:
        session["name"] = self.names[user]
        session.login(user)

    def _count_calls(self) -> None:
        store: Any = self.backend.sessions
        for name in ("create", "load", "save", "touch", "delete"):
            setattr(store, name, self._counted(name, getattr(store, name)))

    def _counted(self, name: str, operation: Any) -> Any:
        def counted(*args: Any, **more: Any) -> Any:
            self.calls[name] += 1
            if self.fault is not None:
                raise self.fault
            return operation(*args, **more)

        return counted

    def browser(self, user: str | None = None) -> Browser:
        browser = Browser(self.app)
        if user is not None:
            assert browser.get(f"/login/{user}", method="POST", **PAGE).status == 200
            self.calls.clear()
        return browser

    def records(self) -> list[str]:
        return [found.key for found in live_sessions(self.backend)]

    def ended(self) -> list[object]:
        return [e.facts["why"] for e in self.events if e.name == "version-ended"]


def seen(response: Response) -> Any:
    assert response.status == 200, response
    return json.loads(response.body)
