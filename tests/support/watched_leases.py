"""An application with leases, whose calls are watched."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

from wsgi_client import Browser, environ_of

from wsgi_sessions import (
    LeaseMiddleware,
    LeasePolicy,
    Leases,
    SessionManager,
    SessionMiddleware,
    get_session,
    open_backend,
)
from wsgi_sessions.core.events import Event, Events
from wsgi_sessions.http.cookies.session_cookie import CookiePolicy, SessionCookie
from wsgi_sessions.identity import IdSigner

if TYPE_CHECKING:
    from collections.abc import Callable

    from wsgi_sessions.contract import LeaseStore

    Handler = Callable[[Any, Any], Any]


SECRET = "s" * 40


TEXT = [("Content-Type", "text/plain")]


class WatchedLeases:
    """An application of named handlers with leases, and a look at the store from outside."""

    def __init__(self, url: str, policy: LeasePolicy | None = None) -> None:
        self.handlers: dict[str, Handler] = {}
        self.seen: list[int] = []
        self.calls: Counter[str] = Counter()
        self.events: list[Event] = []
        self.backend = open_backend(url)
        self.leases = Leases(self.backend, policy)
        cookie = SessionCookie(CookiePolicy(), IdSigner([SECRET]))
        manager = SessionManager(self.backend, events=Events(self.events.append))
        self.app = SessionMiddleware(LeaseMiddleware(self._app, self.leases), manager, cookie)
        self.browser = Browser(self.app)
        self.page("/start", lambda session: session.update(n=1))
        self.page("/read", lambda session: session.get("n"))
        self.page("/write", lambda session: session.increment("n"))
        self.page("/none", lambda session: None)

    @property
    def store(self) -> LeaseStore:
        return self.leases.store

    @property
    def key(self) -> str:
        (key,) = self.backend.iteration.keys()
        return key

    def holders(self) -> int:
        return self.store.holders(self.key)

    def see(self) -> None:
        """Note how many hold the session, from inside of a request."""
        self.seen.append(self.holders())

    def settle(self) -> None:
        """Until what the requests so far asked the keeper's thread for is done."""
        done = threading.Event()
        self.leases.keeper.do(done.set)
        assert done.wait(10)

    def page(self, path: str, action: Callable[[Any], object]) -> None:
        def handler(environ: Any, start_response: Any) -> list[bytes]:
            result = action(get_session(environ))
            start_response("200 OK", [*TEXT])
            return [repr(result).encode()]

        self.handlers[path] = handler

    def on(self, path: str) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.handlers[path] = handler
            return handler

        return register

    def body(self, path: str) -> Any:
        """The body of a response, for the test to iterate and close."""
        cookie = "; ".join(f"{name}={value}" for name, value in self.browser.cookies.items())
        return self.app(environ_of(path, cookie=cookie), lambda *_: lambda data: None)

    def spy(self, thing: Any, *names: str) -> None:
        """Count calls of these operations."""
        for name in names:
            setattr(thing, name, self._counted(name, getattr(thing, name)))

    def close(self) -> None:
        self.leases.close()
        self.backend.close()

    def _app(self, environ: Any, start_response: Any) -> Any:
        return self.handlers[environ["PATH_INFO"]](environ, start_response)

    def _counted(self, name: str, operation: Any) -> Any:
        def counted(*args: Any, **more: Any) -> Any:
            self.calls[name] += 1
            return operation(*args, **more)

        return counted
